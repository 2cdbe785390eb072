// Starts argv[3] workers that compute at the same time as this thread. Prints JSON: do all of them agree bit for bit?
const { join } = require('node:path');
const { Worker } = require('node:worker_threads');

const [, , dist, count] = process.argv;
const workerData = { dist, task: 'compute', rows: 256 };
const start = () =>
  new Promise((resolve, reject) => {
    new Worker(join(__dirname, 'worker.cjs'), { workerData }).once('message', resolve).once('error', reject);
  });

Promise.all(Array.from({ length: Number(count) }, start)).then((results) => {
  const [first] = results;
  const agree = results.every(
    (result) =>
      result.same &&
      result.loss === first.loss &&
      result.uniformity === first.uniformity &&
      result.gradient.every((value, i) => Object.is(value, first.gradient[i])),
  );
  console.log(JSON.stringify({ agree, count: results.length, loss: first.loss }));
});
