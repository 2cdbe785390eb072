/**
 * SimCLR on MNIST, from Node alone: trains an encoder without labels, with the loss and its gradient from contrastive-kernels,
 * then shows with few labels what it has learnt. Writes simclr-mnist.json and simclr-mnist.html.
 *
 *   node examples/simclr-mnist/main.mjs [--seed 1] [--steps 1500] [--out reports]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import { backends, ntXent, twoViews } from 'contrastive-kernels';
import { circleStudy } from './circle.mjs';
import { readMnist } from './data.mjs';
import { Benchmark, bestOf, PROTOCOL, tableText } from './evaluate.mjs';
import { SimClr } from './model.mjs';
import { Progress } from './progress.mjs';
import { principalPlane } from './projection.mjs';
import { reportPage } from './report.mjs';
import { AUGMENTATIONS, SETTINGS, train } from './train.mjs';

const CIRCLE_STEPS = 400;
const REFERENCE_STEPS = 12;
const WARM_UP_STEPS = 5;
const LOOKS = 40;
/** Not a seed of training: the same views are watched in every run. */
const VIEW_SEED = -1;

const { seed, steps, out } = readArguments();
const started = performance.now();
const step = (text) => console.log(`[${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s] ${text}`);

await tf.setBackend('wasm');
await tf.ready();
const backend = describeBackend();
step(`loss and gradient: ${backend.text}; the rest: TensorFlow.js ${tf.version.tfjs} on ${tf.getBackend()}`);

const digits = readMnist('train');
const testDigits = readMnist('t10k');
const watchedImages = Int32Array.from({ length: PROTOCOL.watchedViews / 2 }, (_, i) => i);
const watched = twoViews(testDigits.batch(watchedImages), AUGMENTATIONS, VIEW_SEED);
const benchmark = new Benchmark(digits, testDigits, watched, backend.name);
step(`MNIST read: ${digits.count} training and ${testDigits.count} test images`);

const model = new SimClr(seed);
const hidden = (images) => model.embed(images).h;
const rows = [benchmark.row('raw pixels', (images) => images, bestOf), benchmark.row('untrained encoder', hidden)];
const planeImages = testDigits.rows(Int32Array.from({ length: 2000 }, (_, i) => i));
const planes = { digits: testDigits.labels.slice(0, 2000), untrained: principalPlane(hidden(planeImages)) };
step('baselines measured');

const reference = timeReference();
step(`training for ${steps} steps of ${SETTINGS.batch} images, seed ${seed}`);
const progress = new Progress(steps);
const every = Math.max(1, Math.floor(steps / LOOKS));
const run = train({ model, digits, steps, seed, watched, every, onProgress: (at, state) => progress.update(at, state) });
step('trained');

rows.push(
  benchmark.row('trained h', hidden),
  benchmark.row('trained z', (images) => model.embed(images).z),
);
planes.trained = principalPlane(hidden(planeImages));
step('trained encoder measured');
const circle = circleStudy({ digits, testDigits, views: watched, seed, steps: CIRCLE_STEPS });
step('two-dimensional model trained for the pictures');

const result = {
  seconds: (performance.now() - started) / 1000,
  lossShare: run.lossMilliseconds / run.milliseconds,
  referenceLossShare: reference.lossMilliseconds / reference.milliseconds,
  stepMilliseconds: run.milliseconds / steps,
  lossMilliseconds: run.lossMilliseconds / steps,
  referenceLossMilliseconds: reference.lossMilliseconds / REFERENCE_STEPS,
  rows,
  backend: backend.name,
  backendDescription: backend.text,
  seed,
  steps,
  settings: SETTINGS,
  protocol: PROTOCOL,
  cores: availableParallelism(),
  node: process.version,
  history: run.history,
};
mkdirSync(out, { recursive: true });
const files = ['json', 'html'].map((kind) => join(out, `simclr-mnist.${kind}`));
writeFileSync(files[0], `${JSON.stringify(result, null, 2)}\n`);
writeFileSync(files[1], reportPage(result, { circle, planes }));

console.log(`\n${tableText(rows)}\n`);
console.log(shareText(result));
console.log(`\n${result.seconds.toFixed(0)} s in all. Written: ${files.map((file) => relative('.', file)).join(', ')}`);

function readArguments() {
  const options = {
    seed: { type: 'string', default: '1' },
    steps: { type: 'string', default: '1500' },
    out: { type: 'string', default: 'reports' },
  };
  const { values } = parseArgs({ options });
  const integer = (name, least) => {
    const value = Number(values[name]);
    if (!Number.isSafeInteger(value) || value < least || value > 1e6)
      throw new RangeError(`--${name}: expected an integer from ${least} to 1000000, got '${values[name]}'`);
    return value;
  };
  return { seed: integer('seed', 0), steps: integer('steps', 1), out: values.out };
}

/** Which backend the losses of this run use, in words. Where it is not a native one, the call makes the package warn as well. */
function describeBackend() {
  const name = ntXent({ data: new Float32Array(4).fill(1), shape: [2, 2] }).backend;
  const all = backends();
  const { instructionSet, threads, device } = all.find((entry) => entry.name === name);
  if (name !== 'reference') {
    const details = [device, instructionSet, threads && `${threads} threads`].filter(Boolean).join(', ');
    return { name, text: `the '${name}' backend (${details})` };
  }
  const { available, reason } = all.find((entry) => entry.name === 'cpu');
  return { name, text: `the TypeScript reference, which takes longer${available ? '' : `; no native backend: ${reason}`}` };
}

/** What training steps cost with the loss in TypeScript, on a model that is thrown away; the first steps only warm up. */
function timeReference() {
  const model = new SimClr(seed);
  const run = (steps) => train({ model, digits, steps, seed, backend: 'reference' });
  run(WARM_UP_STEPS);
  const timed = run(REFERENCE_STEPS);
  model.dispose();
  return timed;
}

function shareText({ backend, lossShare, referenceLossShare, stepMilliseconds, lossMilliseconds, referenceLossMilliseconds }) {
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  return (
    `A training step takes ${stepMilliseconds.toFixed(1)} ms. The loss with its gradient: ${lossMilliseconds.toFixed(2)} ms, ${percent(lossShare)} of a step (${backend});\n` +
    `with the reference: ${referenceLossMilliseconds.toFixed(1)} ms, ${percent(referenceLossShare)} of a step.`
  );
}
