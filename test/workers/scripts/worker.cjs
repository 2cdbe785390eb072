// A worker thread that uses the built package. workerData: { dist, task, rows }.
//   compute    posts what a few kernels give, sync and async
//   in-flight  keeps async calls under way and lets sync calls throw natively, without end: it is meant to be terminated
const { parentPort, workerData } = require('node:worker_threads');
const kernels = require(workerData.dist);

const cols = 32;
const z = kernels.matrix(
  Float32Array.from({ length: workerData.rows * cols }, (_, i) => Math.sin(1 + i * i)),
  workerData.rows,
  cols,
);
const options = { gradients: true, backend: 'cpu' };

async function compute() {
  const sync = kernels.ntXent(z, options);
  const async = await kernels.ntXentAsync(z, options);
  const uniformity = await kernels.uniformityAsync(z, options);
  const same = sync.gradients.z.every((value, i) => Object.is(value, async.gradients.z[i])) && sync.loss === async.loss;
  parentPort.postMessage({ loss: sync.loss, gradient: sync.gradients.z, uniformity: uniformity.loss, same });
}

function inFlight() {
  const keepGoing = () => kernels.ntXentAsync(z, options).then(keepGoing);
  for (let i = 0; i < 3; i++) keepGoing();
  const broken = kernels.matrix(Float32Array.of(1, Number.NaN), 2, 1);
  setInterval(() => {
    for (let i = 0; i < 50; i++) {
      try {
        kernels.ntXent(broken, options);
      } catch {}
    }
  }, 0);
  parentPort.postMessage('started');
}

workerData.task === 'compute' ? compute() : inFlight();
