/**
 * Worker threads. Each case is a process of its own, so that a crash in native code fails one test; they use dist/, because
 * a worker loads the package as users do.
 */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cleanEnvironment, hasCompiler, root, run } from '../package/support.js';
import { minutes } from '../support/sanitizer.js';

const dist = join(root, 'dist', 'index.cjs');
const { CONTRASTIVE_KERNELS_NATIVE_PATH: addon } = process.env; // where another than the one in build/ is tested
const env = cleanEnvironment(addon ? { CONTRASTIVE_KERNELS_NATIVE_PATH: addon } : {});
const script = (name: string, ...args: string[]) =>
  run(process.execPath, [join(__dirname, 'scripts', name), dist, ...args], { cwd: root, env });

describe.runIf(hasCompiler)('worker threads and the native addon', () => {
  test(
    'many workers load the addon and compute at the same time, with the same bits',
    () => {
      const result = script('many.cjs', '12');
      expect(result.status, result.log).toBe(0);
      expect(JSON.parse(result.stdout)).toMatchObject({ agree: true, count: 12 });
    },
    minutes(1),
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
    minutes(2),
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
    minutes(1),
  );
});
