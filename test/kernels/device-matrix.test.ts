/**
 * DeviceMatrix. On backend 'cuda' (emulated, or a real device): the bits of the same call on host memory, whatever is on the device, and
 * what becomes of the memory. On every other backend: errors that say what is wrong.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import {
  alignment,
  alignmentAsync,
  clip,
  clipAsync,
  cosineSimilarity,
  cosineSimilarityAsync,
  cosineSimilarityBackward,
  crossUniformity,
  DeviceMatrix,
  dcl,
  infoNce,
  type Matrix,
  matrix,
  NonFiniteError,
  ntXent,
  ntXentAsync,
  retrieval,
  sigLip,
  supCon,
  supConAsync,
  uniformity,
  uniformityAsync,
} from '../../src/index.js';
import { BACKEND, expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

const rowsOf = (rows: number, cols: number, seed = 1): Matrix => matrix(normals(seed, rows * cols), rows, cols);

/** Runs code in a process of its own, with `api` in scope; its stdout. */
function run(body: string, environment: NodeJS.ProcessEnv = {}, ...flags: string[]): string {
  const source = `const api = require(${JSON.stringify(join(__dirname, '..', '..', 'dist', 'index.cjs'))}); (async () => { ${body} })();`;
  const { stdout, stderr, status } = spawnSync(process.execPath, [...flags, '-e', source], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  });
  expect(status, stderr).toBe(0);
  return stdout.trim();
}

describe.runIf(BACKEND === 'cuda')('DeviceMatrix on the device', () => {
  const z = rowsOf(38, 13);
  const x = rowsOf(21, 13, 2);
  const y = rowsOf(21, 13, 3);

  test('uploads and reads back the same bits, from a view with an offset too', async () => {
    const values = new Float32Array([9, -0, 1.5, Number.MIN_VALUE, 3e38, 5, 6, 7]).subarray(1, 7);
    const device = DeviceMatrix.from(matrix(values, 2, 3));
    expect(device.shape).toEqual([2, 3]);
    expect(device.length).toBe(6);
    values.fill(Number.NaN);
    const expected = new Float32Array([-0, 1.5, Number.MIN_VALUE, 3e38, 5, 6]);
    expect(device.read()).toEqual(expected);
    const out = new Float32Array(6);
    expect(device.read(out)).toBe(out);
    expect(out).toEqual(expected);
    expect(await device.readAsync(out.fill(0))).toBe(out);
    expect(out).toEqual(expected);
    const large = rowsOf(3000, 100);
    expect(DeviceMatrix.from(large).read()).toEqual(large.data);
  });

  test('ntXent: the bits of host memory, with gradients in either place', async () => {
    using device = DeviceMatrix.from(z);
    for (const reduction of ['mean', 'none'] as const) {
      const options = { temperature: 0.07, reduction };
      const host = ntXent(z, { ...options, gradients: true });
      expectBackend(host);
      const results = [
        ntXent(device, { ...options, gradients: 'device' }),
        ntXent(z, { ...options, gradients: 'device' }),
        await ntXentAsync(device, { ...options, gradients: 'device' }),
      ];
      for (const result of results) {
        expectBackend(result);
        expect(result.loss).toBe(host.loss);
        expect(result.stats).toEqual(host.stats);
        expect(result.perRow).toEqual(host.perRow);
        expect(result.gradients.temperature).toBe(host.gradients.temperature);
        expect(result.gradients.z).toBeInstanceOf(DeviceMatrix);
        expect(result.gradients.z.shape).toEqual(z.shape);
        expect(result.gradients.z.read()).toEqual(host.gradients.z);
        result.gradients.z.dispose();
      }
      const toHost = await ntXentAsync(device, { ...options, gradients: true });
      expect(toHost.gradients.z).toEqual(host.gradients.z);
    }
    expect(device.read()).toEqual(z.data);
  });

  test('the other losses likewise', async () => {
    const deviceX = DeviceMatrix.from(x);
    const deviceY = DeviceMatrix.from(y);
    const host = alignment(x, y, { gradients: true });
    for (const result of [
      alignment(deviceX, y, { gradients: 'device' }),
      alignment(x, deviceY, { gradients: 'device' }),
      await alignmentAsync(deviceX, deviceY, { gradients: 'device' }),
    ]) {
      expect(result.loss).toBe(host.loss);
      expect(result.gradients.x.read()).toEqual(host.gradients.x);
      expect(result.gradients.y.read()).toEqual(host.gradients.y);
    }
    const spread = uniformity(x, { gradients: true });
    expect(uniformity(deviceX, { gradients: true }).gradients.x).toEqual(spread.gradients.x);
    expect((await uniformityAsync(deviceX, { gradients: 'device' })).gradients.x.read()).toEqual(spread.gradients.x);

    expect(cosineSimilarity(deviceX, deviceY).data).toEqual(cosineSimilarity(x, y).data);
    expect((await cosineSimilarityAsync(deviceX)).data).toEqual(cosineSimilarity(x).data);
    const upstream = rowsOf(21, 21, 4);
    const back = cosineSimilarityBackward(deviceX, y, DeviceMatrix.from(upstream));
    expect(back.gradients).toEqual(cosineSimilarityBackward(x, y, upstream).gradients);
  });

  test('the losses of two matrices, of labels, and those under other names', async () => {
    const deviceX = DeviceMatrix.from(x);
    const deviceY = DeviceMatrix.from(y);
    const read = (gradients: object) =>
      Object.fromEntries(Object.entries(gradients).map(([name, value]) => [name, value instanceof DeviceMatrix ? value.read() : value]));
    const onHost = { gradients: true } as const;
    const there = { gradients: 'device' } as const;
    const negatives = rowsOf(9, 13, 5);
    const labels = Array.from({ length: 21 }, (_, i) => i % 4);
    const cases = [
      [
        infoNce(x, y, { ...onHost, negatives, symmetric: true, logitScale: 12 }),
        infoNce(deviceX, y, { ...there, negatives: DeviceMatrix.from(negatives), symmetric: true, logitScale: 12 }),
      ],
      [clip(x, y, onHost), await clipAsync(deviceX, deviceY, there)],
      [supCon(x, labels, onHost), await supConAsync(deviceX, labels, there)],
      [dcl(x, y, onHost), dcl(deviceX, deviceY, there)],
      [sigLip(x, y, onHost), sigLip(x, deviceY, there)],
      [crossUniformity(x, rowsOf(9, 13, 5), onHost), crossUniformity(deviceX, rowsOf(9, 13, 5), there)],
      [ntXent(x, { ...onHost, views: 3 }), ntXent(deviceX, { ...there, views: 3 })],
    ];
    for (const [host, device] of cases) {
      expectBackend(device);
      expect(device.loss).toBe(host.loss);
      expect(Object.values(device.gradients as object).some((value) => value instanceof DeviceMatrix)).toBe(true);
      expect(read(device.gradients as object)).toEqual(host.gradients);
    }
    expect(() => dcl(x, deviceY, { backend: 'cpu' })).toThrow(/^z2: expected a matrix in host memory for backend 'cpu'/);
    expect(() => clip(deviceX, y, { backend: 'reference' })).toThrow(/^image: expected a matrix in host memory/);
    deviceX.dispose();
    expect(() => clip(deviceX, y)).toThrow(/^image: expected a DeviceMatrix in use/);
  });

  test("a gradient is an input like any other, and 'auto' with one computes on the device however small it is", () => {
    const gradient = ntXent(z, { gradients: 'device' }).gradients.z;
    const expected = uniformity(matrix(gradient.read(), 38, 13));
    const result = uniformity(gradient, { backend: 'auto' });
    expect(result).toMatchObject({ loss: expected.loss, backend: 'cuda' });
  });

  test('values are checked, on the device too; a failed call leaves nothing behind', () => {
    const bad = matrix(z.data.slice(), 38, 13);
    bad.data[5 * 13 + 4] = Number.POSITIVE_INFINITY;
    const device = DeviceMatrix.from(bad);
    const call = () => ntXent(device, { gradients: 'device' });
    expect(call).toThrow(NonFiniteError);
    expect(call).toThrow(/^z: expected finite values, got a non-finite value at row 5, column 4$/);
    expect(() => ntXent(bad, { gradients: 'device' })).toThrow(/^z: .* got Infinity at row 5, column 4$/);
  });

  test('after dispose every use is a TypeError that names the argument', async () => {
    const device = DeviceMatrix.from(x);
    device.dispose();
    device.dispose();
    expect(device.disposed).toBe(true);
    const disposed = (argument: string) => new RegExp(`^${argument}: expected a DeviceMatrix in use, got one that was disposed$`);
    expect(() => device.read()).toThrow(disposed('read'));
    await expect(device.readAsync()).rejects.toThrow(TypeError);
    expect(() => uniformity(device)).toThrow(disposed('x'));
    expect(() => alignment(x, device)).toThrow(disposed('y'));
    await expect(ntXentAsync(device)).rejects.toThrow(disposed('z'));
  });

  test('a call under way keeps its memory when the matrix is disposed', async () => {
    const device = DeviceMatrix.from(z);
    const expected = ntXent(z, { gradients: true });
    const calls = [ntXentAsync(device, { gradients: true }), ntXentAsync(device, { gradients: true })];
    const read = device.readAsync();
    device.dispose();
    DeviceMatrix.from(matrix(new Float32Array(38 * 13).fill(Number.NaN), 38, 13)); // would take its place
    for (const result of await Promise.all(calls)) expect(result.gradients.z).toEqual(expected.gradients.z);
    expect(await read).toEqual(z.data);
  });

  test('an aborted call rejects with the reason', async () => {
    const reason = new Error('changed my mind');
    await expect(ntXentAsync(z, { gradients: 'device', signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const call = ntXentAsync(rowsOf(600, 64), { gradients: 'device', signal: controller.signal });
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
  });

  test('arguments that do not fit', async () => {
    const device = DeviceMatrix.from(x);
    expect(() => device.read(new Float32Array(5))).toThrow(RangeError);
    expect(() => device.read([1] as unknown as Float32Array)).toThrow(/^out: expected a Float32Array/);
    const shared = new Float32Array(new SharedArrayBuffer(4 * device.length));
    await expect(device.readAsync(shared as unknown as Float32Array<ArrayBuffer>)).rejects.toThrow(TypeError);
    const detached = new Float32Array(device.length);
    const read = device.readAsync(detached);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    await expect(read).rejects.toThrow(/^out: .*detached/);
    expect(() => ntXent(z, { gradients: 'device', out: { z: new Float32Array(z.data.length) } })).toThrow(
      /^out\.z: expected no array with gradients 'device'/,
    );
    expect(() => DeviceMatrix.from(device as unknown as Matrix)).toThrow(/^matrix: expected a matrix in host memory, got a DeviceMatrix/);
    expect(() => retrieval(device as unknown as Matrix, x)).toThrow(/expected a matrix in host memory, got a DeviceMatrix/);
    expect(() => alignment(device, rowsOf(21, 12))).toThrow(/^y: /);
    for (const backend of ['cpu', 'reference'] as const) {
      expect(() => uniformity(device, { backend })).toThrow(TypeError);
      expect(() => uniformity(device, { backend })).toThrow(
        `x: expected a matrix in host memory for backend '${backend}', got a DeviceMatrix, which backend cuda alone takes: read() it`,
      );
    }
    expect(() => ntXent(z, { gradients: 'gpu' as 'device' })).toThrow(/^gradients: expected a boolean or 'device', got 'gpu'/);
    expect(() => ntXent(z, { gradients: 1 as unknown as boolean })).toThrow(TypeError);
  });

  test('a worker has matrices of its own, and ends with them open', async () => {
    const script = join(__dirname, '..', 'support', 'device-worker.cjs');
    const loss = await new Promise((resolve, reject) => {
      const worker = new Worker(script, { workerData: { data: z.data, shape: z.shape } });
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    expect(loss).toBe(ntXent(z, { gradients: true }).loss);
  });
});

describe.runIf(BACKEND === 'cuda')('device memory', () => {
  const MATRIX = 'const m = api.matrix(new Float32Array(1e6).fill(1), 1000, 1000);';

  test('is kept for later calls, and given back by trimDeviceMemory', () => {
    const printed = run(
      `${MATRIX}
       api.DeviceMatrix.from(m).dispose();
       const again = api.DeviceMatrix.from(m);
       console.log(api.trimDeviceMemory());
       again.dispose();
       console.log(api.trimDeviceMemory(), api.trimDeviceMemory());`,
    );
    expect(printed).toBe('0\n4000000 0');
  });

  test('that is full is a typed error, and what the call had taken is free again', () => {
    const printed = run(
      `${MATRIX}
       const held = [api.DeviceMatrix.from(m), api.DeviceMatrix.from(m)];
       const report = (error) => console.log(error.constructor.name, error.code, /device memory/.test(error.message));
       try { api.DeviceMatrix.from(m); } catch (error) { report(error); }
       try { api.uniformity(held[0], { gradients: 'device' }); } catch (error) { report(error); }
       await api.uniformityAsync(held[0], { gradients: 'device' }).catch(report);
       held[1].dispose();
       api.DeviceMatrix.from(m).dispose();
       console.log(api.trimDeviceMemory());`,
      { SIMT_MEMORY_BYTES: '9000000' },
    );
    expect(printed.split('\n')).toEqual([...Array(3).fill('RangeError CONTRASTIVE_KERNELS_OUT_OF_MEMORY true'), '4000000']);
  });

  test('of a forgotten matrix is freed by the garbage collector', () => {
    const printed = run(
      `${MATRIX}
       (() => { for (let i = 0; i < 3; i++) api.DeviceMatrix.from(m); })();
       for (let i = 0; i < 10; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 10)); }
       console.log(api.trimDeviceMemory());`,
      {},
      '--expose-gc',
    );
    expect(printed).toBe('12000000');
  });

  test('of forgotten matrices does not fill the device: collection comes in time', () => {
    const printed = run(
      `${MATRIX}
       for (let i = 0; i < 500; i++) { api.DeviceMatrix.from(m); if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve)); }
       console.log('ok');`,
      { SIMT_MEMORY_BYTES: String(1e9) },
    );
    expect(printed).toBe('ok');
  });

  test('an async call leaves the event loop free', async () => {
    const device = DeviceMatrix.from(rowsOf(700, 128));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    await sleep(5);
    const before = ticks;
    const result = await ntXentAsync(device, { gradients: 'device' });
    expect(ticks - before).toBeGreaterThan(5);
    clearInterval(timer);
    expect(result.gradients.z.length).toBe(700 * 128);
  });
});

describe('DeviceMatrix without a device', () => {
  test('is a BackendUnavailableError with the reason', () => {
    const printed = run(
      `const m = api.matrix(new Float32Array(8).fill(1), 4, 2);
       const report = (error) => console.log(error.code, error.message.split('\\n')[0].replace(/ is not available: .*not there.*/, ': not there'));
       try { api.DeviceMatrix.from(m); } catch (error) { report(error); }
       try { api.ntXent(m, { gradients: 'device' }); } catch (error) { report(error); }
       try { api.ntXent(m, { gradients: 'device', backend: 'reference' }); } catch (error) { report(error); }
       console.log(api.trimDeviceMemory());`,
      { CONTRASTIVE_KERNELS_CUDA_PATH: '/no/such/addon.node', CONTRASTIVE_KERNELS_BACKEND: '' },
    );
    expect(printed.split('\n')).toEqual([
      "CONTRASTIVE_KERNELS_BACKEND_UNAVAILABLE backend 'cuda': not there",
      "CONTRASTIVE_KERNELS_BACKEND_UNAVAILABLE backend 'cuda': not there",
      "undefined gradients: expected a boolean for backend 'reference', got 'device'",
      '0',
    ]);
  });
});
