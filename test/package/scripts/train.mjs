// An ES module user of the installed package, that also meets the CommonJS side of it in the same process. Prints JSON.
import { createRequire } from 'node:module';
import * as esm from 'contrastive-kernels';
import { alignment, matrix, NonFiniteError, ntXent, uniformity } from 'contrastive-kernels';

const rows = 64;
const cols = 16;
const z = matrix(
  Float32Array.from({ length: rows * cols }, (_, i) => Math.cos(1 + i * i)),
  rows,
  cols,
);
const half = (rows / 2) * cols;
const views = [matrix(z.data.subarray(0, half), rows / 2, cols), matrix(z.data.subarray(half), rows / 2, cols)];
const losses = [];
let backend;
for (let step = 0; step < 60; step++) {
  const result = ntXent(z, { temperature: 0.5, gradients: true });
  for (let i = 0; i < z.data.length; i++) z.data[i] -= 5 * result.gradients.z[i];
  losses.push(result.loss);
  backend = result.backend;
}

const cjs = createRequire(import.meta.url)('contrastive-kernels');
const both = Object.entries(esm).map(([name, value]) => value === cjs[name]);
let thrown;
try {
  cjs.ntXent(matrix(Float32Array.of(1, Number.NaN), 2, 1));
} catch (error) {
  thrown = error;
}
console.log(
  JSON.stringify({
    first: losses[0],
    last: losses.at(-1),
    backend,
    alignment: alignment(views[0], views[1]).loss,
    uniformity: uniformity(z).loss,
    sharedFunctions: both.length === Object.keys(cjs).length && both.every(Boolean),
    sharedErrors: thrown instanceof NonFiniteError,
  }),
);
