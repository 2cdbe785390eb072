/** The same losses composed of tfjs operations on its wasm backend, with tfjs's own gradients. */
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import type { BenchCase } from '../cases.js';

export async function openTfjsWasm(): Promise<string> {
  if (!(await tf.setBackend('wasm'))) throw new Error('the wasm backend of tfjs did not start');
  await tf.ready();
  return `tfjs ${tf.version_core} wasm`;
}

const unitRows = (x: tf.Tensor2D) => x.div<tf.Tensor2D>(x.square().sum(1, true).sqrt());

function ntXent(x: tf.Tensor2D, temperature: number): tf.Scalar {
  const rows = x.shape[0];
  const unit = unitRows(x);
  const logits = tf.matMul(unit, unit, false, true).div<tf.Tensor2D>(temperature).sub<tf.Tensor2D>(tf.eye(rows).mul(1e9));
  const [first, second] = [unit.slice([0, 0], [rows / 2, -1]), unit.slice([rows / 2, 0], [rows / 2, -1])];
  const positives = first.mul(second).sum(1).div(temperature);
  return tf.logSumExp(logits, 1).mean().sub(positives.mean()).asScalar();
}

function uniformity(x: tf.Tensor2D, t: number): tf.Scalar {
  const rows = x.shape[0];
  const unit = unitRows(x);
  const kernel = tf
    .matMul(unit, unit, false, true)
    .sub(1)
    .mul(2 * t)
    .exp();
  return kernel
    .sum()
    .sub(rows)
    .div(rows * (rows - 1))
    .log()
    .asScalar();
}

/** One call of the case: the scalar (or matrix) and, where asked, the gradient, read back to JavaScript. */
export function tfjsRunner(benchCase: BenchCase, data: Float32Array, temperature: number, t: number): () => unknown {
  const { kernel, rows, cols } = benchCase;
  const loss = kernel.startsWith('ntXent') ? (x: tf.Tensor2D) => ntXent(x, temperature) : (x: tf.Tensor2D) => uniformity(x, t);
  return () =>
    tf.tidy(() => {
      const x = tf.tensor2d(data, [rows, cols]);
      if (kernel === 'cosineSimilarity') {
        const unit = unitRows(x);
        return tf.matMul(unit, unit, false, true).dataSync();
      }
      if (kernel.endsWith('forward')) return loss(x).dataSync();
      const { value, grad } = tf.valueAndGrad(loss)(x);
      return [value.dataSync(), grad.dataSync()];
    });
}
