/** Every function and its asynchronous twin by name, taking anything: for tests that pass wrong types on purpose. */
import {
  alignment,
  alignmentAsync,
  cosineSimilarity,
  cosineSimilarityAsync,
  cosineSimilarityBackward,
  cosineSimilarityBackwardAsync,
  ntXent,
  ntXentAsync,
  uniformity,
  uniformityAsync,
} from '../../src/index.js';

// biome-ignore lint/suspicious/noExplicitAny: the point of this module.
type Anything = any;

const twins = {
  ntXent: [ntXent, ntXentAsync],
  uniformity: [uniformity, uniformityAsync],
  alignment: [alignment, alignmentAsync],
  cosineSimilarity: [cosineSimilarity, cosineSimilarityAsync],
  cosineSimilarityBackward: [cosineSimilarityBackward, cosineSimilarityBackwardAsync],
};

export type FunctionName = keyof typeof twins;

export function callSync(name: FunctionName, ...args: unknown[]): Anything {
  return (twins[name][0] as (...args: Anything[]) => unknown)(...args);
}

export function callAsync(name: FunctionName, ...args: unknown[]): Promise<Anything> {
  return (twins[name][1] as (...args: Anything[]) => Promise<unknown>)(...args);
}
