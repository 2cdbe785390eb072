/** How much memory a call will take, before it is made. */
import type { KernelName, NegativeMode } from '../backends/backend.js';
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
  /** Rows of infoNce's explicit negatives; default 0. */
  readonly negativeRows?: number | undefined;
  /** What infoNce does with them; default 'shared'. */
  readonly negativeMode?: NegativeMode | undefined;
  /** Negatives of each query, with 'indexed'; with 'paired' it is negativeRows / rows. */
  readonly perQuery?: number | undefined;
  /** Neighbours that nearest looks for; default 10. */
  readonly k?: number | undefined;
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
const KNOWN = new Set([
  'backend',
  'precision',
  'normalize',
  'threads',
  'fallbackWarning',
  'gradients',
  'stats',
  'otherRows',
  'negativeRows',
  'negativeMode',
  'perQuery',
  'k',
]);
/** Options of one kernel alone. */
const OWNERS = { negativeRows: 'infoNce', negativeMode: 'infoNce', perQuery: 'infoNce', k: 'nearest' } as const;
const NEGATIVE_MODES: readonly NegativeMode[] = ['shared', 'paired', 'indexed'];

/**
 * Bytes of working memory that a call will hold beyond its inputs and outputs, on the backend that would run it.
 *
 * @param name the function's name, without Async.
 * @param rows rows of its (first) input.
 * @param cols length of a row.
 * @throws TypeError, RangeError, BackendUnavailableError.
 *
 * For infoNce it is the size of a symmetric call without labels or mask, which no other call of these sizes exceeds but by what they add.
 */
export function workspaceBytes(name: KernelName, rows: number, cols: number, options?: WorkspaceOptions): number {
  if (name === undefined) throw new TypeError(`name: expected the name of a function, got undefined`);
  const kernel = readChoice('name', name, NAMES, 'ntXent');
  readInteger('rows', rows, 1, MAX_ELEMENTS);
  readInteger('cols', cols, 1, MAX_ELEMENTS);
  const given = readOptions(options, KNOWN);
  const otherRows = given.otherRows === undefined ? rows : readInteger('otherRows', given.otherRows, 1, MAX_ELEMENTS);
  const own = readOwnSizes(kernel, given, rows);
  const gradients = readBoolean('gradients', given.gradients, false);
  const callOptions = readCallOptions(given, readBoolean('stats', given.stats, true), 1);
  const backend = selectBackend(
    {
      kernel,
      backend: readChoice('backend', given.backend, BACKEND_CHOICES, 'auto'),
      precision: callOptions.precision,
      fallbackWarning: readBoolean('fallbackWarning', given.fallbackWarning, true),
    },
    multiplyAdds(kernel, rows, otherRows + (own.negativeMode === 'shared' ? own.negativeRows : own.perQuery), cols),
  );
  return backend.workspaceBytes(kernel, { rowsX: rows, rowsY: otherRows, cols, ...own }, gradients, callOptions);
}

function readOwnSizes(kernel: KernelName, given: WorkspaceOptions, rows: number) {
  for (const [name, owner] of Object.entries(OWNERS)) {
    if (given[name as keyof typeof OWNERS] !== undefined && kernel !== owner) {
      throw new RangeError(`${name}: expected with '${owner}' only, got ${given[name as keyof typeof OWNERS]} with '${kernel}'`);
    }
  }
  const negativeRows = given.negativeRows === undefined ? 0 : readInteger('negativeRows', given.negativeRows, 0, MAX_ELEMENTS);
  const negativeMode = readChoice('negativeMode', given.negativeMode, NEGATIVE_MODES, 'shared');
  if (negativeMode === 'paired' && (negativeRows === 0 || negativeRows % rows !== 0)) {
    throw new RangeError(`negativeRows: expected a multiple of the ${rows} rows with 'paired', got ${negativeRows}`);
  }
  if ((given.perQuery !== undefined) !== (negativeMode === 'indexed')) {
    throw new RangeError(`perQuery: expected with negativeMode 'indexed' and only then, got ${given.perQuery} with '${negativeMode}'`);
  }
  const perQuery = negativeMode === 'paired' ? negativeRows / rows : readInteger('perQuery', given.perQuery ?? 0, 0, MAX_ELEMENTS);
  const k = given.k === undefined ? 10 : readInteger('k', given.k, 1, MAX_ELEMENTS);
  return { negativeRows, negativeMode, perQuery, k };
}

/** As the functions themselves count it, for the choice of the backend. */
function multiplyAdds(kernel: KernelName, rows: number, otherRows: number, cols: number): number {
  if (kernel === 'alignment') return rows * cols;
  return kernel === 'barlowTwins' || kernel === 'vicReg' ? rows * cols * cols : rows * otherRows * cols;
}
