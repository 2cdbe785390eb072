/** The contrastive systems give the numbers of the libraries they are known from. */
import { describe, expect, test } from 'vitest';
import { clip, infoNce, type Matrix, matrix } from '../../src/index.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { dotScale, expectEach, expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { goldens } from '../support/golden.js';
import { type SystemGolden, systemGoldens, unsupported } from '../support/system-goldens.js';

/** Nothing in these files cancels, so a gradient is compared by its own size. */
function plain(values: readonly number[]) {
  return {
    values: Float64Array.from(values),
    sizes: new Float64Array(values.length),
    norms: new Float64Array(values.length).fill(1),
    cols: 1,
  };
}

function expectGolden({ golden, temperature, normalize, run }: SystemGolden): void {
  const got = run();
  expectBackend(got);
  const norms = Object.values(golden.inputs).map(({ data, shape }) => largestNorm(data, shape.at(-1) ?? 1));
  const scale = normalize ? 1 : dotScale(Math.max(...norms), Math.max(...norms));
  const tol = scale * tolerance(temperature);
  const { loss } = golden.expected;
  if (typeof loss === 'number') expectNumber('loss', got.loss, loss, tol, 0);
  else expectEach('perRow', got.perRow as Float32Array, loss as readonly number[], tol, 0); // reduction 'none'
  for (const [name, values] of Object.entries(got.gradients)) {
    const expected = golden.expected[`grad_${name}`] as readonly number[];
    expectGradient(name, Float32Array.from(values), expected, plain(expected), tol);
  }
  expect(Object.keys(got.gradients).length).toBeGreaterThan(0);
}

function largestNorm(data: readonly number[], cols: number): number {
  let largest = 0;
  for (let start = 0; start < data.length; start += cols) largest = Math.max(largest, Math.hypot(...data.slice(start, start + cols)));
  return largest;
}

for (const kernel of ['infoNce', 'supCon'] as const) {
  describeKernel(kernel, `golden values by ${kernel}`, () => {
    const files = systemGoldens().filter((each) => each.kernel === kernel);
    test.each(files.map((each) => [each.golden.file, each] as const))('%s', (_, each) => expectGolden(each));
  });
}

/**
 * Several processes (docs/distributed.md): with W ranks open_clip averages parameter gradients over them, so what each rank contributes
 * is W times its rows' gradient of the mean over all, where the gathered rows carry gradients.
 */
describeKernel('infoNce', 'CLIP over several processes', () => {
  const files = goldens('ClipLoss').filter(({ params }) => params.world_size !== undefined);
  test.each(files.map((golden) => [golden.file, golden] as const))('%s', (_, { params, inputs, expected }) => {
    const { world_size: W, local_loss, gather_with_grad, logit_scale } = params as Record<string, never>;
    const gathered = (name: string) => {
      const { data, shape } = inputs[name];
      return matrix(Float32Array.from(data), data.length / (shape.at(-1) as number), shape.at(-1) as number);
    };
    const [image, text] = [gathered('image_features'), gathered('text_features')];
    const logitScale = logit_scale as number;
    const got = clip(image, text, { logitScale, gradients: true });
    expectBackend(got);
    const tol = tolerance(1 / logitScale);
    const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    expectNumber('loss', mean(expected.loss as readonly number[]), got.loss, tol, 0);
    expectNumber('scale', mean(expected.grad_logit_scale as readonly number[]), got.gradients.logitScale, tol, 1);
    // With a loss of its own rows and no gradients through the gather, a rank has those of its rows as anchors alone.
    const anchorsOnly = local_loss && !gather_with_grad;
    const half = (from: Matrix, among: Matrix) =>
      infoNce(from, among, { logitScale, gradients: true }).gradients.query.map((value) => value / 2);
    const ours = anchorsOnly ? { image: half(image, text), text: half(text, image) } : got.gradients;
    for (const [name, gradient] of [
      ['grad_image_features', ours.image],
      ['grad_text_features', ours.text],
    ] as const) {
      const factor = gather_with_grad || anchorsOnly ? (W as number) : 1;
      const values = (expected[name] as readonly number[]).map((value) => value / factor);
      expectGradient(name, gradient, values, plain(values), tol);
    }
  });
});

describe('golden files that are no test', () => {
  test('are named, with the reason', () => {
    expect(unsupported()).toEqual([]);
  });
});
