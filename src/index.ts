/**
 * contrastive-kernels: contrastive-learning losses as fused kernels, forward and backward, in O(rows x cols) memory.
 * Everything users import; sub-packages (`contrastive-kernels/tfjs`) are built beside it and never imported here.
 */
export type { BackendStatus, NegativeMode, PairLayout, Precision, Stats, SupConVariant } from './backends/backend.js';
export { type BackendChoice, backends } from './backends/select.js';
export { DeviceMatrix, trimDeviceMemory } from './device-matrix.js';
export { type BackendName, BackendUnavailableError, NonFiniteError } from './errors.js';
export {
  type KnnOptions,
  knnClassify,
} from './evaluation/knn.js';
export type { Classification, LabelledRows, MaybeLabelledRows } from './evaluation/labelled.js';
export {
  type FeatureScaling,
  type LinearProbeOptions,
  type LinearProbeResult,
  linearProbe,
  type ProbeCandidate,
} from './evaluation/linear-probe.js';
export { type NearestOptions, type Neighbours, nearest, nearestAsync } from './evaluation/nearest.js';
export { type RetrievalOptions, type RetrievalResult, retrieval, retrievalAsync } from './evaluation/retrieval.js';
export { type EffectiveRankOptions, effectiveRank, type Isotropy, isotropy, type SpectrumOptions } from './evaluation/spectrum.js';
export {
  type AlignmentGradients,
  type AlignmentOptions,
  type AlignmentResult,
  alignment,
  alignmentAsync,
} from './losses/alignment.js';
export {
  type AlignmentUniformityOptions,
  type AlignmentUniformityResult,
  alignmentUniformity,
  alignmentUniformityAsync,
} from './losses/alignment-uniformity.js';
export { type BarlowTwinsOptions, barlowTwins, barlowTwinsAsync } from './losses/barlow-twins.js';
export { type ClipGradients, type ClipOptions, type ClipResult, clampLogitScale, clip, clipAsync } from './losses/clip.js';
export { type CmcGradients, type CmcOptions, type CmcResult, cmc, cmcAsync } from './losses/cmc.js';
export type { ColumnLossGradients, ColumnLossOptions, ColumnLossResult } from './losses/columns.js';
export {
  type CosineSimilarityBackwardOptions,
  type CosineSimilarityBackwardResult,
  type CosineSimilarityOptions,
  type CosineSimilarityResult,
  cosineSimilarity,
  cosineSimilarityAsync,
  cosineSimilarityBackward,
  cosineSimilarityBackwardAsync,
} from './losses/cosine-similarity.js';
export {
  type CrossUniformityGradients,
  type CrossUniformityOptions,
  type CrossUniformityResult,
  crossUniformity,
  crossUniformityAsync,
} from './losses/cross-uniformity.js';
export { type DclGradients, type DclOptions, type DclResult, dcl, dclAsync } from './losses/dcl.js';
export type { DeviceOptions, DeviceResult, LossInput } from './losses/device-call.js';
export { type DprGradients, type DprOptions, type DprResult, dpr, dprAsync } from './losses/dpr.js';
export { type GistGradients, type GistOptions, type GistResult, gist, gistAsync } from './losses/gist.js';
export {
  type InfoNceGradients,
  type InfoNceOptions,
  type InfoNceResult,
  infoNce,
  infoNceAsync,
} from './losses/info-nce.js';
export {
  type MemoryBankNceGradients,
  type MemoryBankNceOptions,
  type MemoryBankNceResult,
  memoryBankNce,
  memoryBankNceAsync,
} from './losses/memory-bank-nce.js';
export { type MocoV3Gradients, type MocoV3Options, type MocoV3Result, mocoV3, mocoV3Async } from './losses/moco-v3.js';
export {
  type MultipleNegativesRankingGradients,
  type MultipleNegativesRankingOptions,
  type MultipleNegativesRankingResult,
  multipleNegativesRanking,
  multipleNegativesRankingAsync,
  type RankingDirection,
} from './losses/multiple-negatives-ranking.js';
export { boundCandidates, type CandidateCounts, mutualInformationBound } from './losses/mutual-information-bound.js';
export {
  type NegativeCosineGradients,
  type NegativeCosineOptions,
  type NegativeCosineResult,
  negativeCosine,
  negativeCosineAsync,
} from './losses/negative-cosine.js';
export { type NtXentGradients, type NtXentOptions, type NtXentResult, ntXent, ntXentAsync } from './losses/nt-xent.js';
export type { KernelOptions, LossOptions, Reduction } from './losses/plan.js';
export { type SigLipGradients, type SigLipOptions, type SigLipResult, sigLip, sigLipAsync } from './losses/sig-lip.js';
export { type SimCseGradients, type SimCseOptions, type SimCseResult, simCse, simCseAsync } from './losses/sim-cse.js';
export type { SimilarityOptions } from './losses/similarity-rows.js';
export { type SupConGradients, type SupConOptions, type SupConResult, supCon, supConAsync } from './losses/sup-con.js';
export {
  type UniformityGradients,
  type UniformityOptions,
  type UniformityResult,
  uniformity,
  uniformityAsync,
} from './losses/uniformity.js';
export { type VicRegOptions, vicReg, vicRegAsync } from './losses/vic-reg.js';
export { type WorkspaceOptions, workspaceBytes } from './losses/workspace-bytes.js';
export { type Matrix, type MatrixLike, matrix } from './matrix.js';
export { augment, type Batch, compose, type ImageBatch, twoViews } from './training/augment.js';
export {
  type ColourJitterOptions,
  colourJitter,
  type GaussianBlurOptions,
  type GrayscaleOptions,
  gaussianBlur,
  grayscale,
  type RandomErasingOptions,
  randomErasing,
} from './training/colour.js';
export {
  type HorizontalFlipOptions,
  horizontalFlip,
  type RandomAffineOptions,
  type RandomCropResizeOptions,
  type RandomRotationOptions,
  randomAffine,
  randomCropResize,
  randomRotation,
} from './training/geometry.js';
export {
  type CachedTower,
  type CachedTowerAsync,
  gradientCache,
  gradientCacheAsync,
  type LossWithGradients,
} from './training/gradient-cache.js';
export type { Augmentation, Image, Interval } from './training/image.js';
export { MemoryBank } from './training/memory-bank.js';
export { MomentumQueue, type MomentumQueueOptions, type MomentumQueueState } from './training/momentum-queue.js';
export { momentumSchedule, movingAverage, type Weights } from './training/moving-average.js';
export { type Random, randomStream } from './training/random.js';
export { type SampleNegativesOptions, sampleNegatives } from './training/sample-negatives.js';
