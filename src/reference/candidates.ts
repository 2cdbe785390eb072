/**
 * One positive against the other candidates of a row. With z the logits, N the sum over the negatives of exp(z_j), kept as its
 * logarithm:
 *
 *   loss = -z_p + log(exp(z_p) + N) = softplus(log N - z_p),   q = N / (exp(z_p) + N) = sigmoid(log N - z_p)
 *   d loss / d z_j = q exp(z_j - log N),                       d loss / d z_p = -q
 *
 * The probability of the positive minus one is never formed, and neither is 1 - q: at confident rows both are differences of
 * nearly equal numbers. Without negatives log N is -Infinity, which gives loss 0 and q 0.
 */
import { sigmoid, softplus } from './logistic.js';

/** Candidates of one row, its negatives as a rule, filled anew for each row. */
export class Candidates {
  count = 0;
  /** Similarities, and what they are as logits. */
  readonly similarities: Float64Array;
  readonly logits: Float64Array;
  /** What `share` has left. */
  readonly shares: Float64Array;

  /** @param capacity the most a row can have. */
  constructor(capacity: number) {
    this.similarities = new Float64Array(capacity);
    this.logits = new Float64Array(capacity);
    this.shares = new Float64Array(capacity);
  }

  clear(): void {
    this.count = 0;
  }

  add(similarity: number, logit: number): void {
    this.similarities[this.count] = similarity;
    this.logits[this.count++] = logit;
  }

  /** Sum of the similarities. */
  sum(): number {
    let sum = 0;
    for (let n = 0; n < this.count; n++) sum += this.similarities[n];
    return sum;
  }

  /** -Infinity where there is none. */
  largestLogit(): number {
    let largest = Number.NEGATIVE_INFINITY;
    for (let n = 0; n < this.count; n++) if (this.logits[n] > largest) largest = this.logits[n];
    return largest;
  }

  /** log of the sum of exp(z); -Infinity where there is none. */
  logSumExp(): number {
    const largest = this.largestLogit();
    if (largest === Number.NEGATIVE_INFINITY) return largest;
    let sum = 0;
    for (let n = 0; n < this.count; n++) sum += Math.exp(this.logits[n] - largest);
    return largest + Math.log(sum);
  }

  /**
   * Fills `shares`: every candidate's share of the sum of exp(z) times `factor`, in the order in which they were added.
   *
   * @returns the sum of share * (similarity - origin), which the derivative by a scale is made of.
   */
  share(factor: number, origin: number): number {
    const largest = this.largestLogit();
    let total = 0;
    for (let n = 0; n < this.count; n++) total += Math.exp(this.logits[n] - largest);
    let moment = 0;
    for (let n = 0; n < this.count; n++) {
      this.shares[n] = (factor / total) * Math.exp(this.logits[n] - largest);
      moment += this.shares[n] * (this.similarities[n] - origin);
    }
    return moment;
  }
}

/** Loss and q of a positive with this logit against negatives with this log N. */
export function againstNegatives(positiveLogit: number, logNegatives: number): { loss: number; q: number } {
  return { loss: softplus(logNegatives - positiveLogit), q: sigmoid(logNegatives - positiveLogit) };
}
