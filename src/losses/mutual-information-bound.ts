/** The InfoNCE lower bound on mutual information, from a loss value. */
import { describe, readInteger } from '../validate.js';

/**
 * log(candidates) - loss, in nats: a lower bound on the mutual information between the two views. It cannot exceed
 * log(candidates), so a large value needs a large batch. It holds for InfoNCE-like means only (NT-Xent with 2N - 1
 * candidates for 2N rows), not for losses whose denominator lacks the positive or whose negatives are mined.
 *
 * @param loss a mean loss, at least 0.
 * @param candidates how many candidates each row was compared with, its positive included; an integer of at least 2.
 * @throws TypeError, RangeError.
 * @see van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding, 2018.
 */
export function mutualInformationBound(loss: number, candidates: number): number {
  if (typeof loss !== 'number') throw new TypeError(`loss: expected a number, got ${describe(loss)}`);
  if (!(loss >= 0 && loss < Number.POSITIVE_INFINITY)) throw new RangeError(`loss: expected a finite number of at least 0, got ${loss}`);
  return Math.log(readInteger('candidates', candidates, 2, Number.MAX_SAFE_INTEGER)) - loss;
}
