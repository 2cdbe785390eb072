/**
 * The networks of SimCLR as plain TensorFlow.js: an encoder f and a projection head g, both small perceptrons.
 *
 *   x [rows, 784] --f--> h [rows, 128] (what is kept) --g--> z [rows, 64] (what the loss sees)
 */
import tf from '@tensorflow/tfjs';

/**
 * x W + b. The stock gradient of matMul asks the wasm backend for products of transposed operands, which it computes slowly; with
 * the transposes written out a training step is about six times faster. `wantInput` false saves the product that would give
 * the gradient by x, where x is data.
 */
function dense(x, weights, bias, wantInput) {
  const product = tf.customGrad((x, weights, save) => {
    save([x, weights]);
    const gradFunc = (dy, [x, weights]) => [
      wantInput ? tf.matMul(dy, tf.transpose(weights)) : tf.zerosLike(x),
      tf.matMul(tf.transpose(x), dy),
    ];
    return { value: tf.matMul(x, weights), gradFunc };
  });
  return product(x, weights).add(bias);
}

/** A perceptron: dense layers with a rectifier after each, except after the last one when `linearOutput` is set. */
export class Perceptron {
  /** @param {number[]} sizes input, hidden ..., output; He-initialised from `seed` */
  constructor(sizes, { seed, inputIsData = false, linearOutput = false }) {
    Object.assign(this, { sizes, inputIsData, linearOutput });
    this.layers = sizes.slice(1).map((outputs, l) => ({
      weights: tf.variable(tf.randomNormal([sizes[l], outputs], 0, Math.sqrt(2 / sizes[l]), 'float32', seed * 1000 + l)),
      bias: tf.variable(tf.zeros([outputs])),
    }));
  }

  apply(x) {
    return this.layers.reduce((rows, { weights, bias }, l) => {
      const sums = dense(rows, weights, bias, l > 0 || !this.inputIsData);
      return this.linearOutput && l === this.layers.length - 1 ? sums : sums.relu();
    }, x);
  }

  get variables() {
    return this.layers.flatMap(({ weights, bias }) => [weights, bias]);
  }

  dispose() {
    tf.dispose(this.variables);
  }
}

/** f and g of one training run. */
export class SimClr {
  constructor(seed, { encoder = [784, 256, 128], head = [128, 128, 64] } = {}) {
    this.encoder = new Perceptron(encoder, { seed: 2 * seed, inputIsData: true });
    this.head = new Perceptron(head, { seed: 2 * seed + 1, linearOutput: true });
  }

  /** z of the rows x, both tensors. */
  project(x) {
    return this.head.apply(this.encoder.apply(x));
  }

  /** h and z of a matrix { data, shape }, as matrices, a block of rows at a time. */
  embed(rows, block = 2000) {
    const [count, size] = rows.shape;
    const h = { data: new Float32Array(count * this.encoder.sizes.at(-1)), shape: [count, this.encoder.sizes.at(-1)] };
    const z = { data: new Float32Array(count * this.head.sizes.at(-1)), shape: [count, this.head.sizes.at(-1)] };
    for (let from = 0; from < count; from += block) {
      const to = Math.min(count, from + block);
      tf.tidy(() => {
        const encoded = this.encoder.apply(tf.tensor2d(rows.data.subarray(from * size, to * size), [to - from, size]));
        h.data.set(encoded.dataSync(), from * h.shape[1]);
        z.data.set(this.head.apply(encoded).dataSync(), from * z.shape[1]);
      });
    }
    return { h, z };
  }

  get variables() {
    return [...this.encoder.variables, ...this.head.variables];
  }

  dispose() {
    this.encoder.dispose();
    this.head.dispose();
  }
}
