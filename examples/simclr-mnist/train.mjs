/** The training loop of SimCLR: two augmented views of a batch, encoder and head, NT-Xent and its gradient, one step of Adam. */
import tf from '@tensorflow/tfjs';
import {
  alignment,
  colourJitter,
  ntXent as ntXentKernel,
  randomAffine,
  randomErasing,
  randomStream,
  twoViews,
  uniformity,
} from 'contrastive-kernels';
import { ntXent } from 'contrastive-kernels/tfjs';

export const SETTINGS = { batch: 128, learningRate: 4e-3, warmUpSteps: 50, temperature: 0.2 };

/**
 * What may happen to a digit without changing which digit it is. The choice decides what the encoder learns to ignore: slant,
 * size, place, thickness of ink and a missing piece, but no flips, which would make other digits.
 */
export const AUGMENTATIONS = [
  randomAffine({ degrees: 20, translate: [0.1, 0.1], scale: [0.7, 1.15], ratio: [0.8, 1.25], shear: 14 }),
  colourJitter({ brightness: 0.4 }),
  randomErasing({ area: [0.02, 0.1], probability: 0.5 }),
];

/** Loss, alignment and uniformity of the projections of fixed views, in the 'halves' layout. */
export function measure(z, temperature = SETTINGS.temperature, backend = 'auto') {
  const [rows, cols] = z.shape;
  const half = (rows / 2) * cols;
  const first = { data: z.data.subarray(0, half), shape: [rows / 2, cols] };
  const second = { data: z.data.subarray(half), shape: [rows / 2, cols] };
  return {
    loss: ntXentKernel(z, { temperature, backend, stats: false }).loss,
    alignment: alignment(first, second, { backend, stats: false }).loss,
    uniformity: uniformity(first, { backend, stats: false }).loss,
  };
}

/**
 * Trains `model` for a fixed number of steps. Everything random comes from `seed`.
 *
 * @param {object} run model, digits (the training set), steps, seed, settings (over SETTINGS); backend of the loss;
 *   `watched`: a matrix of views measured every `every` steps; `onProgress(step, measured)`
 * @returns history, [{ step, loss, alignment, uniformity, batchLoss }] over the watched views and the batch, and the milliseconds of
 *   the whole loop and of the loss with its gradient
 */
export function train({ model, digits, steps, seed, settings, backend = 'auto', watched, every = steps, onProgress }) {
  const { batch, learningRate, warmUpSteps, temperature } = { ...SETTINGS, ...settings };
  const optimizer = tf.train.adam(learningRate);
  const batches = shuffledBatches(digits.count, batch, seed);
  const history = [];
  let lossMilliseconds = 0;
  let milliseconds = 0;
  let batchLoss = Number.NaN;
  const look = (step) => {
    if (!watched) return;
    history.push({ step, ...measure(model.embed(watched).z, temperature, backend), batchLoss });
    onProgress?.(step, history.at(-1));
  };
  for (let step = 0; step < steps; step++) {
    if (step % every === 0) look(step);
    const started = performance.now();
    const views = twoViews(digits.batch(batches.next().value), AUGMENTATIONS, seed * 2 ** 24 + step);
    // Half a cosine down to zero, after a short rise.
    optimizer.learningRate = learningRate * Math.min(1, (step + 1) / warmUpSteps) * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
    const x = tf.tensor2d(views.data, views.shape);
    const loss = optimizer.minimize(
      () => {
        const z = model.project(x);
        const before = performance.now();
        const value = ntXent(z, { temperature, backend });
        lossMilliseconds += performance.now() - before;
        return value;
      },
      true,
      model.variables,
    );
    batchLoss = loss.dataSync()[0];
    tf.dispose([x, loss]);
    milliseconds += performance.now() - started;
  }
  look(steps);
  optimizer.dispose();
  return { history, milliseconds, lossMilliseconds };
}

/** Batches of image numbers, epoch after epoch, each epoch in an order of its own; what does not fill a batch is left out. */
function* shuffledBatches(count, batch, seed) {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let epoch = 0; ; epoch++) {
    const random = randomStream(seed, epoch);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    for (let from = 0; from + batch <= count; from += batch) yield order.slice(from, from + batch);
  }
}
