/** The stored cosine matrix beside the larger of its two limits: its products at the FMA peak, and the writing of its bytes. */
import { cosineSimilarity } from 'contrastive-kernels';
import { normalRows } from './cases.js';
import type { Figure } from './conditions.js';
import { measure } from './measure.js';
import { measureWriteRate } from './write-rate.js';

export async function measureStoring(rows: number, cols: number, threads: number, peak: number, seconds: number): Promise<Figure> {
  const x = { data: normalRows(rows, cols), shape: [rows, cols] };
  const out = new Float32Array(rows * rows);
  const { median } = await measure(() => cosineSimilarity(x, undefined, { backend: 'cpu', threads, out }), seconds * 1e3, 3);
  const rate = await measureWriteRate(out.byteLength, threads);
  const products = ((rows * rows * cols) / peak) * 1e3;
  const writing = (out.byteLength / rate) * 1e3;
  return {
    what: `cosineSimilarity ${rows} x ${cols} into a reused array, share of the larger of its limits`,
    value:
      `${((100 * Math.max(products, writing)) / median).toFixed(1)} % (${median.toFixed(1)} ms; products ${products.toFixed(1)} ms at the peak, ` +
      `writes ${writing.toFixed(1)} ms at ${(rate / 1e9).toFixed(1)} GB/s)`,
    target: '80 %',
  };
}
