/** The second encoder of MoCo, BYOL and DINO: its weights follow those of the trained one as a moving average. */
import { types } from 'node:util';
import { checkFinite } from '../finite.js';
import { describe, overlaps, readInteger } from '../validate.js';

/** Weights of one layer. Of float64 targets small steps are not lost to rounding. */
export type Weights = Float32Array | Float64Array;

/**
 * In place: target = momentum * target + (1 - momentum) * source, for every array of weights.
 *
 * Float32 holds 24 bits, so from momentum 0.9999 on steps of weights that have nearly arrived round to nothing; a Float64Array
 * as target keeps them.
 *
 * @param target one array, or a list of arrays: the weights that follow.
 * @param source the same, of the same lengths: the weights that are trained. The same memory as target, or none of it.
 * @param momentum 0 (copy the source) to 1 (keep the target); 0.999 in MoCo, from 0.996 to 1 in BYOL (`momentumSchedule`).
 * @throws TypeError, RangeError, NonFiniteError (in either; `row` is 0, `column` the element); nothing is written then.
 * @see He et al.: Momentum Contrast for Unsupervised Visual Representation Learning, CVPR 2020, eq. 2.
 */
export function movingAverage(target: Weights | readonly Weights[], source: Weights | readonly Weights[], momentum: number): void {
  const targets = readWeights('target', target);
  const sources = readWeights('source', source);
  readShare('momentum', momentum);
  if (targets.length !== sources.length) {
    throw new RangeError(`source: expected ${targets.length} arrays as in target, got ${sources.length}`);
  }
  targets.forEach(([name, values], n) => {
    const [otherName, others] = sources[n];
    if (values.length !== others.length) {
      throw new RangeError(`${otherName}: expected ${values.length} elements as in ${name}, got ${others.length}`);
    }
    checkFinite(name, values, values.length);
    checkFinite(otherName, others, others.length);
    if (overlaps(values, others) && (values.byteOffset !== others.byteOffset || values.byteLength !== others.byteLength)) {
      throw new RangeError(`${otherName}: expected memory of its own, got memory that overlaps ${name}`);
    }
    const k = values instanceof Float32Array ? others.findIndex((other) => !Number.isFinite(Math.fround(other))) : -1;
    if (k >= 0) throw new RangeError(`${otherName}: expected numbers that fit ${name}, which is float32, got ${others[k]} at element ${k}`);
  });
  targets.forEach(([, values], n) => {
    const others = sources[n][1];
    for (let k = 0; k < values.length; k++) values[k] = momentum * values[k] + (1 - momentum) * others[k];
  });
}

/**
 * The momentum of BYOL's step `step` of `steps`: 1 - (1 - base) (cos(pi step / steps) + 1) / 2, from `base` at step 0 to 1.
 *
 * @param step 0 to `steps`.
 * @param steps at least 1.
 * @param base 0 to 1; default 0.996.
 * @throws TypeError, RangeError.
 * @see Grill et al.: Bootstrap Your Own Latent, NeurIPS 2020, section 3.2.
 */
export function momentumSchedule(step: number, steps: number, base = 0.996): number {
  readInteger('steps', steps, 1, Number.MAX_SAFE_INTEGER);
  readInteger('step', step, 0, steps);
  readShare('base', base);
  return 1 - ((1 - base) * (Math.cos((Math.PI * step) / steps) + 1)) / 2;
}

function readShare(argument: string, value: unknown): void {
  if (typeof value !== 'number') throw new TypeError(`${argument}: expected a number, got ${describe(value)}`);
  if (!(value >= 0 && value <= 1)) throw new RangeError(`${argument}: expected a number from 0 to 1, got ${value}`);
}

/** Each array with the name that errors give it. */
function readWeights(argument: string, value: unknown): [name: string, values: Weights][] {
  const list = Array.isArray(value) ? value : [value];
  return list.map((values, n): [string, Weights] => {
    const name = Array.isArray(value) ? `${argument}[${n}]` : argument;
    if (!types.isFloat32Array(values) && !types.isFloat64Array(values)) {
      throw new TypeError(`${name}: expected a Float32Array or a Float64Array, got ${describe(values)}`);
    }
    return [name, values];
  });
}
