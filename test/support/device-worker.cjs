// A worker that computes with device matrices of its own and leaves them open when it ends.
const { parentPort, workerData } = require('node:worker_threads');
const { DeviceMatrix, ntXent } = require('../../dist/index.cjs');

const z = DeviceMatrix.from(workerData);
const { loss } = ntXent(z, { gradients: 'device' });
parentPort.postMessage(loss);
