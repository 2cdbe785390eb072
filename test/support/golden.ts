/**
 * Golden values: losses and gradients that other libraries' own code gave in float64 (test/fixtures/golden says which library,
 * file and commit). Each file maps to calls of ours; where conventions differ by a constant, the factor stands here.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Matrix, matrix } from '../../src/index.js';

interface Values {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

export interface Golden {
  readonly file: string;
  readonly peer: string;
  readonly loss: string;
  readonly params: Readonly<Record<string, number | string | boolean>>;
  readonly inputs: Readonly<Record<string, Values>>;
  /** `loss`, `grad_<input>`, and for the similarities `matrix`. */
  readonly expected: Readonly<Record<string, number | readonly number[] | Values>>;
}

const folder = join(__dirname, '..', 'fixtures', 'golden');

/** The files whose peer computed one of these losses. */
export function goldens(...losses: string[]): Golden[] {
  return readdirSync(folder)
    .map((file): Golden => ({ file, ...JSON.parse(readFileSync(join(folder, file), 'utf8')) }))
    .filter((golden) => losses.includes(golden.loss));
}

/** Inputs stacked on top of each other; leading axes are rows. */
export function stacked({ inputs }: Golden, ...names: string[]): Matrix {
  const data = Float32Array.from(names.flatMap((name) => inputs[name].data));
  const cols = inputs[names[0]].shape.at(-1) as number;
  return matrix(data, data.length / cols, cols);
}

/** Expected gradients of these inputs, stacked likewise and multiplied by our factor. */
export function gradients({ expected }: Golden, factor: number, ...names: string[]): Float64Array {
  return Float64Array.from(names.flatMap((name) => expected[`grad_${name}`] as readonly number[]).map((value) => factor * value));
}

export interface NtXentGolden {
  readonly golden: Golden;
  readonly z: Matrix;
  readonly temperature: number;
  readonly pairs: 'halves' | 'interleaved';
  readonly loss: number;
  readonly gradient: Float64Array;
}

/** Every golden NT-Xent, in our scale: the mean over all rows. */
export function ntXentGoldens(): NtXentGolden[] {
  const all = goldens('NTXentLoss', 'add_contrastive_loss', 'SupConLoss').filter(isTwoViews);
  return all.map((golden) => {
    const { loss, params, inputs, expected } = golden;
    const temperature = params.temperature as number;
    // SimCLR adds the two directions instead of averaging; SupContrast multiplies by temperature / base temperature.
    const factor = loss === 'add_contrastive_loss' ? 1 / 2 : loss === 'SupConLoss' ? (params.base_temperature as number) / temperature : 1;
    const names = Object.keys(inputs);
    return {
      golden,
      z: stacked(golden, ...names),
      temperature,
      pairs: loss === 'SupConLoss' ? 'interleaved' : 'halves',
      loss: factor * (expected.loss as number),
      gradient: gradients(golden, factor, ...names),
    };
  });
}

/** SupContrast without labels and with two views is NT-Xent; with labels these losses are SupCon (see system-goldens.ts). */
function isTwoViews({ inputs, params }: Golden): boolean {
  return inputs.labels === undefined && (params.n_views ?? 2) === 2 && (params.contrast_mode ?? 'all') === 'all';
}
