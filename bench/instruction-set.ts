/** Our rows on another instruction set, in a process of its own: the choice is made once, when the addon is loaded. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Row } from './report.js';

export interface OwnRows {
  readonly instructionSet: string;
  readonly peak: Record<string, number>;
  readonly rows: readonly Row[];
}

/** Runs this script again with `--own FILE`; null where the processor lacks the set. */
export function rowsOn(instructionSet: string, commandLine: readonly string[]): OwnRows | null {
  const folder = mkdtempSync(join(tmpdir(), 'contrastive-kernels-bench-'));
  const file = join(folder, 'rows.json');
  try {
    const child = spawnSync(process.execPath, [...commandLine, '--own', file], {
      env: { ...process.env, CONTRASTIVE_KERNELS_ISA: instructionSet },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    if (child.status !== 0) return null;
    const own = JSON.parse(readFileSync(file, 'utf8')) as OwnRows;
    return own.instructionSet === instructionSet ? own : null;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
