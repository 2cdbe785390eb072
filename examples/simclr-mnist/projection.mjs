/** Principal components, to look at features of many dimensions in a plane. */

const ITERATIONS = 100;

/**
 * The rows, each divided by its length and centred, seen along the two directions in which they vary most: [[x, y], ...].
 * The directions come from power iteration on the covariance matrix.
 */
export function principalPlane({ data, shape: [rows, cols] }) {
  const centred = new Float64Array(rows * cols);
  const mean = new Float64Array(cols);
  for (let i = 0; i < rows; i++) {
    const length = Math.hypot(...data.subarray(i * cols, (i + 1) * cols)) || 1;
    for (let k = 0; k < cols; k++) {
      centred[i * cols + k] = data[i * cols + k] / length;
      mean[k] += centred[i * cols + k] / rows;
    }
  }
  centred.forEach((value, at) => {
    centred[at] = value - mean[at % cols];
  });
  const covariance = new Float64Array(cols * cols);
  for (let i = 0; i < rows; i++) {
    for (let a = 0; a < cols; a++) {
      const value = centred[i * cols + a] / rows;
      for (let b = 0; b < cols; b++) covariance[a * cols + b] += value * centred[i * cols + b];
    }
  }
  const first = leadingDirection(covariance, cols, []);
  const second = leadingDirection(covariance, cols, [first]);
  const along = (direction, i) => direction.reduce((sum, value, k) => sum + value * centred[i * cols + k], 0);
  return Array.from({ length: rows }, (_, i) => [along(first, i), along(second, i)]);
}

/** The eigenvector of the largest eigenvalue among those orthogonal to `found`. */
function leadingDirection(matrix, size, found) {
  let direction = Float64Array.from({ length: size }, (_, k) => Math.cos(k + 1));
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    const next = new Float64Array(size);
    for (let a = 0; a < size; a++) for (let b = 0; b < size; b++) next[a] += matrix[a * size + b] * direction[b];
    for (const other of found) {
      const overlap = next.reduce((sum, value, k) => sum + value * other[k], 0);
      for (let k = 0; k < size; k++) next[k] -= overlap * other[k];
    }
    const length = Math.hypot(...next) || 1;
    direction = next.map((value) => value / length);
  }
  return direction;
}
