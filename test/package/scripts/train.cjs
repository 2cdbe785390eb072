// A CommonJS user of the installed package: gradient descent on 2N free rows, whose pairs must come together. Prints JSON.
const { ntXent, ntXentAsync, matrix, backends } = require('contrastive-kernels');

async function main() {
  const rows = 64;
  const cols = 16;
  const z = matrix(
    Float32Array.from({ length: rows * cols }, (_, i) => Math.sin(1 + i * i)),
    rows,
    cols,
  );
  const losses = [];
  let backend;
  for (let step = 0; step < 60; step++) {
    const options = { temperature: 0.5, gradients: true };
    const result = step % 2 === 0 ? ntXent(z, options) : await ntXentAsync(z, options);
    for (let i = 0; i < z.data.length; i++) z.data[i] -= 5 * result.gradients.z[i];
    losses.push(result.loss);
    backend = result.backend;
  }
  const names = backends().map(({ name, available }) => `${name}:${available}`);
  console.log(JSON.stringify({ first: losses[0], last: losses.at(-1), backend, names }));
}

main();
