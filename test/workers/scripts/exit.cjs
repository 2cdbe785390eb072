// Ends the process while async calls are under way: by process.exit, and (argv[3] 'throw') by an error nobody catches.
const kernels = require(process.argv[2]);
const z = kernels.matrix(
  Float32Array.from({ length: 1024 * 64 }, (_, i) => Math.sin(1 + i * i)),
  1024,
  64,
);
for (let i = 0; i < 6; i++) kernels.ntXentAsync(z, { gradients: true, backend: 'cpu' });
setTimeout(() => {
  if (process.argv[3] === 'throw') throw new Error('on purpose');
  process.exit(7);
}, 2);
