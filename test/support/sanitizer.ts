/**
 * Under a sanitizer (`npm test -- --sanitize`) every access takes several times its time and memory. What a test of either measures is then
 * the sanitizer, so such a test is declared with `measures`: listed there as skipped. Whatever is only slow gets more time.
 */
import { test } from 'vitest';

const sanitized = process.env.CONTRASTIVE_KERNELS_TEST_SANITIZER !== undefined;

/** A test of how long something takes, or of how much memory the process has. */
export const measures = test.skipIf(sanitized);

/** The time limit of a long test, in milliseconds. */
export const minutes = (count: number): number => count * 60_000 * (sanitized ? 20 : 1);
