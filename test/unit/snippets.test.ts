/**
 * The snippets of the documentation run as they stand: every js block of these pages is a whole program. It must end without an error
 * and print something, and no number that it prints may be NaN.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import * as api from '../../src/index.js';

const docs = join(__dirname, '..', '..', 'docs');
const pages = [
  ...readdirSync(join(docs, 'losses')).map((file) => join('losses', file)),
  'concepts.md',
  'evaluation.md',
  'large-batches.md',
].filter((file) => file.endsWith('.md'));

const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (...code: string[]) => (given: object) => Promise<void>;

function snippetsOf(page: string): string[] {
  return Array.from(readFileSync(join(docs, page), 'utf8').matchAll(/^```js\n(.*?)^```$/gms), ([, code]) => code);
}

/** What `code` prints. Its import becomes a destructuring of what is under test. */
async function run(code: string): Promise<string> {
  const runnable = code.replace(/^import \{([^}]*)\} from 'contrastive-kernels';$/gm, 'const {$1} = api;');
  expect(runnable, 'imports from the package only').not.toMatch(/^import /m);
  const printed: unknown[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((...values) => void printed.push(...values));
  try {
    await new AsyncFunction('api', runnable)(api);
  } finally {
    log.mockRestore();
  }
  return printed.map((value) => JSON.stringify(value, (_, inner) => (Number.isNaN(inner) ? 'NaN' : inner))).join(' ');
}

describe.each(pages)('docs/%s', (page) => {
  const snippets = snippetsOf(page);

  test.each(snippets.map((code, n) => [n + 1, code] as const))('snippet %i', async (_, code) => {
    expect(code.trim().split('\n').length, 'lines').toBeLessThanOrEqual(16);
    const printed = await run(code);
    expect(printed.length, 'something is printed').toBeGreaterThan(0);
    expect(printed).not.toContain('NaN');
  });

  test('has a snippet', () => {
    expect(snippets.length).toBeGreaterThan(0);
  });
});
