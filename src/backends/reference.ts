/** The reference as a backend: always there, one thread, float64 inside. */
import { alignment } from '../reference/alignment.js';
import { barlowTwins } from '../reference/barlow-twins.js';
import { cosineSimilarity, cosineSimilarityBackward } from '../reference/cosine-similarity.js';
import { crossUniformity } from '../reference/cross-uniformity.js';
import { dcl } from '../reference/dcl.js';
import { infoNce } from '../reference/info-nce.js';
import { nearest } from '../reference/nearest.js';
import { ntXent } from '../reference/nt-xent.js';
import { sigLip } from '../reference/sig-lip.js';
import { runInSlices, runToEnd, type Steps } from '../reference/steps.js';
import { supCon } from '../reference/sup-con.js';
import { uniformity } from '../reference/uniformity.js';
import { vicReg } from '../reference/vic-reg.js';
import { type Backend, type BackendStatus, integersOf, type KernelCall, type KernelName, type KernelResult } from './backend.js';

const kernels: { readonly [K in KernelName]: (call: KernelCall<K>) => Steps } = {
  cosineSimilarity,
  cosineSimilarityBackward,
  ntXent,
  uniformity,
  alignment,
  infoNce,
  supCon,
  dcl,
  sigLip,
  barlowTwins,
  vicReg,
  crossUniformity,
  nearest,
};

function start<K extends KernelName>(kernel: K, call: KernelCall<K>): Steps {
  return (kernels[kernel] as (call: KernelCall<K>) => Steps)(call);
}

async function runAsync<K extends KernelName>(kernel: K, call: KernelCall<K>, signal: AbortSignal | undefined): Promise<KernelResult> {
  // The kernel works on copies, so that neither later writes to an input nor an abort halfway can be seen in an output.
  const inputs = copyInputs(call.inputs);
  const outputs = emptyLike(call.outputs);
  const integers = Object.fromEntries(Object.entries(integersOf(call)).map(([name, values]) => [name, values?.slice() ?? null]));
  const copy: KernelCall<K> = Object.assign({}, call, { inputs, integers, outputs });
  const result = await runInSlices(start(kernel, copy), signal);
  const filled = Object.entries(outputs as Record<string, Float32Array | Int32Array | null>);
  const targets = call.outputs as Record<string, Float32Array | Int32Array | null>;
  for (const [name, values] of filled) {
    if (values && targets[name]?.length !== values.length) {
      throw new TypeError(
        `${name === 'out' ? 'out' : `out.${name}`}: expected ${values.length} elements, got a buffer that was detached while the call was running`,
      );
    }
  }
  for (const [name, values] of filled) if (values) targets[name]?.set(values);
  return result;
}

function copyInputs<T extends object>(inputs: T): T {
  const copy = Object.entries(inputs).map(([name, rows]) => [name, rows && { ...rows, data: rows.data.slice() }]);
  return Object.fromEntries(copy) as T;
}

function emptyLike<T extends object>(outputs: T): T {
  return Object.fromEntries(Object.entries(outputs).map(([name, array]) => [name, array && new array.constructor(array.length)])) as T;
}

/** The others take two matrices. */
const ONE_INPUT: ReadonlySet<KernelName> = new Set(['ntXent', 'uniformity', 'supCon']);

export const referenceBackend: Backend = {
  name: 'reference',
  precisions: () => ['float32'],
  supports: () => true,
  run: (kernel, call) => runToEnd(start(kernel, call)),
  runAsync,
  workspaceBytes(kernel, { rowsX, rowsY, cols, negativeRows, perQuery }, gradients) {
    const inputs = (ONE_INPUT.has(kernel) ? rowsX : rowsX + rowsY) + negativeRows;
    const accumulators = gradients || kernel === 'cosineSimilarityBackward' ? inputs : 0;
    // u and the gradients in float64; norms, one row of similarities (of columns or of rows), and two outputs with a number a row.
    return 8 * ((inputs + accumulators) * cols + inputs + rowsY + cols + (2 + perQuery) * rowsX);
  },
};

export const referenceStatus: BackendStatus = { name: 'reference', available: true, threads: 1 };
