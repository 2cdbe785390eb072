/** The matrix of cosine similarities as a differentiable TensorFlow.js function. */
import * as tf from '@tensorflow/tfjs-core';
import * as kernels from '../../index.js';
import { checkRows, firstOrderOnly, readTfjsOptions, type TfjsOptions, toMatrix } from './call.js';

/**
 * All cosine similarities of the rows of x with those of y (default: x itself).
 *
 * @param x rows [rows, dim], float32.
 * @param y rows [any, dim].
 * @returns a tensor [x.rows, y.rows].
 * @throws as `ntXent`.
 */
export function cosineSimilarity(x: tf.Tensor, y: tf.Tensor = x, options: TfjsOptions = {}): tf.Tensor2D {
  checkRows('x', x);
  checkRows('y', y);
  readTfjsOptions(options);
  const forward = (): tf.Tensor2D => {
    const rows = toMatrix(x);
    const { data, shape } = kernels.cosineSimilarity(rows, y === x ? rows : toMatrix(y), options);
    return tf.tensor2d(data, [shape[0], shape[1]]);
  };
  if (!tf.engine().isTapeOn()) return forward();
  return tf.customGrad((...all) => {
    const save = all.pop() as unknown as tf.GradSaveFunc;
    save([x, y]);
    const gradFunc = (upstream: tf.Tensor, [savedX, savedY]: tf.Tensor[]): tf.Tensor[] => {
      const { gradients } = kernels.cosineSimilarityBackward(toMatrix(savedX), toMatrix(savedY), toMatrix(upstream), options);
      const values = [tf.tensor(gradients.x, savedX.shape), tf.tensor(gradients.y, savedY.shape)];
      return values.map((value) => firstOrderOnly(value, [upstream, savedX, savedY]));
    };
    return { value: forward(), gradFunc };
  })(x, y) as tf.Tensor2D;
}
