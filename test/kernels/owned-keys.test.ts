/**
 * Keys that are negatives of the queries of one label alone, which ranking losses are made of: the bits of a call with the same pairs in a
 * mask, whole tiles that nobody sees included.
 */
import { expect, test } from 'vitest';
import { planInfoNce } from '../../src/losses/info-nce.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { normals, uniformStream } from '../support/random.js';

const SIZES = [
  [5, 5, 3],
  [67, 130, 9],
  [210, 630, 7],
] as const;
/** Labels of keys: block after block, as ranking losses have them, and at random. */
const KINDS = ['blocks', 'mixed'] as const;

describeKernel('infoNce', 'owned keys', () => {
  test.each(SIZES.flatMap((size) => KINDS.map((kind) => [...size, kind] as const)))(
    '%d queries, %d keys of %d columns, %s',
    (queries, keys, cols, kind) => {
      const uniform = uniformStream(queries);
      const label = (count: number): number => Math.floor(count * uniform());
      const queryLabels = Int32Array.from({ length: queries }, (_, i) => (kind === 'blocks' ? i : label(5)));
      const third = Math.ceil(keys / 3);
      // Seen by all; by the query of the same number in its block; by nobody.
      const inBlocks = (j: number): number => [-1, -2 - (j % queries), -2 - queries][Math.floor(j / third)];
      const keyLabels = Int32Array.from({ length: keys }, (_, j) => (kind === 'blocks' ? inBlocks(j) : label(13) - 7));
      const mask = Uint8Array.from({ length: queries * keys }, (_, pair) => {
        const [own, of] = [queryLabels[Math.floor(pair / keys)], keyLabels[pair % keys]];
        return Number(of < -1 ? own === -2 - of : own !== of);
      });
      const query = { data: normals(1, queries * cols), rows: queries, cols };
      const key = { data: normals(2, keys * cols), rows: keys, cols };
      const run = (exclusion: object, symmetric: boolean, temperature: number) =>
        planInfoNce<{ query: Float32Array; key: Float32Array }>(
          { query, key },
          { ...exclusion, symmetric, reduction: 'mean', gradients: true },
          { temperature, name: 'temperature' },
          false,
          { query: 'query', key: 'key', negatives: 'negatives' },
        ).run();
      for (const symmetric of [false, true])
        for (const temperature of [0.5, 0.005]) {
          const got = run({ queryLabels, keyLabels, ownedKeys: true }, symmetric, temperature);
          expectBackend(got);
          expect(got).toEqual(run({ mask }, symmetric, temperature));
        }
    },
  );
});
