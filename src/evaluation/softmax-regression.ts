/**
 * Multinomial logistic regression, fitted by L-BFGS in float64:
 *
 *   minimise over W [dim, classes], b [classes]:  mean_i −log softmax(x_i W + b)[y_i]  +  ½ l2 ‖W‖²
 *
 * The problem is convex, the start is zero (or a given model) and nothing is random, so the result is determined by the input.
 */

export interface SoftmaxModel {
  /** [dim + 1, classes]; the last row is the bias. */
  readonly parameters: Float64Array;
  readonly dim: number;
  readonly classes: number;
}

/** Training rows as the optimiser reads them. */
export interface Design {
  /** [rows, dim] */
  readonly data: Float32Array | Float64Array;
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
export function predictSoftmax(model: SoftmaxModel, data: Float32Array | Float64Array, rows: number): Int32Array {
  const logits = new Float64Array(model.classes);
  return Int32Array.from({ length: rows }, (_, row) => {
    rowLogits(model.parameters, data, row, model.dim, logits);
    let best = 0;
    for (let c = 1; c < model.classes; c++) if (logits[c] > logits[best]) best = c;
    return best;
  });
}

/** Mean −log probability of the given classes. */
export function logLoss(model: SoftmaxModel, data: Float32Array | Float64Array, labels: Int32Array): number {
  const logits = new Float64Array(model.classes);
  let sum = 0;
  for (let row = 0; row < labels.length; row++) {
    rowLogits(model.parameters, data, row, model.dim, logits);
    sum += softmaxInPlace(logits, labels[row]);
  }
  return sum / labels.length;
}

/** The objective at `parameters`; its gradient is written to `gradient`. */
function objective(design: Design, l2: number, parameters: Float64Array, gradient: Float64Array): number {
  const { data, labels, rows, dim, classes } = design;
  const probabilities = new Float64Array(classes);
  let loss = 0;
  for (let row = 0; row < rows; row++) {
    rowLogits(parameters, data, row, dim, probabilities);
    loss += softmaxInPlace(probabilities, labels[row]);
    probabilities[labels[row]] -= 1;
    for (let k = 0, at = 0; k < dim; k++, at += classes) {
      const x = data[row * dim + k];
      if (x === 0) continue; // Pixels and rectified features are mostly zero.
      for (let c = 0; c < classes; c++) gradient[at + c] += x * probabilities[c];
    }
    for (let c = 0; c < classes; c++) gradient[dim * classes + c] += probabilities[c];
  }
  let penalty = 0;
  for (let i = 0; i < gradient.length; i++) {
    gradient[i] /= rows;
    if (i >= dim * classes) continue;
    gradient[i] += l2 * parameters[i];
    penalty += parameters[i] * parameters[i];
  }
  return loss / rows + 0.5 * l2 * penalty;
}

function rowLogits(parameters: Float64Array, data: Float32Array | Float64Array, row: number, dim: number, logits: Float64Array): void {
  const classes = logits.length;
  for (let c = 0; c < classes; c++) logits[c] = parameters[dim * classes + c];
  for (let k = 0, at = 0; k < dim; k++, at += classes) {
    const x = data[row * dim + k];
    if (x === 0) continue;
    for (let c = 0; c < classes; c++) logits[c] += x * parameters[at + c];
  }
}

/** Turns logits into probabilities and returns −log of that of `label`. */
function softmaxInPlace(logits: Float64Array, label: number): number {
  let most = logits[0];
  for (let c = 1; c < logits.length; c++) most = Math.max(most, logits[c]);
  const own = logits[label] - most;
  let sum = 0;
  for (let c = 0; c < logits.length; c++) {
    logits[c] = Math.exp(logits[c] - most);
    sum += logits[c];
  }
  for (let c = 0; c < logits.length; c++) logits[c] /= sum;
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
