// Starts a worker, lets its calls get under way, terminates it in the middle; argv[3] times. Then this thread still computes.
const { join } = require('node:path');
const { Worker } = require('node:worker_threads');
const { setTimeout: sleep } = require('node:timers/promises');

const [, , dist, times] = process.argv;

async function main() {
  const kernels = require(dist);
  for (let i = 0; i < Number(times); i++) {
    const worker = new Worker(join(__dirname, 'worker.cjs'), { workerData: { dist, task: 'in-flight', rows: 512 } });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await sleep(i % 6);
    await worker.terminate();
  }
  const { loss } = kernels.ntXent(kernels.matrix(Float32Array.of(1, 0, 0, 1, 1, 0, 0, 1), 4, 2), { backend: 'cpu' });
  console.log(JSON.stringify({ terminated: Number(times), loss }));
}

main();
