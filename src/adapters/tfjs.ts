/**
 * The losses as differentiable TensorFlow.js functions: tensors in, a tensor out, gradients through `tf.grad`, `tf.variableGrads`
 * and `optimizer.minimize`. The loss and its gradient come from one fused call of the kernel; TensorFlow.js only moves the rows in
 * and out. Nothing but '@tensorflow/tfjs-core' is imported, so the functions work with every TensorFlow.js backend whose tensors can
 * be read synchronously.
 *
 * Second derivatives are not supported: asking for one throws.
 */
export type { TfjsOptions, TfjsReductionOptions } from './tfjs/call.js';
export {
  clip,
  cmc,
  dcl,
  dpr,
  gist,
  infoNce,
  mocoV3,
  multipleNegativesRanking,
  simCse,
  supCon,
  type TfjsClipOptions,
  type TfjsCmcOptions,
  type TfjsDclOptions,
  type TfjsDprOptions,
  type TfjsGistOptions,
  type TfjsInfoNceOptions,
  type TfjsMocoV3Options,
  type TfjsRankingOptions,
  type TfjsSimCseOptions,
  type TfjsSupConOptions,
} from './tfjs/contrast.js';
export { memoryBankNce, type TfjsMemoryBankNceOptions } from './tfjs/memory-bank.js';
export {
  barlowTwins,
  negativeCosine,
  sigLip,
  type TfjsBarlowTwinsOptions,
  type TfjsNegativeCosineOptions,
  type TfjsSigLipOptions,
  type TfjsVicRegOptions,
  vicReg,
} from './tfjs/pairs.js';
export { cosineSimilarity } from './tfjs/similarity.js';
export {
  alignment,
  alignmentUniformity,
  crossUniformity,
  ntXent,
  type TfjsAlignmentOptions,
  type TfjsAlignmentUniformityOptions,
  type TfjsNtXentOptions,
  type TfjsUniformityOptions,
  uniformity,
} from './tfjs/spread.js';
