/** The loops a Node user writes today: float32 arrays, doubles in the arithmetic, the whole similarity matrix in memory. */

function normalise(data: Float32Array, rows: number, cols: number) {
  const unit = new Float32Array(data.length);
  const norms = new Float32Array(rows);
  for (let i = 0; i < rows; i += 1) {
    let sum = 0;
    for (let k = 0; k < cols; k += 1) sum += data[i * cols + k] * data[i * cols + k];
    norms[i] = Math.sqrt(sum);
    for (let k = 0; k < cols; k += 1) unit[i * cols + k] = data[i * cols + k] / norms[i];
  }
  return { unit, norms };
}

/** S = U U^T, both halves filled from one. */
export function plainCosineSimilarity(data: Float32Array, rows: number, cols: number): Float32Array {
  const { unit } = normalise(data, rows, cols);
  const similarities = new Float32Array(rows * rows);
  for (let i = 0; i < rows; i += 1) {
    for (let j = i; j < rows; j += 1) {
      let dot = 0;
      for (let k = 0; k < cols; k += 1) dot += unit[i * cols + k] * unit[j * cols + k];
      similarities[i * rows + j] = dot;
      similarities[j * rows + i] = dot;
    }
  }
  return similarities;
}

/** Turns the gradient by unit rows into the gradient by rows, in place. */
function projectBack(gradient: Float32Array, unit: Float32Array, norms: Float32Array, rows: number, cols: number) {
  for (let i = 0; i < rows; i += 1) {
    let dot = 0;
    for (let k = 0; k < cols; k += 1) dot += gradient[i * cols + k] * unit[i * cols + k];
    for (let k = 0; k < cols; k += 1) gradient[i * cols + k] = (gradient[i * cols + k] - dot * unit[i * cols + k]) / norms[i];
  }
}

/** NT-Xent, pairs i and i + rows/2. */
export function plainNtXent(data: Float32Array, rows: number, cols: number, temperature: number, backward: boolean): number {
  const { unit, norms } = normalise(data, rows, cols);
  const similarities = plainCosineSimilarity(data, rows, cols);
  const sums = new Float64Array(rows);
  let loss = 0;
  for (let i = 0; i < rows; i += 1) {
    let sum = 0;
    for (let j = 0; j < rows; j += 1) if (j !== i) sum += Math.exp((similarities[i * rows + j] - 1) / temperature);
    sums[i] = sum;
    const positive = (i + rows / 2) % rows;
    loss += Math.log(sum) - (similarities[i * rows + positive] - 1) / temperature;
  }
  if (backward) {
    const gradient = new Float32Array(data.length);
    const scale = 1 / (rows * temperature);
    for (let i = 0; i < rows; i += 1) {
      const positive = (i + rows / 2) % rows;
      for (let j = 0; j < rows; j += 1) {
        if (j === i) continue;
        const term = Math.exp((similarities[i * rows + j] - 1) / temperature);
        const coefficient = scale * (term / sums[i] + term / sums[j] - (j === positive ? 2 : 0));
        for (let k = 0; k < cols; k += 1) gradient[i * cols + k] += coefficient * unit[j * cols + k];
      }
    }
    projectBack(gradient, unit, norms, rows, cols);
  }
  return loss / rows;
}

/** log mean_{i<j} exp(-t |u_i - u_j|^2). */
export function plainUniformity(data: Float32Array, rows: number, cols: number, t: number, backward: boolean): number {
  const { unit, norms } = normalise(data, rows, cols);
  const similarities = plainCosineSimilarity(data, rows, cols);
  let total = 0;
  for (let i = 0; i < rows; i += 1) for (let j = i + 1; j < rows; j += 1) total += Math.exp(2 * t * (similarities[i * rows + j] - 1));
  if (backward) {
    const gradient = new Float32Array(data.length);
    for (let i = 0; i < rows; i += 1) {
      for (let j = 0; j < rows; j += 1) {
        if (j === i) continue;
        const coefficient = (2 * t * Math.exp(2 * t * (similarities[i * rows + j] - 1))) / total;
        for (let k = 0; k < cols; k += 1) gradient[i * cols + k] += coefficient * unit[j * cols + k];
      }
    }
    projectBack(gradient, unit, norms, rows, cols);
  }
  return Math.log(total / ((rows * (rows - 1)) / 2));
}
