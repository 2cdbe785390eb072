/**
 * Seeded randomness: sfc32 (Chris Doty-Humphrey's small fast counting generator, 128 bits of state), one stream per key.
 * The state is the key itself, so streams with different keys are independent and can be opened in any order; same key, same bits
 * on every platform.
 */

import { describe } from '../validate.js';

/** The next number of a stream, uniform in [0, 1), a multiple of 2^-32. */
export type Random = () => number;

/** Opens the stream of (`seed`, `key`, `subkey`). `seed` is any safe integer, the keys are taken modulo 2^32. */
export function randomStream(seed: number, key = 0, subkey = 0): Random {
  let a = seed | 0;
  let b = key | 0;
  // The high half of the seed: exact, because the seed is a safe integer.
  let c = (subkey ^ Math.imul(Math.floor(seed / 4294967296), 0x9e3779b1)) | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    c |= 0;
    return (sum >>> 0) / 4294967296;
  };
  // Twelve rounds mix every bit of the key into every word.
  for (let round = 0; round < 12; round++) next();
  return next;
}

/** A standard normal number (Box-Muller; the second of the pair is not kept, so that a draw always takes two uniforms). */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Reorders `values` in place, each order equally likely (Fisher-Yates). */
export function shuffle<T extends Int32Array | number[]>(values: T, random: Random): T {
  for (let i = values.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const held = values[i];
    values[i] = values[j];
    values[j] = held;
  }
  return values;
}

/** Throws unless `seed` can name a stream. */
export function checkSeed(seed: unknown): asserts seed is number {
  if (typeof seed !== 'number') throw new TypeError(`seed: expected an integer, got ${describe(seed)}`);
  if (!Number.isSafeInteger(seed)) throw new RangeError(`seed: expected a safe integer, got ${seed}`);
}
