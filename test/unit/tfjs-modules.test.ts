/** TensorFlow.js and the built adapter must share one engine, whichever way either is loaded: two would not see each other's tensors. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

/** Loading TensorFlow.js takes seconds on a busy machine. */
const TIMEOUT = 60_000;

const root = join(__dirname, '..', '..');

const USE = `
  const z = tf.tensor2d([1, 2, 3, 4, 5, 7, 2, 1], [4, 2]);
  const gradient = tf.grad((rows) => ntXent(rows, { temperature: 0.5, fallbackWarning: false }))(z);
  console.log(gradient.shape.join('x'), gradient instanceof tf.Tensor, gradient.abs().sum().dataSync()[0] > 0);`;

function node(type: 'commonjs' | 'module', script: string): string {
  const { stdout, stderr, status } = spawnSync(process.execPath, [`--input-type=${type}`, '--eval', script], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  return stdout.trim();
}

it.each([
  ['both required', 'commonjs', "const tf = require('@tensorflow/tfjs'); const { ntXent } = require('contrastive-kernels/tfjs');"],
  ['both imported', 'module', "import * as tf from '@tensorflow/tfjs'; import { ntXent } from 'contrastive-kernels/tfjs';"],
  [
    'one required, one imported',
    'module',
    `import { createRequire } from 'node:module';
     import { ntXent } from 'contrastive-kernels/tfjs';
     const tf = createRequire(process.cwd() + '/')('@tensorflow/tfjs');`,
  ],
] as const)(
  '%s',
  (_, type, load) => {
    expect(node(type, load + USE)).toBe('4x2 true true');
  },
  TIMEOUT,
);

it(
  'has one set of error classes with the main entry',
  () => {
    const script = `
    import * as tf from '@tensorflow/tfjs';
    import { NonFiniteError } from 'contrastive-kernels';
    import { createRequire } from 'node:module';
    const { uniformity } = createRequire(process.cwd() + '/')('contrastive-kernels/tfjs');
    try { uniformity(tf.tensor2d([1, NaN, 2, 3], [2, 2]), { fallbackWarning: false }); } catch (error) {
      console.log(error instanceof NonFiniteError, error.row, error.column);
    }`;
    expect(node('module', script)).toBe('true 0 1');
  },
  TIMEOUT,
);
