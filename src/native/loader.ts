/**
 * Finds and opens the native addons, once per environment (process or worker thread), and keeps the reason for every file that
 * could not be used. Nothing here throws: what is missing is reported. The CUDA addon is a file of its own, so that a broken
 * one can never stop the CPU addon.
 *
 *   CPU:  CONTRASTIVE_KERNELS_NATIVE_PATH, and nothing else when it is set; else build/Release; else prebuilds/<platform>-<arch>
 *   CUDA: CONTRASTIVE_KERNELS_CUDA_PATH, likewise; else build-cuda/Release; else prebuilds/<platform>-<arch>-cuda
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { ALWAYS_THERE, type NativeBinding, type NativeDescription } from './binding.js';

export type AddonName = 'cpu' | 'cuda';

/** A place that was looked at; `error` says why it was not used. */
export interface Attempt {
  readonly path: string;
  readonly error?: string;
}

export interface OpenedAddon {
  /** Null: no file could be opened, or the one that could has nothing to run on here. */
  readonly binding: NativeBinding | null;
  /** Of the file that was opened. */
  readonly description: NativeDescription | null;
  readonly attempts: readonly Attempt[];
}

/** The error of a place where nothing has been built: the normal case, not a failure. */
export const NOT_THERE = 'not there';

// The bundle is CommonJS, so __filename is always there; this `require` is one that a bundler leaves alone.
const nodeRequire = createRequire(__filename);

/** The folder of this package's package.json, seen from dist/ as from src/native/. */
export const packageRoot: string = (() => {
  for (let folder = __dirname; ; folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name === 'contrastive-kernels') return folder;
    if (dirname(folder) === folder) throw new Error(`no package.json of contrastive-kernels above ${__dirname}`);
  }
})();

/** Files to try, best first. */
function candidates(addon: AddonName): Attempt[] {
  const variable = addon === 'cpu' ? 'CONTRASTIVE_KERNELS_NATIVE_PATH' : 'CONTRASTIVE_KERNELS_CUDA_PATH';
  const explicit = process.env[variable];
  if (explicit) return [existsSync(explicit) ? { path: explicit } : { path: explicit, error: `not there, but ${variable} names it` }];
  const tuple = `${process.platform}-${process.arch}`;
  if (addon === 'cuda') {
    return [
      oneAddon(join(packageRoot, 'build-cuda', 'Release', 'contrastive_kernels_cuda.node')),
      firstAddon(join(packageRoot, 'prebuilds', `${tuple}-cuda`)),
    ];
  }
  const prebuild = firstAddon(join(packageRoot, 'prebuilds', tuple));
  try {
    const path = (nodeRequire('node-gyp-build') as { path(root: string): string }).path(packageRoot);
    // node-gyp-build stops at the first file it finds. A build that cannot be opened must not hide a prebuild that can.
    return path === prebuild.path ? [{ path }] : [{ path }, prebuild];
  } catch {
    return [oneAddon(join(packageRoot, 'build', 'Release', 'contrastive_kernels_cpu.node')), prebuild];
  }
}

function oneAddon(path: string): Attempt {
  return existsSync(path) ? { path } : { path, error: NOT_THERE };
}

function firstAddon(folder: string): Attempt {
  const file = existsSync(folder) ? readdirSync(folder).find((name) => name.endsWith('.node')) : undefined;
  return file ? { path: join(folder, file) } : { path: folder, error: NOT_THERE };
}

function open(addon: AddonName): OpenedAddon {
  const attempts: Attempt[] = [];
  for (const candidate of candidates(addon)) {
    if (candidate.error) {
      attempts.push(candidate);
      continue;
    }
    try {
      const binding = nodeRequire(candidate.path) as NativeBinding;
      const missing = ALWAYS_THERE.find((kernel) => typeof binding[kernel] !== 'function');
      if (missing) throw new Error(`it has no kernel ${missing}; it was built from another version`);
      const description = binding.describe();
      if (description.available) return { binding, description, attempts: [...attempts, { path: candidate.path }] };
      attempts.push({ path: candidate.path, error: description.reason ?? 'it cannot run here' });
      return { binding: null, description, attempts };
    } catch (error) {
      attempts.push({ path: candidate.path, error: firstLine(error) });
    }
  }
  return { binding: null, description: null, attempts };
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0];
}

const opened = new Map<AddonName, OpenedAddon>();

/** The addon, opened at the first call. */
export function openAddon(addon: AddonName): OpenedAddon {
  let result = opened.get(addon);
  if (!result) {
    result = open(addon);
    opened.set(addon, result);
  }
  return result;
}
