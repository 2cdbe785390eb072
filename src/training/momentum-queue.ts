/**
 * The queue of keys of MoCo: the last `capacity` rows that were put in, as negatives for the next step.
 *
 * It is a ring: row n that was ever put in lies at n modulo capacity, whatever the batch sizes were. The queue is a matrix
 * itself, so it goes where a matrix goes without a copy.
 */
import { checkFinite } from '../finite.js';
import type { Matrix, MatrixLike } from '../matrix.js';
import { checkSize, MAX_ELEMENTS, readInteger, readMatrix, readOptions } from '../validate.js';
import { checkSeed, normal, randomStream } from './random.js';

export interface MomentumQueueOptions {
  /** Begin full of random directions, as MoCo does, instead of empty. Any safe integer; the same seed, the same rows. */
  readonly seed?: number | undefined;
}

/** Everything a queue is: what `save` returns and `MomentumQueue.restore` takes. */
export interface MomentumQueueState {
  /** [size, cols], in the order in which they lie in the ring. */
  readonly data: Float32Array;
  readonly capacity: number;
  readonly cols: number;
  /** Where the next row goes. */
  readonly position: number;
}

const OPTIONS: ReadonlySet<string> = new Set(['seed']);
const STATE: ReadonlySet<string> = new Set(['data', 'capacity', 'cols', 'position']);

/**
 * A ring of the latest keys, for `negatives` of `infoNce`:
 *
 *     const { loss, gradients } = infoNce(query, key, { negatives: queue, inBatch: false, temperature: 0.07, gradients: true });
 *     queue.enqueue(key); // after the loss: the keys of this step are positives now and negatives later
 *
 * Rows are kept as they are given; the losses divide them by their norms.
 *
 * @see He, Fan, Wu, Xie, Girshick: Momentum Contrast for Unsupervised Visual Representation Learning, CVPR 2020.
 */
export class MomentumQueue implements Matrix {
  readonly capacity: number;
  readonly cols: number;
  private readonly ring: Float32Array;
  private filled = 0;
  private next = 0;

  /**
   * @param capacity rows it holds, at least 1.
   * @param cols length of a row.
   * @throws TypeError, RangeError.
   */
  constructor(capacity: number, cols: number, options?: MomentumQueueOptions) {
    this.capacity = readInteger('capacity', capacity, 1, MAX_ELEMENTS);
    this.cols = readInteger('cols', cols, 1, MAX_ELEMENTS);
    checkSize('capacity', capacity, cols);
    const { seed } = readOptions(options, OPTIONS);
    if (seed !== undefined) checkSeed(seed);
    this.ring = new Float32Array(capacity * cols);
    if (seed !== undefined) {
      const random = randomStream(seed);
      for (let k = 0; k < this.ring.length; k++) this.ring[k] = normal(random);
      this.filled = capacity;
    }
  }

  /** Rows in it now, up to `capacity`. */
  get size(): number {
    return this.filled;
  }

  /** Where the next row goes, 0 to capacity - 1. */
  get position(): number {
    return this.next;
  }

  /** [size, cols], a view of the ring: it changes with the next `enqueue`. */
  get data(): Float32Array {
    return this.ring.subarray(0, this.filled * this.cols);
  }

  /** [size, cols]. An empty queue has no rows, which no loss takes. */
  get shape(): readonly [rows: number, cols: number] {
    return [this.filled, this.cols];
  }

  /**
   * Puts rows in, the oldest making room. Of a batch larger than the queue the last `capacity` rows stay.
   *
   * @param keys [any, cols].
   * @throws TypeError, RangeError, NonFiniteError; the queue is as before then.
   */
  enqueue(keys: MatrixLike): void {
    const { data, rows, cols } = readMatrix('keys', keys, false);
    if (cols !== this.cols) throw new RangeError(`keys: expected ${this.cols} columns as in the queue, got ${cols}`);
    checkFinite('keys', data, cols);
    const dropped = Math.max(0, rows - this.capacity);
    const first = (this.next + dropped) % this.capacity;
    const kept = data.slice(dropped * cols); // a copy: `keys` may be the queue itself
    const untilEnd = Math.min(kept.length, (this.capacity - first) * cols);
    this.ring.set(kept.subarray(0, untilEnd), first * cols);
    this.ring.set(kept.subarray(untilEnd), 0);
    this.next = (this.next + rows) % this.capacity;
    this.filled = Math.min(this.capacity, this.filled + rows);
  }

  /** A copy of everything, to be stored; `MomentumQueue.restore` makes an equal queue of it. */
  save(): MomentumQueueState {
    return { data: this.data.slice(), capacity: this.capacity, cols: this.cols, position: this.next };
  }

  /**
   * The queue that `state` was saved from.
   *
   * @throws TypeError, RangeError, NonFiniteError.
   */
  static restore(state: MomentumQueueState): MomentumQueue {
    if (state === undefined) throw new TypeError('state: expected an object, got undefined');
    const { data, capacity, cols, position } = readOptions(state, STATE, 'state');
    const queue = new MomentumQueue(capacity, cols);
    readInteger('position', position, 0, capacity - 1);
    if (data instanceof Float32Array && data.length === 0) {
      if (position !== 0) throw new RangeError(`position: expected 0 for an empty queue, got ${position}`);
      return queue;
    }
    const { rows } = readMatrix('state', { data, shape: [Math.ceil((data?.length ?? 0) / cols), cols] }, false);
    if (rows > capacity) throw new RangeError(`data: expected at most ${capacity} rows, the capacity, got ${rows}`);
    if (rows < capacity && position !== rows) {
      throw new RangeError(`position: expected ${rows}, after the last row of a queue that is not full, got ${position}`);
    }
    checkFinite('data', data, cols);
    queue.ring.set(data);
    queue.filled = rows;
    queue.next = position;
    return queue;
  }
}
