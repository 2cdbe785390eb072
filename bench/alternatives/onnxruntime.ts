/** Forward passes in onnxruntime-node, where it is installed; it is no dependency of ours, and it has no backward. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { BenchCase } from '../cases.js';
import { onnxModel } from './onnx-model.js';

interface OnnxRuntime {
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: { intraOpNumThreads: number; executionProviders: string[]; logSeverityLevel: number },
    ): Promise<Session>;
  };
  readonly Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => unknown;
  readonly env: { versions: { node?: string; common: string } };
}

interface Session {
  run(feeds: Record<string, unknown>): Promise<Record<string, { data: Float32Array }>>;
  release(): Promise<void>;
}

/** The module, from the project or from the folder CONTRASTIVE_KERNELS_BENCH_MODULES points at; null where it is not installed. */
export function openOnnxRuntime(root: string): { runtime: OnnxRuntime; version: string } | null {
  for (const folder of [process.env.CONTRASTIVE_KERNELS_BENCH_MODULES ?? root, root]) {
    try {
      const require = createRequire(join(folder, 'package.json'));
      const runtime = require('onnxruntime-node') as OnnxRuntime;
      return { runtime, version: `onnxruntime-node ${runtime.env.versions.node ?? runtime.env.versions.common}` };
    } catch {}
  }
  return null;
}

/** A function that runs the case's forward pass once, and one that frees the session; null for a backward. */
export async function onnxRunner(
  runtime: OnnxRuntime,
  { kernel, rows, cols }: BenchCase,
  data: Float32Array,
  options: { threads: number; temperature: number; t: number },
): Promise<{ run: () => Promise<unknown>; close: () => Promise<void> } | null> {
  if (kernel.endsWith('backward')) return null;
  const kind = kernel.startsWith('ntXent') ? 'ntXent' : kernel.startsWith('uniformity') ? 'uniformity' : 'cosineSimilarity';
  const model = onnxModel(kind, rows, cols, options.temperature, options.t);
  const session = await runtime.InferenceSession.create(model, {
    intraOpNumThreads: options.threads,
    executionProviders: ['cpu'],
    logSeverityLevel: 3,
  });
  const feeds = { x: new runtime.Tensor('float32', data, [rows, cols]) };
  return { run: () => session.run(feeds), close: () => session.release() };
}
