/** Similarities a row at a time: the asynchronous twin hands over control between rows, and hears an abort there. */
import { expect, test } from 'vitest';
import { forEachRow, forEachRowAsync } from '../../src/losses/similarity-rows.js';
import { normals } from '../support/random.js';

const [x, y] = [1, 2].map((seed) => ({ data: normals(seed, 9 * 4), rows: 9, cols: 4 }));
const where = { backend: 'reference' } as const;

test('both twins visit the same rows in order', async () => {
  const visited: [number, number[]][][] = [[], []];
  forEachRow(x, y, where, (i, similarities) => visited[0].push([i, Array.from(similarities)]));
  await forEachRowAsync(x, y, where, (i, similarities) => visited[1].push([i, Array.from(similarities)]));
  expect(visited[0].map(([i]) => i)).toEqual([...Array(9).keys()]);
  expect(visited[1]).toEqual(visited[0]);
});

/** Longer than a slice. */
function work(): void {
  const end = performance.now() + 8;
  while (performance.now() < end);
}

test('visits that take long are in turns of the event loop of their own', async () => {
  let turns = 0;
  let running = true;
  const count = (): void => {
    turns++;
    if (running) setImmediate(count);
  };
  setImmediate(count);
  const seen: number[] = [];
  await forEachRowAsync(x, y, where, () => {
    seen.push(turns);
    work();
  });
  running = false;
  expect(new Set(seen).size).toBe(9);
});

test('an abort ends the visits, with the reason of the signal', async () => {
  const controller = new AbortController();
  const reason = new Error('no longer wanted');
  let visits = 0;
  const visit = (): void => {
    if (++visits === 3) controller.abort(reason);
    work();
  };
  await expect(forEachRowAsync(x, y, { ...where, signal: controller.signal }, visit)).rejects.toBe(reason);
  expect(visits).toBe(3);
});
