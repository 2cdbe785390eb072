/**
 * Multinomial logistic regression, fitted by L-BFGS in float64:
 *
 *   minimise over W [classes, dim], b [classes]:  mean_i −log softmax(W x_i + b)[y_i]  +  ½ l2 ‖W‖²
 *
 * The problem is convex, the start is zero (or a given model) and nothing is random, so the result is determined by the input.
 */

export interface SoftmaxModel {
  /** [classes, dim + 1]; the last column is the bias. */
  readonly parameters: Float64Array;
  readonly dim: number;
  readonly classes: number;
}

/** Training rows as the optimiser reads them. */
export interface Design {
  /** [rows, dim] */
  readonly data: Float32Array;
  readonly labels: Int32Array;
  readonly rows: number;
  readonly dim: number;
  readonly classes: number;
}

/** Pairs of (step, change of gradient) that L-BFGS keeps. */
const HISTORY = 10;
/** The fit has converged when no component of the gradient is larger; the objective is of the order of 1. */
const GRADIENT_TOLERANCE = 1e-5;

/** Fits a model, from `start` when given (a neighbouring l2 makes a good one). */
export function fitSoftmax(design: Design, l2: number, maxIterations: number, start?: SoftmaxModel): SoftmaxModel {
  const { dim, classes } = design;
  let parameters = start ? start.parameters.slice() : new Float64Array((dim + 1) * classes);
  let gradient = new Float64Array(parameters.length);
  let value = objective(design, l2, parameters, gradient);
  const steps: Float64Array[] = [];
  const changes: Float64Array[] = [];
  for (let iteration = 0; iteration < maxIterations; iteration++) {
    if (largest(gradient) <= GRADIENT_TOLERANCE) break;
    const direction = descentDirection(gradient, steps, changes);
    const slope = dot(direction, gradient);
    // The first step has no curvature to go by: one of length at most 1.
    let length = steps.length === 0 ? Math.min(1, 1 / Math.sqrt(dot(gradient, gradient))) : 1;
    let next = parameters;
    let nextGradient = gradient;
    let nextValue = value;
    for (let halvings = 0; ; halvings++) {
      if (halvings === 40) return { parameters, dim, classes }; // Rounding has the last word: no step improves any more.
      next = parameters.map((p, i) => p + length * direction[i]);
      nextGradient = new Float64Array(parameters.length);
      nextValue = objective(design, l2, next, nextGradient);
      if (nextValue <= value + 1e-4 * length * slope) break;
      length /= 2;
    }
    const step = next.map((p, i) => p - parameters[i]);
    const change = nextGradient.map((g, i) => g - gradient[i]);
    if (dot(step, change) > 1e-12 * dot(change, change)) {
      steps.push(step);
      changes.push(change);
      if (steps.length > HISTORY) {
        steps.shift();
        changes.shift();
      }
    }
    parameters = next;
    gradient = nextGradient;
    value = nextValue;
  }
  return { parameters, dim, classes };
}

/** The most probable class of every row. */
export function predictSoftmax(model: SoftmaxModel, data: Float32Array, rows: number): Int32Array {
  const predictions = new Int32Array(rows);
  forEachRow(model.parameters, { data, rows, ...model }, (row, logits, at) => {
    let best = 0;
    for (let c = 1; c < model.classes; c++) if (logits[at + c] > logits[at + best]) best = c;
    predictions[row] = best;
  });
  return predictions;
}

/** Mean −log probability of the given classes. */
export function logLoss(model: SoftmaxModel, data: Float32Array, labels: Int32Array): number {
  let sum = 0;
  forEachRow(model.parameters, { data, rows: labels.length, ...model }, (row, logits, at) => {
    sum += softmaxInPlace(logits, at, model.classes, labels[row]);
  });
  return sum / labels.length;
}

/** The objective at `parameters`; its gradient is added to `gradient`, which must be zero. */
function objective(design: Design, l2: number, parameters: Float64Array, gradient: Float64Array): number {
  const { data, labels, rows, dim, classes } = design;
  const stride = dim + 1;
  let loss = 0;
  const forRow = (row: number, errors: Float64Array, at: number): void => {
    loss += softmaxInPlace(errors, at, classes, labels[row]);
    errors[at + labels[row]] -= 1;
  };
  forEachRow(parameters, design, forRow, (first, errors) => {
    const [x0, x1, x2, x3] = blockStarts(first, rows, dim);
    for (let c = 0; c < classes; c++) {
      const e0 = errors[c];
      const e1 = errors[classes + c];
      const e2 = errors[2 * classes + c];
      const e3 = errors[3 * classes + c];
      const at = c * stride;
      for (let k = 0; k < dim; k++) gradient[at + k] += e0 * data[x0 + k] + e1 * data[x1 + k] + e2 * data[x2 + k] + e3 * data[x3 + k];
      gradient[at + dim] += e0 + e1 + e2 + e3;
    }
  });
  let penalty = 0;
  for (let i = 0; i < gradient.length; i++) {
    gradient[i] /= rows;
    if (i % stride === dim) continue; // The bias is free.
    gradient[i] += l2 * parameters[i];
    penalty += parameters[i] * parameters[i];
  }
  return loss / rows + 0.5 * l2 * penalty;
}

/** Where four rows begin; past the end the last row is repeated, with logits that `forEachRow` leaves at zero. */
function blockStarts(first: number, rows: number, dim: number): [number, number, number, number] {
  const start = (row: number): number => Math.min(row, rows - 1) * dim;
  return [start(first), start(first + 1), start(first + 2), start(first + 3)];
}

/**
 * Calls `visit` with the logits of every row, which begin at `at` and may be overwritten, and `after` when a block of four rows
 * is done, with whatever `visit` left. Four rows at a time, each weight is read once for four products: twice as fast as one by one.
 */
function forEachRow(
  parameters: Float64Array,
  { data, rows, dim, classes }: Omit<Design, 'labels'>,
  visit: (row: number, logits: Float64Array, at: number) => void,
  after?: (first: number, values: Float64Array) => void,
): void {
  const logits = new Float64Array(4 * classes);
  for (let first = 0; first < rows; first += 4) {
    const [x0, x1, x2, x3] = blockStarts(first, rows, dim);
    for (let c = 0; c < classes; c++) {
      const at = c * (dim + 1);
      let s0 = parameters[at + dim];
      let s1 = s0;
      let s2 = s0;
      let s3 = s0;
      for (let k = 0; k < dim; k++) {
        const weight = parameters[at + k];
        s0 += weight * data[x0 + k];
        s1 += weight * data[x1 + k];
        s2 += weight * data[x2 + k];
        s3 += weight * data[x3 + k];
      }
      logits[c] = s0;
      logits[classes + c] = s1;
      logits[2 * classes + c] = s2;
      logits[3 * classes + c] = s3;
    }
    const count = Math.min(4, rows - first);
    logits.fill(0, count * classes);
    for (let r = 0; r < count; r++) visit(first + r, logits, r * classes);
    after?.(first, logits);
  }
}

/** Turns the `classes` logits at `at` into probabilities and returns −log of that of `label`. */
function softmaxInPlace(logits: Float64Array, at: number, classes: number, label: number): number {
  let most = logits[at];
  for (let c = 1; c < classes; c++) most = Math.max(most, logits[at + c]);
  const own = logits[at + label] - most;
  let sum = 0;
  for (let c = at; c < at + classes; c++) {
    logits[c] = Math.exp(logits[c] - most);
    sum += logits[c];
  }
  for (let c = at; c < at + classes; c++) logits[c] /= sum;
  return Math.log(sum) - own;
}

/** −H g by the two-loop recursion (Nocedal & Wright, algorithm 7.4), H the inverse Hessian that the history implies. */
function descentDirection(gradient: Float64Array, steps: readonly Float64Array[], changes: readonly Float64Array[]): Float64Array {
  const direction = gradient.map((g) => -g);
  const weights = new Float64Array(steps.length);
  for (let j = steps.length - 1; j >= 0; j--) {
    weights[j] = dot(steps[j], direction) / dot(steps[j], changes[j]);
    addScaled(direction, changes[j], -weights[j]);
  }
  if (steps.length > 0) {
    const last = steps.length - 1;
    const scale = dot(steps[last], changes[last]) / dot(changes[last], changes[last]);
    for (let i = 0; i < direction.length; i++) direction[i] *= scale;
  }
  for (let j = 0; j < steps.length; j++) {
    addScaled(direction, steps[j], weights[j] - dot(changes[j], direction) / dot(steps[j], changes[j]));
  }
  return direction;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function addScaled(target: Float64Array, source: Float64Array, scale: number): void {
  for (let i = 0; i < target.length; i++) target[i] += scale * source[i];
}

function largest(values: Float64Array): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]));
  return most;
}
