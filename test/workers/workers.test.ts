/**
 * Worker threads. Each case is a process of its own, so that a crash in native code fails one test; they use dist/, because
 * a worker loads the package as users do.
 */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cleanEnvironment, hasCompiler, root, run } from '../package/support.js';

const MINUTES = 60_000;
const dist = join(root, 'dist', 'index.cjs');
const script = (name: string, ...args: string[]) =>
  run(process.execPath, [join(__dirname, 'scripts', name), dist, ...args], { cwd: root, env: cleanEnvironment() });

describe.runIf(hasCompiler)('worker threads and the native addon', () => {
  test(
    'many workers load the addon and compute at the same time, with the same bits',
    () => {
      const result = script('many.cjs', '12');
      expect(result.status, result.log).toBe(0);
      expect(JSON.parse(result.stdout)).toMatchObject({ agree: true, count: 12 });
    },
    MINUTES,
  );

  test(
    'workers are terminated with calls in flight, 60 times',
    () => {
      const result = script('terminate.cjs', '60');
      expect(result.status, result.log).toBe(0);
      expect(result.stderr).toBe('');
      const { terminated, loss } = JSON.parse(result.stdout);
      expect(terminated).toBe(60);
      // Two pairs of equal rows, orthogonal to each other, at temperature 0.5.
      expect(loss).toBeCloseTo(Math.log1p(2 * Math.exp(-2)), 6);
    },
    2 * MINUTES,
  );

  test(
    'the process may exit with calls in flight',
    () => {
      for (let i = 0; i < 5; i++) {
        const result = script('exit.cjs');
        expect([result.status, result.log.trim()]).toEqual([7, '']);
      }
      const thrown = script('exit.cjs', 'throw');
      expect(thrown.status).toBe(1);
      expect(thrown.stderr).toContain('on purpose');
    },
    MINUTES,
  );
});
