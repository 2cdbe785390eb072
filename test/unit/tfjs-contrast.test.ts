/** InfoNCE, CLIP, SupCon, DCL and the systems made of InfoNCE in TensorFlow.js, against the same losses in tf operations. */
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import * as losses from '../../src/adapters/tfjs.js';
import * as kernels from '../../src/index.js';
import { normal } from '../../src/training/random.js';

const WHERE = { backend: 'reference' } as const;
const N = 8;

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

function gaussian(rows: number, seed: number): tf.Tensor2D {
  const random = kernels.randomStream(seed);
  return tf.tensor2d(
    Float32Array.from({ length: rows * 5 }, () => normal(random)),
    [rows, 5],
  );
}

const [x, y, pool] = [gaussian(N, 1), gaussian(N, 2), gaussian(6, 3)];
const labels = [0, 1, 0, 2, 1, 2, 0, 1];

type Scale = tf.Tensor | number;
const unit = (rows: tf.Tensor2D): tf.Tensor2D => rows.div<tf.Tensor2D>(rows.square().sum(1, true).sqrt());
const cosines = (a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor2D => unit(a).matMul(unit(b), false, true) as tf.Tensor2D;
const diagonal = (logits: tf.Tensor2D): tf.Tensor => logits.slice([0, 0], [N, N]).mul(tf.eye(N)).sum(1);
/** The mean cross-entropy of row i with column i. */
const crossEntropy = (logits: tf.Tensor2D): tf.Tensor => logits.logSumExp(1).sub(diagonal(logits)).mean();
const without = (logits: tf.Tensor2D, mask: tf.Tensor): tf.Tensor2D => logits.sub<tf.Tensor2D>(mask.mul(1e9));

function clipInTf(a: tf.Tensor2D, b: tf.Tensor2D, scale: Scale): tf.Tensor {
  const logits = cosines(a, b).mul<tf.Tensor2D>(scale);
  return crossEntropy(logits).add(crossEntropy(logits.transpose())).div(2);
}

function supConInTf(z: tf.Tensor2D, temperature: Scale): tf.Tensor {
  const logits = cosines(z, z).div<tf.Tensor2D>(temperature);
  const alike = tf.tensor2d(labels.map((a, i) => labels.map((b, j) => Number(a === b && i !== j))));
  const logSoftmax = logits.sub(without(logits, tf.eye(N)).logSumExp(1, true));
  return logSoftmax.mul(alike).sum(1).div(alike.sum(1)).mean().neg();
}

function dclInTf(a: tf.Tensor2D, b: tf.Tensor2D, temperature: Scale): tf.Tensor {
  const direction = (own: tf.Tensor2D, other: tf.Tensor2D): tf.Tensor => {
    const across = cosines(own, other).div<tf.Tensor2D>(temperature);
    const within = cosines(own, own).div<tf.Tensor2D>(temperature);
    const all = tf.concat2d([without(within, tf.eye(N)), without(across, tf.eye(N))], 1);
    return all.logSumExp(1).sub(diagonal(across)).mean();
  };
  return direction(a, b).add(direction(b, a)).div(2);
}

const dots = (a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor2D => a.matMul(b, false, true) as tf.Tensor2D;
const pairwise = (a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor => clipInTf(a, b, 2).mul(2);

/** Of each row its own row of the pool and two drawn ones, one of them twice; and how often each row of the pool is drawn. */
const drawn = Array.from({ length: N }, (_, i) => [i % 6, (i + 2) % 6, (i % 2 ? i + 3 : i + 2) % 6]);

function memoryBankInTf(z: tf.Tensor2D, temperature: Scale): tf.Tensor {
  const [own, others] = [drawn.map(([first]) => [first]), drawn.map(([, ...rest]) => rest)].map((picked) =>
    tf.tensor2d(picked.map((rows) => Array.from({ length: 6 }, (_, j) => rows.filter((row) => row === j).length))),
  );
  const p = cosines(z, pool).div(temperature).exp().div(2);
  const noise = 2 / 6;
  const isData = p.div(p.add(noise)).log().mul(own);
  const isNoise = tf.scalar(noise).div(p.add(noise)).log().mul(others);
  return isData.add(isNoise).sum(1).mean().neg();
}

/** Each function as one scalar of one matrix: ours, and the same in tf operations. */
const CASES: Record<string, { ours: (z: tf.Tensor2D) => tf.Tensor; theirs: (z: tf.Tensor2D) => tf.Tensor }> = {
  'infoNce, by query': {
    ours: (z) => losses.infoNce(z, y, { temperature: 0.3, negatives: pool, ...WHERE }),
    theirs: (z) => crossEntropy(cosines(z, tf.concat2d([y, pool], 0)).div(0.3)),
  },
  'infoNce of constant keys': {
    ours: (z) => losses.infoNce(z, y, { temperature: 0.3, negatives: pool, detachKeys: true, ...WHERE }),
    theirs: (z) => crossEntropy(cosines(z, tf.concat2d([y, pool], 0)).div(0.3)),
  },
  memoryBankNce: {
    ours: (z) => losses.memoryBankNce(z, pool, drawn.flat(), { temperature: 0.3, normalizer: 2 }),
    theirs: (z) => memoryBankInTf(z, 0.3),
  },
  'infoNce, by key': {
    ours: (z) => losses.infoNce(x, z, { logitScale: 4, negatives: pool, ...WHERE }),
    theirs: (z) => crossEntropy(cosines(x, tf.concat2d([z, pool], 0)).mul(4)),
  },
  'infoNce, by negatives, sum': {
    ours: (z) => losses.infoNce(x, y, { negatives: z, reduction: 'sum', ...WHERE }),
    theirs: (z) => crossEntropy(cosines(x, tf.concat2d([y, z], 0)).mul(2)).mul(N),
  },
  'clip, by image': { ours: (z) => losses.clip(z, y, { logitScale: 5, ...WHERE }), theirs: (z) => clipInTf(z, y, 5) },
  'clip, by text': { ours: (z) => losses.clip(x, z, { logitScale: 5, ...WHERE }), theirs: (z) => clipInTf(x, z, 5) },
  supCon: { ours: (z) => losses.supCon(z, labels, { temperature: 0.3, ...WHERE }), theirs: (z) => supConInTf(z, 0.3) },
  'dcl, by z1': { ours: (z) => losses.dcl(z, y, { temperature: 0.3, ...WHERE }), theirs: (z) => dclInTf(z, y, 0.3) },
  'dcl, by z2': { ours: (z) => losses.dcl(x, z, { temperature: 0.3, ...WHERE }), theirs: (z) => dclInTf(x, z, 0.3) },
  'simCse, by negatives': {
    ours: (z) => losses.simCse(x, y, { temperature: 0.3, negatives: z, hardNegativeWeight: 0.7, ...WHERE }),
    theirs: (z) =>
      crossEntropy(
        tf.concat2d([cosines(x, y).div<tf.Tensor2D>(0.3), cosines(x, z).div<tf.Tensor2D>(0.3).add<tf.Tensor2D>(tf.eye(N).mul(0.7))], 1),
      ),
  },
  'dpr, by context': {
    ours: (z) => losses.dpr(x, z, { layout: 'listed', ...WHERE }),
    theirs: (z) => crossEntropy(dots(x, z)),
  },
  'mocoV3, by q1': {
    ours: (z) => losses.mocoV3(z, x, y, y, { temperature: 0.5, ...WHERE }),
    theirs: (z) => crossEntropy(cosines(z, y).div(0.5)).add(crossEntropy(cosines(x, y).div(0.5))),
  },
  'cmc, by one of three views': {
    ours: (z) => losses.cmc([x, z, y], WHERE),
    theirs: (z) => pairwise(x, z).add(pairwise(z, y)).add(pairwise(x, y)),
  },
  'multipleNegativesRanking, by negatives': {
    ours: (z) => losses.multipleNegativesRanking(x, y, { logitScale: 4, negatives: [z], ...WHERE }),
    theirs: (z) => crossEntropy(cosines(x, tf.concat2d([y, z], 0)).mul(4)),
  },
  'multipleNegativesRanking, joint, by anchor': {
    ours: (z) => losses.multipleNegativesRanking(z, y, { logitScale: 4, directions: ['queryToDoc', 'queryToQuery'], ...WHERE }),
    theirs: (z) => crossEntropy(tf.concat2d([cosines(z, y).mul<tf.Tensor2D>(4), without(cosines(z, z).mul<tf.Tensor2D>(4), tf.eye(N))], 1)),
  },
  'gist, by positive': {
    // A guide that leaves all of them in: every similarity of its rows is below that of anchor and positive.
    ours: (z) =>
      losses.gist(x, z, {
        temperature: 0.3,
        margin: -9,
        contrastAnchors: false,
        contrastPositives: false,
        guide: { anchor: x, positive: y },
        ...WHERE,
      }),
    theirs: (z) => crossEntropy(cosines(x, z).div(0.3)),
  },
};

function expectClose(got: tf.Tensor, expected: tf.Tensor, bound: number): void {
  expect(got.shape).toEqual(expected.shape);
  const scale = Math.max(1, ...Array.from(expected.dataSync(), Math.abs));
  expect(got.sub(expected).abs().max().dataSync()[0] / scale).toBeLessThan(bound);
}

describe.each(Object.entries(CASES))('%s', (_, { ours, theirs }) => {
  const point = gaussian(N, 4);

  it('has the value and the gradient of the same loss in tf operations', () => {
    expectClose(ours(point), theirs(point), 2e-6);
    expectClose(tf.grad(ours as never)(point), tf.grad(theirs as never)(point), 3e-6);
  });

  it('leaves no tensor behind, and refuses a second derivative', () => {
    tf.tidy(() => void tf.grad(ours as never)(point));
    const before = tf.memory().numTensors;
    for (let i = 0; i < 3; i++) tf.tidy(() => void tf.grad(ours as never)(point));
    expect(tf.memory().numTensors).toBe(before);
    const first = (rows: tf.Tensor) =>
      tf
        .grad(ours as never)(rows)
        .square()
        .sum();
    expect(() => tf.grad(first as never)(point)).toThrow(/second derivatives are not supported/);
  });
});

describe('scales given as tensors are trained', () => {
  it.each<[string, (scale: tf.Tensor) => tf.Tensor, (scale: tf.Tensor) => tf.Tensor]>([
    ['infoNce, temperature', (temperature) => losses.infoNce(x, y, { temperature, ...WHERE }), (t) => crossEntropy(cosines(x, y).div(t))],
    ['infoNce, logitScale', (logitScale) => losses.infoNce(x, y, { logitScale, ...WHERE }), (s) => crossEntropy(cosines(x, y).mul(s))],
    ['clip', (logitScale) => losses.clip(x, y, { logitScale, ...WHERE }), (s) => clipInTf(x, y, s)],
    ['supCon', (temperature) => losses.supCon(x, labels, { temperature, ...WHERE }), (t) => supConInTf(x, t)],
    ['dcl', (temperature) => losses.dcl(x, y, { temperature, ...WHERE }), (t) => dclInTf(x, y, t)],
    [
      'memoryBankNce',
      (temperature) => losses.memoryBankNce(x, pool, drawn.flat(), { temperature, normalizer: 2 }),
      (t) => memoryBankInTf(x, t),
    ],
    [
      'mocoV3',
      (temperature) => losses.mocoV3(x, y, x, y, { temperature, ...WHERE }),
      (t) => {
        const both = crossEntropy(cosines(x, y).div(t)).add(crossEntropy(cosines(y, x).div(t)));
        return both.mul(t).mul(2);
      },
    ],
    ['cmc', (temperature) => losses.cmc([x, y], { temperature, ...WHERE }), (t) => clipInTf(x, y, tf.scalar(1).div(t)).mul(2)],
    [
      'multipleNegativesRanking',
      (logitScale) => losses.multipleNegativesRanking(x, y, { logitScale, ...WHERE }),
      (s) => crossEntropy(cosines(x, y).mul(s)),
    ],
  ])('%s', (_, ours, theirs) => {
    const scale = tf.scalar(0.7);
    expectClose(tf.grad(ours as never)(scale), tf.grad(theirs as never)(scale), 3e-6);
  });
});

describe('constants', () => {
  it('no gradient reaches keys and negatives with detachKeys, nor a bank', () => {
    expect(() => tf.grad((z) => losses.infoNce(x, z, { detachKeys: true, ...WHERE }))(y)).toThrow(/gradient/);
    expect(() => tf.grad((z) => losses.infoNce(x, y, { negatives: z, detachKeys: true, ...WHERE }))(pool)).toThrow(/gradient/);
    expect(() => tf.grad((z) => losses.memoryBankNce(x, z, drawn.flat()))(pool)).toThrow(/gradient/);
  });

  it('a MemoryBank goes in as it is', () => {
    const bank = new kernels.MemoryBank(kernels.matrix(pool.dataSync<'float32'>(), 6, 5));
    const options = { normalizer: 2, normalize: false } as const;
    const direct = kernels.memoryBankNce(kernels.matrix(x.dataSync<'float32'>(), N, 5), bank, drawn.flat(), options);
    expect(losses.memoryBankNce(x, bank, drawn.flat(), options).dataSync()[0]).toBe(Math.fround(direct.loss));
  });
});

describe('bad input', () => {
  it.each([
    [() => losses.infoNce(x, tf.zeros([3])), RangeError, /key: expected a tf\.Tensor of rank 2/],
    [() => losses.infoNce(x, y, { negatives: 5 as never }), TypeError, /negatives: expected a tf\.Tensor/],
    [() => losses.infoNce(x, y, { gradients: true } as never), TypeError, /got 'gradients'/],
    [() => losses.clip(x, pool), RangeError, /text: expected the shape/],
    [() => losses.supCon(x, [1, 2]), RangeError, /labels: expected 8 integers/],
    [() => losses.cmc([x]), RangeError, /views: expected at least two/],
    [() => losses.mocoV3(x, y, x, tf.zeros([3])), RangeError, /k2: expected a tf\.Tensor of rank 2/],
    [() => losses.gist(x, y, { guide: { anchor: x, positive: tf.zeros([2]) } }), RangeError, /guide\.positive: /],
    [() => losses.infoNce(x, y, { negatives: 5 as never, detachKeys: true }), TypeError, /negatives: expected a tf\.Tensor/],
    [() => losses.memoryBankNce(x, 5 as never, drawn.flat()), TypeError, /bank: expected/],
    [() => losses.memoryBankNce(x, pool, [1]), RangeError, /indices: expected a multiple/],
    [() => losses.memoryBankNce(x, tf.zeros([3]), drawn.flat()), RangeError, /bank: expected a tf\.Tensor of rank 2/],
    [() => losses.dcl(x, y, { reduction: 'none' as never }), RangeError, /reduction: /],
  ])('%#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
