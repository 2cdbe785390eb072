/** How much memory a call will take, before it is made. */
import type { KernelName } from '../backends/backend.js';
import { BACKEND_CHOICES, selectBackend } from '../backends/select.js';
import { MAX_ELEMENTS, readBoolean, readChoice, readInteger, readOptions } from '../validate.js';
import { type KernelOptions, readCallOptions } from './plan.js';

export interface WorkspaceOptions extends Pick<KernelOptions, 'backend' | 'precision' | 'normalize' | 'threads' | 'fallbackWarning'> {
  /** The call computes gradients; default false. */
  readonly gradients?: boolean | undefined;
  /** The call collects stats; default true. */
  readonly stats?: boolean | undefined;
  /** Rows of the second input, for functions of two; default `rows`. */
  readonly otherRows?: number | undefined;
}

const NAMES: readonly KernelName[] = [
  'cosineSimilarity',
  'cosineSimilarityBackward',
  'ntXent',
  'uniformity',
  'alignment',
  'infoNce',
  'supCon',
  'dcl',
  'sigLip',
  'barlowTwins',
  'vicReg',
  'crossUniformity',
  'nearest',
];
const KNOWN = new Set(['backend', 'precision', 'normalize', 'threads', 'fallbackWarning', 'gradients', 'stats', 'otherRows']);

/**
 * Bytes of working memory that a call will hold beyond its inputs and outputs, on the backend that would run it.
 *
 * @param name the function's name, without Async.
 * @param rows rows of its (first) input.
 * @param cols length of a row.
 * @throws TypeError, RangeError, BackendUnavailableError.
 */
export function workspaceBytes(name: KernelName, rows: number, cols: number, options?: WorkspaceOptions): number {
  if (name === undefined) throw new TypeError(`name: expected the name of a function, got undefined`);
  const kernel = readChoice('name', name, NAMES, 'ntXent');
  readInteger('rows', rows, 1, MAX_ELEMENTS);
  readInteger('cols', cols, 1, MAX_ELEMENTS);
  const given = readOptions(options, KNOWN);
  const otherRows = given.otherRows === undefined ? rows : readInteger('otherRows', given.otherRows, 1, MAX_ELEMENTS);
  const gradients = readBoolean('gradients', given.gradients, false);
  const callOptions = readCallOptions(given, readBoolean('stats', given.stats, true), 1);
  const backend = selectBackend(
    {
      kernel,
      backend: readChoice('backend', given.backend, BACKEND_CHOICES, 'auto'),
      precision: callOptions.precision,
      fallbackWarning: readBoolean('fallbackWarning', given.fallbackWarning, true),
    },
    multiplyAdds(kernel, rows, otherRows, cols),
  );
  return backend.workspaceBytes(kernel, rows, otherRows, cols, gradients, callOptions);
}

/** As the functions themselves count it, for the choice of the backend. */
function multiplyAdds(kernel: KernelName, rows: number, otherRows: number, cols: number): number {
  if (kernel === 'alignment') return rows * cols;
  return kernel === 'barlowTwins' || kernel === 'vicReg' ? rows * cols * cols : rows * otherRows * cols;
}
