/** Contrastive multiview coding: InfoNCE over every ordered pair of views. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import type { Rows } from '../matrix.js';
import { checkAttached, checkNoOverlap, checkSameShape, describe, readChoice, readOptions, readOutput, readScale } from '../validate.js';
import {
  type AnyOptions,
  type DeviceOptions,
  type DeviceResult,
  type GradientsOption,
  type LossInput,
  readGradients,
  readInput,
  summedOnHost,
} from './device-call.js';
import { type NamedResult, planInfoNce } from './info-nce.js';
import { LOSS_OPTIONS, type LossOptions, type Plan, readReduction } from './plan.js';
import { addScaled, allOf, meanStats } from './several-plans.js';

export interface CmcOptions extends LossOptions {
  /** 'full' (default): every pair of views. 'core': the first view with every other. */
  readonly graph?: 'full' | 'core' | undefined;
  /** Arrays to fill instead of new ones: one for each view with gradients; `perRow` [N] with reduction 'none'. */
  readonly out?: { readonly views?: readonly Float32Array[] | undefined; readonly perRow?: Float32Array | undefined } | undefined;
}

export interface CmcGradients {
  /** One for each view, [N, cols], by the rows as given (before they are normalised). */
  readonly views: readonly Float32Array[];
  readonly temperature: number;
}

export interface CmcResult {
  readonly loss: number;
  /** [N], with reduction 'none': the sum over the pairs of item i. */
  readonly perRow?: Float32Array;
  readonly gradients?: CmcGradients;
  /** The mean over the pairs of views. */
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = CmcResult & { readonly gradients: CmcGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'graph']);
const GRAPHS = ['full', 'core'] as const;

/**
 * CMC: the sum over unordered pairs of views (a, b) of L(a, b) + L(b, a), L(a, b) the mean cross-entropy of each row of view a among the
 * rows of view b. Both directions of a pair are one pass over its similarities.
 *
 * CMC's own code contrasts with a memory bank by NCE instead, to which this is the limit of all items in one batch.
 *
 * @param views two or more matrices [N, cols], row i of each a view of item i.
 * @throws TypeError, RangeError (fewer than two views, shapes that differ, ...), NonFiniteError, BackendUnavailableError. Nothing is
 *   written then.
 * @see Tian, Krishnan, Isola: Contrastive Multiview Coding, ECCV 2020.
 */
export function cmc(views: readonly LossInput[], options: CmcOptions & { readonly gradients: true }): WithGradients;
export function cmc(views: readonly LossInput[], options: DeviceOptions<CmcOptions>): DeviceResult<WithGradients>;
export function cmc(views: readonly LossInput[], options?: CmcOptions): CmcResult;
export function cmc(views: readonly LossInput[], options?: AnyOptions<CmcOptions>): object {
  return plan(views, options, false).run();
}

/**
 * `cmc` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function cmcAsync(views: readonly LossInput[], options: CmcOptions & { readonly gradients: true }): Promise<WithGradients>;
export function cmcAsync(views: readonly LossInput[], options: DeviceOptions<CmcOptions>): Promise<DeviceResult<WithGradients>>;
export function cmcAsync(views: readonly LossInput[], options?: CmcOptions): Promise<CmcResult>;
export async function cmcAsync(views: readonly LossInput[], options?: AnyOptions<CmcOptions>): Promise<object> {
  return plan(views, options, true).runAsync();
}

type PairGradients = Readonly<Record<string, Float32Array>> & { readonly temperature?: number };

function plan(given: readonly LossInput[], optionsGiven: AnyOptions<CmcOptions> | undefined, isAsync: boolean): Plan<CmcResult> {
  if (!Array.isArray(given)) throw new TypeError(`views: expected an array of matrices, got ${describe(given)}`);
  if (given.length < 2) throw new RangeError(`views: expected at least two views, got ${given.length}`);
  const views = given.map((value, v) => readInput(nameOf(v), value, isAsync));
  for (const [v, view] of views.entries()) checkSameShape(nameOf(v), view, nameOf(0), views[0]);
  const { graph: graphGiven, ...options } = readOptions(optionsGiven, KNOWN);
  const graph = readChoice('graph', graphGiven, GRAPHS, 'full');
  const reduction = readReduction(options.reduction);
  const gradients = readGradients(options.gradients);
  const { ofCalls, place } = summedOnHost(options);
  const scale = { temperature: readScale('temperature', options.temperature, 0.5), name: 'temperature' } as const;
  const out = readOut(options.out, gradients, reduction === 'none', views, isAsync);
  const pairs = views.flatMap((_, b) => Array.from({ length: graph === 'full' ? b : Math.min(b, 1) }, (_, a) => [a, b] as const));
  const plans = pairs.map(([a, b]) =>
    planInfoNce<PairGradients>({ query: views[a], key: views[b] }, { ...ofCalls, symmetric: true, out: undefined }, scale, isAsync, {
      query: nameOf(a),
      key: nameOf(b),
      negatives: 'negatives',
    }),
  );
  return allOf(plans, (results: NamedResult<PairGradients>[]): CmcResult => {
    for (const [v, target] of out.views.entries()) checkAttached(`out.${nameOf(v)}`, target, views[v].data.length);
    checkAttached('out.perRow', out.perRow, views[0].rows);
    // The symmetric loss is half of both directions.
    if (out.perRow) addScaled(out.perRow, 2, ...results.map(({ perRow }) => perRow as Float32Array));
    const slopes = results.map((result) => result.gradients?.temperature ?? 0);
    for (const [v, target] of out.views.entries()) {
      const parts = results.filter((_, p) => pairs[p].includes(v)).map((result) => (result.gradients as PairGradients)[nameOf(v)]);
      addScaled(target, 2, ...parts);
    }
    return {
      loss: 2 * results.reduce((sum, { loss }) => sum + loss, 0),
      ...(out.perRow && { perRow: out.perRow }),
      ...(gradients && {
        gradients: {
          views: out.views.map((sum, v) => place(sum, views[v])),
          temperature: 2 * slopes.reduce((sum, slope) => sum + slope, 0),
        },
      }),
      ...(results[0].stats && { stats: meanStats(results.map(({ stats }) => stats)) }),
      backend: results[0].backend,
    };
  });
}

function nameOf(view: number): string {
  return `views[${view}]`;
}

/** The arrays to fill: one for each view, and one for the rows. */
function readOut(out: CmcOptions['out'], gradients: GradientsOption, none: boolean, views: readonly Rows[], isAsync: boolean) {
  if (out !== undefined && (typeof out !== 'object' || out === null)) {
    throw new TypeError(`out: expected an object of views and perRow, got ${describe(out)}`);
  }
  for (const name of Object.keys(out ?? {})) {
    if (name !== 'views' && name !== 'perRow') throw new TypeError(`out: expected only views, perRow, got '${name}'`);
  }
  const { views: viewsOut, perRow: perRowOut } = out ?? {};
  if (viewsOut !== undefined && !Array.isArray(viewsOut)) throw new TypeError(`out.views: expected an array, got ${describe(viewsOut)}`);
  if (viewsOut !== undefined && gradients === 'device') {
    throw new TypeError(`out.views: expected no arrays with gradients 'device', got ${describe(viewsOut)}`);
  }
  if ((viewsOut !== undefined && !gradients) || (perRowOut !== undefined && !none)) {
    throw new RangeError(
      `out.${viewsOut && !gradients ? 'views' : 'perRow'}: expected only outputs that the options ask for, got an array`,
    );
  }
  if (viewsOut && viewsOut.length !== views.length) {
    throw new RangeError(`out.views: expected ${views.length} arrays, one for each view, got ${viewsOut.length}`);
  }
  const given: Record<string, Float32Array> = {};
  for (const [v, { data }] of views.entries()) {
    if (viewsOut) given[`out.${nameOf(v)}`] = readOutput(`out.${nameOf(v)}`, viewsOut[v], data.length, isAsync);
  }
  if (perRowOut) given['out.perRow'] = readOutput('out.perRow', perRowOut, views[0].rows, isAsync);
  checkNoOverlap(given, Object.fromEntries(views.map(({ data }, v) => [nameOf(v), data])));
  return {
    views: gradients ? views.map(({ data }, v) => given[`out.${nameOf(v)}`] ?? new Float32Array(data.length)) : [],
    perRow: none ? (given['out.perRow'] ?? new Float32Array(views[0].rows)) : null,
  };
}
