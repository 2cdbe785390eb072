/**
 * Golden values of the contrastive systems: what each library's own loss is called here, and the constant between its scale and ours.
 * A file whose params ask for something that no function here does is listed by `unsupported`, with the reason.
 */
import {
  clip,
  dpr,
  gist,
  infoNce,
  type Matrix,
  matrix,
  mocoV3,
  multipleNegativesRanking,
  type RankingDirection,
  type Reduction,
  simCse,
  supCon,
} from '../../src/index.js';
import { type Golden, goldens } from './golden.js';

export interface SystemResult {
  readonly loss: number;
  readonly perRow?: Float32Array;
  /** By the golden file's names of its inputs; its gradient of an input that is a constant here is 0 and not compared. */
  readonly gradients: Readonly<Record<string, ArrayLike<number>>>;
  readonly backend: string;
}

export interface SystemGolden {
  readonly golden: Golden;
  readonly kernel: 'infoNce' | 'supCon';
  readonly temperature: number;
  readonly normalize: boolean;
  readonly run: () => SystemResult;
}

type Make = (golden: Golden, of: (name: string) => Matrix) => Omit<SystemGolden, 'golden'>;

const gradients = true;

/** Leading axes are rows, as of paired negatives [N, M, d]. */
function rowsOf({ inputs }: Golden, name: string): Matrix {
  const { data, shape } = inputs[name];
  const cols = shape.at(-1) as number;
  return matrix(Float32Array.from(data), data.length / cols, cols);
}

function labelsOf({ inputs }: Golden, views: number): number[] | undefined {
  const labels = inputs.labels ?? inputs.indexes;
  return labels && Array.from(labels.data).flatMap((label) => new Array<number>(views).fill(label));
}

const scaled = (values: ArrayLike<number>, factor: number): number[] => Array.from(values, (value) => factor * value);

/** [negative_1, negative_2, ...] or [negative], as many as there are. */
function negativeNames({ inputs }: Golden): string[] {
  return Object.keys(inputs).filter((name) => name.startsWith('negative'));
}

const SYSTEMS: Readonly<Record<string, Make>> = {
  info_nce: (golden, of) => {
    const temperature = golden.params.temperature as number;
    const reduction = golden.params.reduction as Reduction;
    const negativeMode = golden.params.negative_mode === 'paired' ? 'paired' : 'shared';
    const explicit = golden.inputs.negative_keys && ({ negatives: of('negative_keys'), negativeMode, inBatch: false } as const);
    const options = { temperature, reduction, gradients, ...explicit } as const;
    return {
      kernel: 'infoNce',
      temperature,
      normalize: true,
      run() {
        const got = infoNce(of('query'), of('positive_key'), options);
        const { query, key, negatives } = got.gradients;
        return { ...got, gradients: { query, positive_key: key, ...(negatives && { negative_keys: negatives }) } };
      },
    };
  },
  'SelfSupervisedLoss(NTXentLoss,symmetric=False)': (golden, of) => {
    const temperature = golden.params.temperature as number;
    return {
      kernel: 'infoNce',
      temperature,
      normalize: true,
      run() {
        const got = infoNce(of('embeddings'), of('ref_emb'), { temperature, gradients });
        return { ...got, gradients: { embeddings: got.gradients.query, ref_emb: got.gradients.key } };
      },
    };
  },
  'NTXentLoss(memory_bank_size)': (golden, of) => {
    const temperature = golden.params.temperature as number;
    return {
      kernel: 'infoNce',
      temperature,
      normalize: true,
      run() {
        const got = infoNce(of('out0'), of('out1'), { temperature, negatives: of('bank'), inBatch: false, gradients });
        return { ...got, gradients: { out0: got.gradients.query, out1: got.gradients.key } };
      },
    };
  },
  'MoCo.forward + CrossEntropyLoss': (golden, of) => {
    const temperature = golden.params.temperature as number;
    return {
      kernel: 'infoNce',
      temperature,
      normalize: true,
      run() {
        // Theirs is [d, K], a key a column.
        const { data, shape } = of('queue');
        const [cols, keys] = shape;
        const negatives = matrix(
          data.map((_, at) => data[(at % cols) * keys + Math.floor(at / cols)]),
          keys,
          cols,
        );
        const got = infoNce(of('im_q'), of('im_k'), { temperature, negatives, inBatch: false, detachKeys: true, gradients });
        return { ...got, gradients: { im_q: got.gradients.query } };
      },
    };
  },
  SimpleContrastiveLoss: ({ params }, of) => ({
    kernel: 'infoNce',
    temperature: 1,
    normalize: false,
    run() {
      const got = dpr(of('x'), of('y'), { reduction: params.reduction as 'mean' | 'sum', gradients });
      return { ...got, gradients: { x: got.gradients.question, y: got.gradients.context } };
    },
  }),
  'BiEncoderNllLoss.calc': (golden, of) => ({
    kernel: 'infoNce',
    temperature: 1,
    normalize: false,
    run() {
      const positives = golden.params.positive_idx as unknown as number[];
      const scale = (golden.params.loss_scale as number | null) ?? 1;
      const got = dpr(of('q_vectors'), of('ctx_vectors'), { positives, gradients });
      const correct = Math.round((got.stats?.accuracy as number) * positives.length);
      if (correct !== golden.expected.correct) throw new Error(`correct: expected ${golden.expected.correct}, got ${correct}`);
      const { question, context } = got.gradients;
      return { ...got, loss: scale * got.loss, gradients: { q_vectors: scaled(question, scale), ctx_vectors: scaled(context, scale) } };
    },
  }),
  'MoCo.contrastive_loss(q1,k2)+contrastive_loss(q2,k1)': (golden, of) => {
    const temperature = golden.params.temperature as number;
    return {
      kernel: 'infoNce',
      temperature,
      normalize: true,
      run() {
        const got = mocoV3(of('q1'), of('q2'), of('k1'), of('k2'), { temperature, gradients });
        return { ...got, gradients: { q1: got.gradients.q1, q2: got.gradients.q2 } };
      },
    };
  },
  ClipLoss: (golden, of) => {
    const logScale = golden.inputs.log_scale?.data[0];
    const logitScale = logScale === undefined ? (golden.params.logit_scale as number) : Math.exp(logScale);
    return {
      kernel: 'infoNce',
      temperature: 1 / logitScale,
      normalize: true,
      run() {
        const got = clip(of('image_features'), of('text_features'), { logitScale, gradients });
        const { image, text, logitScale: slope } = got.gradients;
        return { ...got, gradients: { image_features: image, text_features: text, log_scale: [slope * logitScale] } };
      },
    };
  },
  'cl_forward (supervised, hard negatives)': simCseCase,
  'cl_forward (unsupervised)': simCseCase,
  cl_forward: simCseCase,
  MultipleNegativesRankingLoss: rankingCase,
  'MultipleNegativesRankingLoss (2026-08)': rankingCase,
  MultipleNegativesSymmetricRankingLoss: rankingCase,
  GISTEmbedLoss: (golden, of) => {
    const { temperature, margin_strategy, margin, contrast_anchors, contrast_positives } = golden.params as Record<string, never>;
    return {
      kernel: 'infoNce',
      temperature,
      normalize: true,
      run() {
        const names = negativeNames(golden);
        const got = gist(of('anchor'), of('positive'), {
          temperature,
          marginStrategy: margin_strategy,
          margin,
          contrastAnchors: contrast_anchors,
          contrastPositives: contrast_positives,
          negatives: names.map(of),
          guide: { anchor: of('guide_anchor'), positive: of('guide_positive'), negatives: names.map((name) => of(`guide_${name}`)) },
          gradients,
        });
        return { ...got, gradients: withNegatives(got.gradients, names) };
      },
    };
  },
  SupConLoss: (golden, of) => {
    const { peer, params } = golden;
    const temperature = params.temperature as number;
    const isSupContrast = peer === 'HobbitLong/SupContrast';
    const name = isSupContrast ? 'features' : 'embeddings';
    const views = isSupContrast ? (params.n_views as number) : 1;
    const labels = labelsOf(golden, views) ?? Array.from({ length: (params.B as number) * views }, (_, row) => Math.floor(row / views));
    const factor = isSupContrast ? temperature / (params.base_temperature as number) : 1;
    return {
      kernel: 'supCon',
      temperature,
      normalize: true,
      run() {
        const got = supCon(of(name), labels, { temperature, noPositive: isSupContrast ? 'zero' : 'skip', gradients });
        return { ...got, loss: factor * got.loss, gradients: { [name]: scaled(got.gradients.z, factor) } };
      },
    };
  },
  NTXentLoss: (golden, of) => {
    const temperature = golden.params.temperature as number;
    return {
      kernel: 'supCon',
      temperature,
      normalize: true,
      run() {
        const got = supCon(of('embeddings'), labelsOf(golden, 1) as number[], { variant: 'pair', temperature, gradients });
        return { ...got, gradients: { embeddings: got.gradients.z } };
      },
    };
  },
  simclr_loss_func: (golden, of) => {
    const temperature = golden.params.temperature as number;
    return {
      kernel: 'supCon',
      temperature,
      normalize: true,
      run() {
        const labels = labelsOf(golden, 1) as number[];
        const got = supCon(of('z'), labels, { variant: 'in', temperature, gradients });
        // solo-learn adds up the positives' probabilities where 'in' averages them.
        const logPositives = labels.map((label) => Math.log(labels.filter((other) => other === label).length - 1));
        const shift = logPositives.reduce((sum, value) => sum + value, 0) / labels.length;
        return { ...got, loss: got.loss - shift, gradients: { z: got.gradients.z } };
      },
    };
  },
};

function simCseCase(golden: Golden, of: (name: string) => Matrix): Omit<SystemGolden, 'golden'> {
  const temperature = golden.params.temperature as number;
  return {
    kernel: 'infoNce',
    temperature,
    normalize: true,
    run() {
      const supervised = golden.inputs.z3 && {
        negatives: of('z3'),
        hardNegativeWeight: (golden.params.hard_negative_weight as number) ?? 0,
      };
      const got = simCse(of('z1'), of('z2'), { temperature, ...supervised, gradients });
      const { z1, z2, negatives } = got.gradients;
      return { ...got, gradients: { z1, z2, ...(negatives && { z3: negatives }) } };
    },
  };
}

const DIRECTIONS: Readonly<Record<string, RankingDirection>> = {
  query_to_doc: 'queryToDoc',
  doc_to_query: 'docToQuery',
  query_to_query: 'queryToQuery',
  doc_to_doc: 'docToDoc',
};
const MODES: Readonly<Record<string, 'inBatch' | 'hard' | 'all'>> = {
  in_batch_negatives: 'inBatch',
  hard_negatives: 'hard',
  all_negatives: 'all',
};

function rankingCase(golden: Golden, of: (name: string) => Matrix): Omit<SystemGolden, 'golden'> {
  const { loss, params } = golden;
  const isSymmetric = loss === 'MultipleNegativesSymmetricRankingLoss';
  const logitScale = params.scale as number;
  const given = params.directions as unknown as string[] | undefined;
  const mode = MODES[params.hardness_mode as string];
  const normalize = params.similarity !== 'dot_score';
  return {
    kernel: 'infoNce',
    temperature: 1 / logitScale,
    normalize,
    run() {
      const names = negativeNames(golden);
      const got = multipleNegativesRanking(of('anchor'), of('positive'), {
        logitScale,
        normalize,
        negatives: names.map(of),
        directions: isSymmetric ? ['queryToDoc', 'docToQuery'] : given?.map((name) => DIRECTIONS[name]),
        partition: isSymmetric || params.partition_mode === 'per_direction' ? 'perDirection' : 'joint',
        ...(mode && { hardness: { mode, strength: params.hardness_strength as number } }),
        gradients,
      });
      return { ...got, gradients: withNegatives(got.gradients, names) };
    },
  };
}

function withNegatives(
  {
    anchor,
    positive,
    negatives,
  }: { readonly anchor: Float32Array; readonly positive: Float32Array; readonly negatives: readonly Float32Array[] },
  names: readonly string[],
): Record<string, Float32Array> {
  return { anchor, positive, ...Object.fromEntries(names.map((name, n) => [name, negatives[n]])) };
}

/** Why a file is no test of a function here; undefined: it is one. */
function reason({ loss, params }: Golden): string | undefined {
  if (loss === 'SupConLoss' && params.contrast_mode === 'one') return 'only the first view as anchors';
  return undefined;
}

function isSystem(golden: Golden): boolean {
  // Two libraries call different losses NTXentLoss; without labels it is test/kernels/nt-xent.test.ts that has it.
  if (golden.params.world_size !== undefined) return false;
  return golden.loss in SYSTEMS && (golden.loss !== 'NTXentLoss' || golden.inputs.labels !== undefined);
}

export function systemGoldens(): SystemGolden[] {
  return goldens(...Object.keys(SYSTEMS))
    .filter((golden) => isSystem(golden) && reason(golden) === undefined)
    .map((golden) => ({ golden, ...SYSTEMS[golden.loss](golden, (name) => rowsOf(golden, name)) }));
}

/** Files of these systems that are not tested, each with its reason. */
export function unsupported(): [file: string, why: string][] {
  return goldens(...Object.keys(SYSTEMS))
    .filter(isSystem)
    .flatMap((golden): [string, string][] => {
      const why = reason(golden);
      return why === undefined ? [] : [[golden.file, why]];
    });
}
