/**
 * Eigenvalues of a symmetric matrix in float64: Householder reflections make it tridiagonal, and bisection finds each eigenvalue
 * by counting the negative pivots of T - x (Golub & Van Loan, Matrix Computations, sections 8.3 and 8.4).
 */

/**
 * @param A [n, n], symmetric; overwritten.
 * @returns the eigenvalues, rising, each to about 1e-15 of the largest.
 */
export function symmetricEigenvalues(A: Float64Array, n: number): Float64Array {
  const { diagonal, beside } = tridiagonalise(A, n);
  // Every eigenvalue lies within the largest row sum of absolute values (Gershgorin).
  let bound = 0;
  for (let k = 0; k < n; k++) bound = Math.max(bound, Math.abs(diagonal[k]) + beside[k] + (k > 0 ? beside[k - 1] : 0));
  return Float64Array.from({ length: n }, (_, k) => bisect(diagonal, beside, k, bound));
}

/** `beside`[k] is the size of the element between k and k + 1; its sign does not change the eigenvalues. */
function tridiagonalise(A: Float64Array, n: number): { diagonal: Float64Array; beside: Float64Array } {
  const diagonal = new Float64Array(n);
  const beside = new Float64Array(n);
  const v = new Float64Array(n);
  const w = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    diagonal[k] = A[k * n + k];
    let norm = 0;
    for (let i = k + 1; i < n; i++) {
      v[i] = A[i * n + k];
      norm = Math.hypot(norm, v[i]);
    }
    beside[k] = norm;
    if (norm === 0 || k + 2 >= n) continue;
    // The reflection I - 2 v v^T / v^T v that takes the column to its first element, and A to A - v w^T - w v^T.
    v[k + 1] += v[k + 1] < 0 ? -norm : norm;
    let square = 0;
    for (let i = k + 1; i < n; i++) square += v[i] * v[i];
    let along = 0;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += A[i * n + j] * v[j];
      w[i] = (2 * sum) / square;
      along += w[i] * v[i];
    }
    for (let i = k + 1; i < n; i++) w[i] -= (along / square) * v[i];
    for (let i = k + 1; i < n; i++) {
      for (let j = k + 1; j < n; j++) A[i * n + j] -= v[i] * w[j] + w[i] * v[j];
    }
  }
  return { diagonal, beside };
}

/** Eigenvalue k, from the lowest. */
function bisect(diagonal: Float64Array, beside: Float64Array, k: number, bound: number): number {
  let low = -bound;
  let high = bound;
  while (high - low > 1e-15 * bound) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) break;
    if (countBelow(diagonal, beside, middle) > k) high = middle;
    else low = middle;
  }
  return (low + high) / 2;
}

/** How many eigenvalues lie below x: the negative pivots of T - x (Sylvester). */
function countBelow(diagonal: Float64Array, beside: Float64Array, x: number): number {
  let count = 0;
  let pivot = 1;
  for (let k = 0; k < diagonal.length; k++) {
    const step = k > 0 ? (beside[k - 1] * beside[k - 1]) / pivot : 0;
    pivot = diagonal[k] - x - step;
    if (pivot === 0) pivot = Number.MIN_VALUE ** 0.5; // an eigenvalue of the leading part: either sign will do
    if (pivot < 0) count++;
  }
  return count;
}
