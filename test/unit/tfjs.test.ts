/** The TensorFlow.js adapter on the plain JavaScript backend of TensorFlow.js: values, gradients, memory, training. */
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import * as losses from '../../src/adapters/tfjs.js';
import * as kernels from '../../src/index.js';
import { normal } from '../../src/training/random.js';

const WHERE = { backend: 'reference' } as const;

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

function gaussian(rows: number, cols: number, seed: number): tf.Tensor2D {
  const random = kernels.randomStream(seed);
  return tf.tensor2d(
    Float32Array.from({ length: rows * cols }, () => normal(random)),
    [rows, cols],
  );
}

const toMatrix = (tensor: tf.Tensor) => ({ data: tensor.dataSync<'float32'>(), shape: tensor.shape });

/** NT-Xent in tf operations, with the rows x rows matrix. */
function ntXentInTf(z: tf.Tensor2D, temperature: tf.Tensor | number): tf.Scalar {
  const rows = z.shape[0];
  const u = z.div<tf.Tensor2D>(z.square().sum(1, true).sqrt());
  const logits = u.matMul(u, false, true).div<tf.Tensor2D>(temperature);
  const masked = logits.sub(tf.eye(rows).mul(1e9));
  const partner = tf.oneHot(
    tf.tensor1d(
      Array.from({ length: rows }, (_, i) => (i + rows / 2) % rows),
      'int32',
    ),
    rows,
  );
  return masked.logSumExp(1).sub(logits.mul(partner).sum(1)).mean();
}

function uniformityInTf(x: tf.Tensor2D, t: number): tf.Tensor {
  const rows = x.shape[0];
  const u = x.div<tf.Tensor2D>(x.square().sum(1, true).sqrt());
  const squares = tf.scalar(2).sub(u.matMul(u, false, true).mul(2));
  const off = tf.scalar(1).sub(tf.eye(rows));
  return squares
    .mul(-t)
    .exp()
    .mul(off)
    .sum()
    .div(rows * (rows - 1))
    .log();
}

function alignmentInTf(x: tf.Tensor2D, y: tf.Tensor2D): tf.Scalar {
  return unit(x).sub(unit(y)).square().sum(1).mean();
}

const unit = (rows: tf.Tensor2D): tf.Tensor2D => rows.div<tf.Tensor2D>(rows.square().sum(1, true).sqrt());

function crossUniformityInTf(a: tf.Tensor2D, b: tf.Tensor2D, t: number): tf.Tensor {
  return tf
    .scalar(2)
    .sub(unit(a).matMul(unit(b), false, true).mul(2))
    .mul(-t)
    .exp()
    .mean()
    .log();
}

function sigLipInTf(a: tf.Tensor2D, b: tf.Tensor2D, scale: tf.Tensor | number, bias: tf.Tensor | number): tf.Tensor {
  const signs = tf.eye(a.shape[0]).mul(2).sub(1);
  const logits = unit(a).matMul(unit(b), false, true).mul(scale).add(bias);
  return tf.softplus(logits.mul(signs).neg()).sum().div(a.shape[0]);
}

function negativeCosineInTf(p: tf.Tensor2D, target: tf.Tensor2D): tf.Tensor {
  return unit(p).mul(unit(target)).sum(1).mean().neg();
}

function centred(rows: tf.Tensor2D): tf.Tensor2D {
  return rows.sub<tf.Tensor2D>(rows.mean(0, true));
}

function barlowTwinsInTf(a: tf.Tensor2D, b: tf.Tensor2D, lambda: number): tf.Tensor {
  const standardised = (rows: tf.Tensor2D) => centred(rows).div<tf.Tensor2D>(centred(rows).square().mean(0, true).add(1e-5).sqrt());
  const c = standardised(a).matMul(standardised(b), true).div<tf.Tensor2D>(a.shape[0]);
  const diagonal = tf.eye(a.shape[1]);
  const off = c.square().mul(tf.scalar(1).sub(diagonal)).sum();
  return tf.scalar(1).sub(c).square().mul(diagonal).sum().add(off.mul(lambda));
}

function vicRegInTf(a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor {
  const [rows, cols] = a.shape;
  const side = (view: tf.Tensor2D) => {
    const C = centred(view)
      .matMul(centred(view), true)
      .div<tf.Tensor2D>(rows - 1);
    const diagonal = tf.eye(cols);
    const deviations = C.mul(diagonal).sum(0).add(1e-4).sqrt();
    const hinge = tf.relu(tf.scalar(1).sub(deviations)).mean().mul(12.5);
    return hinge.add(C.square().mul(tf.scalar(1).sub(diagonal)).sum().div(cols));
  };
  return a.sub(b).square().mean().mul(25).add(side(a)).add(side(b));
}

const x = gaussian(8, 5, 1);
const y = gaussian(8, 5, 2);
const upstream = gaussian(8, 8, 3);

/** Each function as one scalar of one matrix: ours, and the same in tf operations. */
const CASES: Record<string, { ours: (x: tf.Tensor2D) => tf.Tensor; theirs: (x: tf.Tensor2D) => tf.Tensor }> = {
  ntXent: { ours: (z) => losses.ntXent(z, { temperature: 0.3, ...WHERE }), theirs: (z) => ntXentInTf(z, 0.3) },
  'ntXent, sum': {
    ours: (z) => losses.ntXent(z, { temperature: 0.3, reduction: 'sum', ...WHERE }),
    theirs: (z) => ntXentInTf(z, 0.3).mul(8),
  },
  'ntXent, interleaved': {
    ours: (z) => losses.ntXent(z, { temperature: 0.3, pairs: 'interleaved', ...WHERE }),
    theirs: (z) => ntXentInTf(tf.gather(z, [0, 2, 4, 6, 1, 3, 5, 7]), 0.3),
  },
  uniformity: { ours: (rows) => losses.uniformity(rows, { t: 1.5, ...WHERE }), theirs: (rows) => uniformityInTf(rows, 1.5) },
  'alignment, by x': { ours: (rows) => losses.alignment(rows, y, WHERE), theirs: (rows) => alignmentInTf(rows, y) },
  'alignment, by y': { ours: (rows) => losses.alignment(x, rows, WHERE), theirs: (rows) => alignmentInTf(x, rows) },
  'crossUniformity, by x': {
    ours: (rows) => losses.crossUniformity(rows, y, { t: 1.5, ...WHERE }),
    theirs: (rows) => crossUniformityInTf(rows, y, 1.5),
  },
  'crossUniformity, by y': {
    ours: (rows) => losses.crossUniformity(x, rows, { t: 1.5, ...WHERE }),
    theirs: (rows) => crossUniformityInTf(x, rows, 1.5),
  },
  'alignmentUniformity, by y': {
    ours: (rows) => losses.alignmentUniformity(x, rows, { t: 1.5, weight: 0.7, ...WHERE }),
    theirs: (rows) => alignmentInTf(x, rows).add(uniformityInTf(x, 1.5).add(uniformityInTf(rows, 1.5)).mul(0.35)),
  },
  'sigLip, by x': {
    ours: (rows) => losses.sigLip(rows, y, { logitScale: 4, bias: -2, ...WHERE }),
    theirs: (rows) => sigLipInTf(rows, y, 4, -2),
  },
  'sigLip, by y, sum': {
    ours: (rows) => losses.sigLip(x, rows, { logitScale: 4, bias: -2, reduction: 'sum', ...WHERE }),
    theirs: (rows) => sigLipInTf(x, rows, 4, -2).mul(8),
  },
  negativeCosine: { ours: (rows) => losses.negativeCosine(rows, y, WHERE), theirs: (rows) => negativeCosineInTf(rows, y) },
  'negativeCosine, by the target': {
    ours: (rows) => losses.negativeCosine(x, rows, { detachTarget: false, ...WHERE }),
    theirs: (rows) => negativeCosineInTf(x, rows),
  },
  'barlowTwins, by a': {
    ours: (rows) => losses.barlowTwins(rows, y, { lambda: 0.3, ...WHERE }),
    theirs: (rows) => barlowTwinsInTf(rows, y, 0.3),
  },
  'barlowTwins, by b': {
    ours: (rows) => losses.barlowTwins(x, rows, { lambda: 0.3, ...WHERE }),
    theirs: (rows) => barlowTwinsInTf(x, rows, 0.3),
  },
  'vicReg, by a': { ours: (rows) => losses.vicReg(rows, y, WHERE), theirs: (rows) => vicRegInTf(rows, y) },
  'vicReg, by b': { ours: (rows) => losses.vicReg(x, rows, WHERE), theirs: (rows) => vicRegInTf(x, rows) },
  'cosineSimilarity, by x': {
    ours: (rows) => losses.cosineSimilarity(rows, y, WHERE).mul(upstream).sum(),
    theirs: (rows) => tf.sum(cosinesInTf(rows, y).mul(upstream)),
  },
  'cosineSimilarity, by y': {
    ours: (rows) => losses.cosineSimilarity(x, rows, WHERE).mul(upstream).sum(),
    theirs: (rows) => tf.sum(cosinesInTf(x, rows).mul(upstream)),
  },
  'cosineSimilarity, with itself': {
    ours: (rows) => losses.cosineSimilarity(rows, undefined, WHERE).mul(upstream).sum(),
    theirs: (rows) => tf.sum(cosinesInTf(rows, rows).mul(upstream)),
  },
};

function cosinesInTf(a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor {
  return unit(a).matMul(unit(b), false, true);
}

function expectClose(got: tf.Tensor, expected: tf.Tensor, bound: number): void {
  expect(got.shape).toEqual(expected.shape);
  const scale = Math.max(1, ...Array.from(expected.dataSync(), Math.abs));
  expect(got.sub(expected).abs().max().dataSync()[0] / scale).toBeLessThan(bound);
}

describe.each(Object.entries(CASES))('%s', (_, { ours, theirs }) => {
  const point = gaussian(8, 5, 4);

  it('has the value and the gradient of the same loss in tf operations', () => {
    expectClose(ours(point), theirs(point), 1e-6);
    expectClose(tf.grad(ours as never)(point), tf.grad(theirs as never)(point), 2e-6);
  });

  it('has the gradient that finite differences give', () => {
    const gradient = tf
      .grad(ours as never)(point)
      .dataSync();
    const values = point.dataSync();
    const step = 1e-2;
    const at = (i: number, by: number) => {
      const moved = values.slice();
      moved[i] += by;
      return ours(tf.tensor2d(moved, [8, 5])).dataSync()[0];
    };
    for (const i of [0, 7, 13, 22, 39]) {
      // Fourth order, so that the step can be large beside float32 rounding.
      const slope = (8 * (at(i, step) - at(i, -step)) - (at(i, 2 * step) - at(i, -2 * step))) / (12 * step);
      expect(Math.abs(slope - gradient[i])).toBeLessThan(3e-4 * Math.max(1, ...gradient.map(Math.abs)));
    }
  });

  it('passes on the gradient of what comes after and before it', () => {
    const chain = (loss: typeof ours) => (rows: tf.Tensor2D) => loss(rows.mul<tf.Tensor2D>(rows)).square().mul(3) as tf.Scalar;
    expectClose(tf.grad(chain(ours) as never)(point), tf.grad(chain(theirs) as never)(point), 5e-6);
  });

  it('leaves no tensor behind, with and without a gradient', () => {
    for (const call of [() => tf.grad(ours as never)(point), () => ours(point)]) {
      tf.tidy(() => void call());
      const before = tf.memory().numTensors;
      for (let i = 0; i < 5; i++) tf.tidy(() => void call());
      expect(tf.memory().numTensors).toBe(before);
    }
  });

  it('refuses a second derivative instead of giving a wrong one', () => {
    const first = (rows: tf.Tensor) =>
      tf
        .grad(ours as never)(rows)
        .square()
        .sum();
    expect(first(point).dataSync()[0]).toBeGreaterThan(0);
    expect(() => tf.grad(first as never)(point)).toThrow(/second derivatives are not supported/);
  });
});

describe('ntXent', () => {
  const z = gaussian(8, 5, 5);

  it('trains a temperature given as a tensor', () => {
    const ours = tf.grads((rows: tf.Tensor, temperature: tf.Tensor) => losses.ntXent(rows, { temperature, ...WHERE }));
    const theirs = tf.grads((rows: tf.Tensor, temperature: tf.Tensor) => ntXentInTf(rows as tf.Tensor2D, temperature));
    const temperature = tf.scalar(0.4);
    ours([z, temperature]).forEach((gradient, i) => {
      expectClose(gradient, theirs([z, temperature])[i], 2e-6);
    });
  });

  it('is what the kernel gives, options passed on', () => {
    const options = { temperature: 0.2, normalize: false, threads: 1, ...WHERE };
    const scaled = z.mul<tf.Tensor2D>(0.3);
    const expected = kernels.ntXent(toMatrix(scaled), { ...options, gradients: true });
    expect(losses.ntXent(scaled, options).dataSync()[0]).toBe(Math.fround(expected.loss));
    const gradient = tf
      .grad((rows) => losses.ntXent(rows, options))(scaled)
      .dataSync();
    expect(gradient).toEqual(expected.gradients.z);
    expect(() => losses.ntXent(z, { backend: 'none' as never })).toThrow(/backend: expected one of/);
  });

  it('computes no gradient where no tape records', () => {
    // Rows so short that their gradient does not fit float32, while their loss is an ordinary number.
    const tiny = z.mul<tf.Tensor2D>(1e-38).mul<tf.Tensor2D>(1e-5);
    expect(losses.ntXent(tiny, WHERE).dataSync()[0]).toBeGreaterThan(0);
    expect(() => tf.grad((rows) => losses.ntXent(rows, WHERE))(tiny)).toThrow(RangeError);
  });

  it('trains through optimizer.minimize and variableGrads, without growing', () => {
    const input = gaussian(16, 6, 6);
    const weights = tf.variable(gaussian(6, 4, 7).mul<tf.Tensor2D>(0.1));
    const temperature = tf.variable(tf.scalar(0.5));
    const optimizer = tf.train.adam(0.05);
    const loss = () => losses.ntXent(input.matMul(weights), { temperature, ...WHERE });
    const { grads, value } = tf.variableGrads(loss, [weights, temperature]);
    expect(Object.keys(grads)).toHaveLength(2);
    tf.dispose([grads, value]);
    const first = loss().dataSync()[0];
    optimizer.minimize(loss, false, [weights, temperature]);
    const before = tf.memory().numTensors;
    for (let step = 0; step < 30; step++) optimizer.minimize(loss, false, [weights, temperature]);
    expect(tf.memory().numTensors).toBe(before);
    expect(loss().dataSync()[0]).toBeLessThan(first - 0.3);
    tf.dispose([weights, temperature]);
    optimizer.dispose();
  });
});

describe('sigLip and negativeCosine', () => {
  it('train a scale and a bias given as tensors', () => {
    const ours = tf.grads((a: tf.Tensor, logitScale: tf.Tensor, bias: tf.Tensor) => losses.sigLip(a, y, { logitScale, bias, ...WHERE }));
    const theirs = tf.grads((a: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) => sigLipInTf(a as tf.Tensor2D, y, scale, bias));
    const at = [x, tf.scalar(3), tf.scalar(-1)];
    ours(at).forEach((gradient, i) => {
      expectClose(gradient, theirs(at)[i], 2e-6);
    });
    expect(() => losses.sigLip(x, y, { bias: tf.zeros([2]), ...WHERE })).toThrow(
      /bias: expected a number or a scalar tensor, got shape \[2\]/,
    );
  });

  it('let no gradient reach a detached target', () => {
    const target = tf.variable(y);
    const p = tf.variable(x);
    const { grads } = tf.variableGrads(() => losses.negativeCosine(p, target.mul(2), WHERE), [p]);
    expect(Object.keys(grads)).toEqual([p.name]);
    expect(() => tf.variableGrads(() => losses.negativeCosine(x, target, WHERE), [target])).toThrow();
    tf.dispose([target, p, grads]);
  });
});

describe('bad input', () => {
  it.each([
    [() => losses.ntXent(toMatrix(x) as never), TypeError, /z: expected a tf\.Tensor of rank 2, got an object/],
    [() => losses.ntXent(tf.zeros([4])), RangeError, /z: expected a tf\.Tensor of rank 2, got shape \[4\]/],
    [() => losses.ntXent(tf.zeros([4, 2], 'int32')), TypeError, /z: expected dtype 'float32', got 'int32'/],
    [() => losses.ntXent(tf.ones([3, 2])), RangeError, /z: expected an even number of rows/],
    [() => losses.ntXent(tf.fill([4, 2], Number.NaN), WHERE), kernels.NonFiniteError, /z: .*row 0, column 0/],
    [() => losses.ntXent(x, { temperature: -1 }), RangeError, /temperature/],
    [() => losses.ntXent(x, { temperature: tf.scalar(0) }), RangeError, /temperature/],
    [
      () => losses.ntXent(x, { temperature: tf.zeros([2]) }),
      RangeError,
      /temperature: expected a number or a scalar tensor, got shape \[2\]/,
    ],
    [() => losses.ntXent(x, { reduction: 'none' as never }), RangeError, /reduction: expected one of 'mean', 'sum'/],
    [() => losses.ntXent(x, { gradients: true } as never), TypeError, /expected only .*got 'gradients'/],
    [() => losses.alignment(x, tf.zeros([7, 5])), RangeError, /y: expected the shape/],
    [() => losses.uniformity(x, { t: 0 }), RangeError, /t: /],
    [() => losses.uniformity(tf.ones([1, 2])), RangeError, /x: /],
    [() => losses.cosineSimilarity(x, tf.ones([2, 3])), RangeError, /y: /],
    [() => losses.sigLip(x, tf.zeros([8])), RangeError, /y: expected a tf\.Tensor of rank 2/],
    [() => losses.negativeCosine(x, [1] as never), TypeError, /target: expected a tf\.Tensor of rank 2/],
    [() => losses.barlowTwins(x, tf.zeros([8, 4])), RangeError, /b: expected the shape/],
    [() => losses.vicReg(x, y, { lambda: 1 } as never), TypeError, /got 'lambda'/],
  ])('%#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
