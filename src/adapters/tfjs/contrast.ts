/** InfoNCE, CLIP, SupCon, DCL and the systems made of InfoNCE, as differentiable TensorFlow.js functions. */
import type * as tf from '@tensorflow/tfjs-core';
import * as kernels from '../../index.js';
import { checkRows, readTfjsOptions, scalarLoss, type TfjsReductionOptions, toMatrix } from './call.js';

/** A number, or a scalar tensor or variable, which then gets a gradient as well. */
type Scalar = number | tf.Tensor | undefined;

interface WithTemperature extends TfjsReductionOptions {
  /** A number, or a scalar tensor or variable, which then gets a gradient as well. */
  readonly temperature?: Scalar;
}

type InfoNceNumbers = 'positives' | 'negativeMode' | 'negativeIndices' | 'inBatch' | 'symmetric' | 'similarity' | 'ownNegativeLogit';

export interface TfjsInfoNceOptions
  extends WithTemperature,
    Pick<kernels.InfoNceOptions, InfoNceNumbers | 'queryLabels' | 'keyLabels' | 'mask'> {
  /** Instead of `temperature`; likewise. */
  readonly logitScale?: Scalar;
  /** A tensor of rank 2, which gets a gradient as well. */
  readonly negatives?: tf.Tensor | undefined;
  /** true: no gradient reaches `key` and `negatives`, as in MoCo. Default false. */
  readonly detachKeys?: boolean | undefined;
}

export interface TfjsClipOptions extends TfjsReductionOptions {
  /** A number (default 1 / 0.07), or a scalar tensor or variable, which then gets a gradient as well. */
  readonly logitScale?: Scalar;
}

export interface TfjsSupConOptions extends WithTemperature, Pick<kernels.SupConOptions, 'variant' | 'noPositive'> {}
export interface TfjsDclOptions extends WithTemperature, Pick<kernels.DclOptions, 'weightSigma'> {}
export interface TfjsDprOptions extends WithTemperature, Pick<kernels.DprOptions, 'layout' | 'positives'> {}
export interface TfjsMocoV3Options extends WithTemperature {}
export interface TfjsCmcOptions extends WithTemperature, Pick<kernels.CmcOptions, 'graph'> {}

export interface TfjsSimCseOptions extends WithTemperature, Pick<kernels.SimCseOptions, 'hardNegativeWeight'> {
  /** A tensor of rank 2, which gets a gradient as well. */
  readonly negatives?: tf.Tensor | undefined;
}

export interface TfjsRankingOptions
  extends WithTemperature,
    Pick<kernels.MultipleNegativesRankingOptions, 'directions' | 'partition' | 'hardness'> {
  /** Default 20; instead of `temperature`, likewise. */
  readonly logitScale?: Scalar;
  /** Tensors of rank 2, which get gradients as well. */
  readonly negatives?: readonly tf.Tensor[] | undefined;
}

export interface TfjsGistOptions
  extends WithTemperature,
    Pick<kernels.GistOptions, 'marginStrategy' | 'margin' | 'contrastAnchors' | 'contrastPositives'> {
  readonly negatives?: readonly tf.Tensor[] | undefined;
  /** The guide's embeddings, constants. */
  readonly guide: { readonly anchor: tf.Tensor; readonly positive: tf.Tensor; readonly negatives?: readonly tf.Tensor[] | undefined };
}

/**
 * InfoNCE (van den Oord et al. 2018): each query's positive among its negatives.
 *
 * @param query rows [N, dim], float32.
 * @param key rows [at least N, dim].
 * @param options `temperature` or `logitScale` may be a tensor: it is then trained with the rest.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function infoNce(query: tf.Tensor, key: tf.Tensor, options: TfjsInfoNceOptions = {}): tf.Scalar {
  const names = ['positives', 'negativeMode', 'negativeIndices', 'inBatch', 'symmetric', 'similarity', 'ownNegativeLogit'];
  const read = readTfjsOptions(
    options,
    ...names,
    'queryLabels',
    'keyLabels',
    'mask',
    'negatives',
    'detachKeys',
    'temperature',
    'logitScale',
    'reduction',
  );
  const { negatives, temperature, logitScale, ...rest } = read;
  const keys: Record<string, tf.Tensor> = { key, ...(negatives !== undefined && { negatives }) };
  for (const [name, tensor] of Object.entries(keys)) checkRows(name, tensor);
  const learnt: Record<string, tf.Tensor> = rest.detachKeys === true ? { query } : { query, ...keys };
  return scalarLoss(learnt, { temperature, logitScale }, (matrices, scalars, gradients) => {
    const of = { key: toMatrix(key), ...(negatives !== undefined && { negatives: toMatrix(negatives) }), ...matrices };
    return kernels.infoNce(matrices.query, of.key, { ...rest, negatives: of.negatives, ...scalars, gradients, stats: false });
  });
}

/**
 * The loss of CLIP (Radford et al. 2021).
 *
 * @param image rows [N, dim], float32.
 * @param text the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function clip(image: tf.Tensor, text: tf.Tensor, options: TfjsClipOptions = {}): tf.Scalar {
  const { logitScale, ...rest } = readTfjsOptions(options, 'logitScale', 'reduction');
  return scalarLoss({ image, text }, { logitScale }, (rows, scalars, gradients) =>
    kernels.clip(rows.image, rows.text, { ...rest, ...scalars, gradients, stats: false }),
  );
}

/**
 * The supervised contrastive loss (Khosla et al. 2020).
 *
 * @param z rows [rows, dim], float32.
 * @param labels one integer for each row.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function supCon(z: tf.Tensor, labels: Int32Array | readonly number[], options: TfjsSupConOptions = {}): tf.Scalar {
  const { temperature, ...rest } = readTfjsOptions(options, 'variant', 'noPositive', 'temperature', 'reduction');
  return scalarLoss({ z }, { temperature }, (rows, scalars, gradients) =>
    kernels.supCon(rows.z, labels, { ...rest, ...scalars, gradients, stats: false }),
  );
}

/**
 * The decoupled contrastive loss (Yeh et al. 2022).
 *
 * @param z1 rows [N, dim], float32.
 * @param z2 their other views, the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function dcl(z1: tf.Tensor, z2: tf.Tensor, options: TfjsDclOptions = {}): tf.Scalar {
  const { temperature, ...rest } = readTfjsOptions(options, 'weightSigma', 'temperature', 'reduction');
  return scalarLoss({ z1, z2 }, { temperature }, (rows, scalars, gradients) =>
    kernels.dcl(rows.z1, rows.z2, { ...rest, ...scalars, gradients, stats: false }),
  );
}

/**
 * SimCSE (Gao et al. 2021).
 *
 * @param z1 rows [N, dim], float32.
 * @param z2 the same sentences, or entailed ones, the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function simCse(z1: tf.Tensor, z2: tf.Tensor, options: TfjsSimCseOptions = {}): tf.Scalar {
  const { negatives, temperature, ...rest } = readTfjsOptions(options, 'negatives', 'hardNegativeWeight', 'temperature', 'reduction');
  const rows = { z1, z2, ...(negatives !== undefined && { negatives }) } as Record<'z1' | 'z2' | 'negatives', tf.Tensor>;
  return scalarLoss(rows, { temperature }, (matrices, scalars, gradients) =>
    kernels.simCse(matrices.z1, matrices.z2, { ...rest, negatives: matrices.negatives, ...scalars, gradients, stats: false }),
  );
}

/**
 * Dense passage retrieval (Karpukhin et al. 2020).
 *
 * @param question rows [N, dim], float32.
 * @param context rows [any, dim].
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function dpr(question: tf.Tensor, context: tf.Tensor, options: TfjsDprOptions = {}): tf.Scalar {
  const { temperature, ...rest } = readTfjsOptions(options, 'layout', 'positives', 'temperature', 'reduction');
  return scalarLoss({ question, context }, { temperature }, (rows, scalars, gradients) =>
    kernels.dpr(rows.question, rows.context, { ...rest, ...scalars, gradients, stats: false }),
  );
}

/**
 * MoCo v3 (Chen, Xie & He 2021). No gradient reaches the keys.
 *
 * @param q1 rows [N, dim], float32, and q2: the predictions of both views.
 * @param k1 the same shape, and k2: their keys.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function mocoV3(q1: tf.Tensor, q2: tf.Tensor, k1: tf.Tensor, k2: tf.Tensor, options: TfjsMocoV3Options = {}): tf.Scalar {
  const { temperature, ...rest } = readTfjsOptions(options, 'temperature', 'reduction');
  checkRows('k1', k1);
  checkRows('k2', k2);
  return scalarLoss({ q1, q2 }, { temperature }, (rows, scalars, gradients) =>
    kernels.mocoV3(rows.q1, rows.q2, toMatrix(k1), toMatrix(k2), { ...rest, ...scalars, gradients, stats: false }),
  );
}

/**
 * Contrastive multiview coding (Tian et al. 2020): InfoNCE over every ordered pair of views.
 *
 * @param views two or more tensors [N, dim], float32.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function cmc(views: readonly tf.Tensor[], options: TfjsCmcOptions = {}): tf.Scalar {
  const { temperature, ...rest } = readTfjsOptions(options, 'graph', 'temperature', 'reduction');
  const names = views.map((_, v) => `views[${v}]`);
  return scalarLoss(named(names, views), { temperature }, (rows, scalars, wanted) => {
    const matrices = names.map((name) => rows[name]);
    const { loss, gradients } = kernels.cmc(matrices, { ...rest, ...scalars, gradients: wanted, stats: false });
    return { loss, ...(gradients && { gradients: { ...gradients, ...named(names, gradients.views) } }) };
  });
}

/**
 * Multiple-negatives ranking, the loss of sentence-transformers.
 *
 * @param anchor rows [N, dim], float32.
 * @param positive the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function multipleNegativesRanking(anchor: tf.Tensor, positive: tf.Tensor, options: TfjsRankingOptions = {}): tf.Scalar {
  const read = readTfjsOptions(options, 'directions', 'partition', 'hardness', 'negatives', 'temperature', 'logitScale', 'reduction');
  const { negatives = [], temperature, logitScale, ...rest } = read;
  const names = negatives.map((_, n) => `negatives[${n}]`);
  const tensors: Record<string, tf.Tensor> = { anchor, positive, ...named(names, negatives) };
  return scalarLoss(tensors, { temperature, logitScale }, (rows, scalars, wanted) => {
    const own = { ...rest, ...scalars, negatives: names.map((name) => rows[name]), gradients: wanted, stats: false };
    const { loss, gradients } = kernels.multipleNegativesRanking(rows.anchor, rows.positive, own);
    return { loss, ...(gradients && { gradients: { ...gradients, ...named(names, gradients.negatives) } }) };
  });
}

/**
 * GISTEmbed (Solatorio 2024): ranking without the negatives that a guide model finds closer than the positive.
 *
 * @param anchor rows [N, dim], float32.
 * @param positive the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function gist(anchor: tf.Tensor, positive: tf.Tensor, options: TfjsGistOptions): tf.Scalar {
  const settings = ['marginStrategy', 'margin', 'contrastAnchors', 'contrastPositives'];
  const {
    negatives = [],
    guide,
    temperature,
    ...rest
  } = readTfjsOptions(options, ...settings, 'negatives', 'guide', 'temperature', 'reduction');
  const names = negatives.map((_, n) => `negatives[${n}]`);
  const tensors: Record<string, tf.Tensor> = { anchor, positive, ...named(names, negatives) };
  for (const [name, tensor] of Object.entries({ anchor: guide.anchor, positive: guide.positive })) checkRows(`guide.${name}`, tensor);
  for (const [n, tensor] of (guide.negatives ?? []).entries()) checkRows(`guide.negatives[${n}]`, tensor);
  return scalarLoss(tensors, { temperature }, (rows, scalars, wanted) => {
    const { loss, gradients } = kernels.gist(rows.anchor, rows.positive, {
      ...rest,
      ...scalars,
      negatives: names.map((name) => rows[name]),
      guide: { anchor: toMatrix(guide.anchor), positive: toMatrix(guide.positive), negatives: guide.negatives?.map(toMatrix) },
      gradients: wanted,
      stats: false,
    });
    return { loss, ...(gradients && { gradients: { ...gradients, ...named(names, gradients.negatives) } }) };
  });
}

function named<T>(names: readonly string[], values: readonly T[]): Record<string, T> {
  return Object.fromEntries(names.map((name, n) => [name, values[n]]));
}
