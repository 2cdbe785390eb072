/** `doctor`: says of every backend whether it computes here, on what, which files were tried, and the command that mends it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BackendStatus } from '../backends/backend.js';
import { backends } from '../backends/select.js';
import { ntXent } from '../losses/nt-xent.js';
import { matrix } from '../matrix.js';
import { type Attempt, openAddon, packageRoot } from '../native/loader.js';

interface Diagnosis extends BackendStatus {
  /** The file that was opened. */
  readonly path?: string;
  /** Files that could not be used, and why. */
  readonly tried?: readonly Attempt[];
  /** What a small call gave: 'ok', or what is wrong with it. */
  readonly check?: string;
  /** The command that mends it. */
  readonly mend?: string;
}

const PATH_VARIABLES = { cpu: 'CONTRASTIVE_KERNELS_NATIVE_PATH', cuda: 'CONTRASTIVE_KERNELS_CUDA_PATH' } as const;
const MENDS = { cpu: 'npx contrastive-kernels build', cuda: 'npx contrastive-kernels build --cuda' } as const;

function diagnose(status: BackendStatus): Diagnosis {
  const check = status.available ? { check: smallCall(status.name) } : {};
  if (status.name === 'reference') return { ...status, ...check };
  const { description, attempts } = openAddon(status.name);
  const path = attempts.find((attempt) => attempt.error === undefined)?.path;
  const tried = attempts.filter((attempt) => attempt.error !== undefined);
  // A file that opened but has no device is not mended by building it again.
  const explicit = process.env[PATH_VARIABLES[status.name]];
  const mend = explicit ? `unset ${PATH_VARIABLES[status.name]}, or point it at a file that loads` : MENDS[status.name];
  return { ...status, ...(path && { path }), tried, ...check, ...(!description && { mend }) };
}

/** NT-Xent of two pairs of orthogonal rows at temperature 1: every row's loss is log(1 + 2/e). */
function smallCall(backend: BackendStatus['name']): string {
  try {
    const { loss } = ntXent(matrix(Float32Array.of(3, 0, 0, 2, 1, 0, 0, 5), 4, 2), { temperature: 1, backend });
    const expected = Math.log1p(2 / Math.E);
    return Math.abs(loss - expected) < 1e-6 ? 'ok' : `a small NT-Xent gave ${loss} for ${expected}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** @returns the exit status: 0, or 1 when a backend that says it is available computes wrongly. */
export function doctor(json: boolean): number {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
  const diagnoses = backends().map(diagnose);
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('CONTRASTIVE_KERNELS_')));
  const report = {
    version: version as string,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    root: packageRoot,
    environment,
    backends: diagnoses,
  };
  console.log(json ? JSON.stringify(report, null, 2) : asText(report));
  return diagnoses.every(({ check }) => check === undefined || check === 'ok') ? 0 : 1;
}

function asText(report: { version: string; node: string; platform: string; root: string; environment: object; backends: Diagnosis[] }) {
  const lines = [`contrastive-kernels ${report.version} in ${report.root}`, `node ${report.node}, ${report.platform}`];
  for (const [name, value] of Object.entries(report.environment)) lines.push(`${name}=${value}`);
  for (const { name, available, reason, path, tried, check, mend, ...facts } of report.backends) {
    lines.push('', `${name}: ${available ? 'available' : `not available, ${reason}`}`);
    for (const [fact, value] of Object.entries(facts)) lines.push(`  ${fact}: ${value}`);
    if (path) lines.push(`  file: ${path}`);
    for (const attempt of tried ?? []) lines.push(`  tried: ${attempt.path}: ${attempt.error}`);
    if (check) lines.push(`  check: ${check}`);
    if (mend) lines.push(`  to mend it: ${mend}`);
  }
  return lines.join('\n');
}
