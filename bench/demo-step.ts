/** The whole step of the demo's training (views, encoder, loss, Adam), with the native and with the reference loss. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Figure } from './conditions.js';

interface Training {
  readonly milliseconds: number;
  readonly lossMilliseconds: number;
}

/** TensorFlow.js must be on its wasm backend. */
export async function measureDemoStep(root: string, steps: number): Promise<Figure[]> {
  const example = (name: string) => import(pathToFileURL(join(root, 'examples', 'simclr-mnist', `${name}.mjs`)).href);
  const [{ train }, { SimClr }, { readMnist }] = await Promise.all([example('train'), example('model'), example('data')]);
  const digits = readMnist('train');
  const run = (backend: string, count: number): Training => train({ model: new SimClr(1), digits, steps: count, seed: 1, backend });
  return ['cpu', 'reference'].map((backend) => {
    run(backend, 2);
    const { milliseconds, lossMilliseconds } = run(backend, steps);
    return {
      what: `A step of the demo with backend '${backend}'`,
      value: `${(milliseconds / steps).toFixed(1)} ms, of which the loss ${(lossMilliseconds / steps).toFixed(2)} ms`,
      target: '',
    };
  });
}
