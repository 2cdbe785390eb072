/** NCE against a memory bank as a differentiable TensorFlow.js function. */
import * as tf from '@tensorflow/tfjs-core';
import * as kernels from '../../index.js';
import type { MatrixLike } from '../../matrix.js';
import { checkRows, readTfjsOptions, scalarLoss, type TfjsReductionOptions, toMatrix } from './call.js';

export interface TfjsMemoryBankNceOptions
  extends Pick<TfjsReductionOptions, 'normalize' | 'reduction'>,
    Pick<kernels.MemoryBankNceOptions, 'normalizer' | 'epsilon'> {
  /** A number (default 0.07), or a scalar tensor or variable, which then gets a gradient as well. */
  readonly temperature?: number | tf.Tensor | undefined;
}

/**
 * Noise-contrastive estimation against a memory bank (Wu et al. 2018). The bank is a constant: a tensor, or a `MemoryBank` as it is. Z cannot
 * come back beside the tensor: without `normalizer` every call estimates its own, so take it from a first call of the kernel.
 *
 * @param query rows [N, dim], float32.
 * @param bank rows [n, dim].
 * @param indices [N * (m + 1)]: of each query its own row of the bank, then m drawn ones.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function memoryBankNce(
  query: tf.Tensor,
  bank: tf.Tensor | MatrixLike,
  indices: Int32Array | readonly number[],
  options: TfjsMemoryBankNceOptions = {},
): tf.Scalar {
  const { temperature, ...rest } = readTfjsOptions(options, 'normalizer', 'epsilon', 'temperature', 'reduction');
  const memory = toMemory(bank);
  return scalarLoss({ query }, { temperature }, (rows, scalars, gradients) =>
    kernels.memoryBankNce(rows.query, memory, indices, { ...rest, ...scalars, gradients, stats: false }),
  );
}

function toMemory(bank: tf.Tensor | MatrixLike): MatrixLike {
  if (!(bank instanceof tf.Tensor)) return bank;
  checkRows('bank', bank);
  return toMatrix(bank);
}
