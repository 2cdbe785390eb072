/**
 * The typed errors of the package. Wrong types are plain `TypeError`, wrong shapes and values plain `RangeError`;
 * the two classes here carry more than a message.
 */

/** Which backend runs a call. */
export type BackendName = 'cuda' | 'cpu' | 'reference';

/** An input holds NaN or an infinity. `row` and `column` are those of the first such element, in row-major order. */
export class NonFiniteError extends RangeError {
  override readonly name = 'NonFiniteError';
  readonly code = 'CONTRASTIVE_KERNELS_NON_FINITE';

  constructor(
    readonly argument: string,
    readonly row: number,
    readonly column: number,
    value?: number,
  ) {
    const what = value === undefined ? 'a non-finite value' : String(value);
    super(`${argument}: expected finite values, got ${what} at row ${row}, column ${column}`);
  }
}

/** What is missing: the backend itself or a precision of it; or the kernel, on a backend that is there. */
export type UnavailableCode = 'CONTRASTIVE_KERNELS_BACKEND_UNAVAILABLE' | 'CONTRASTIVE_KERNELS_KERNEL_UNAVAILABLE';

/** A backend, a precision or a kernel of it asked for by name is not there. `reason` says why, `solutions` what to do about it. */
export class BackendUnavailableError extends Error {
  override readonly name = 'BackendUnavailableError';

  constructor(
    readonly backend: BackendName,
    readonly reason: string,
    readonly solutions: readonly string[] = [],
    readonly code: UnavailableCode = 'CONTRASTIVE_KERNELS_BACKEND_UNAVAILABLE',
  ) {
    const list = solutions.map((line) => `\n  - ${line}`).join('');
    super(`backend '${backend}' is not available: ${reason}${list && `\nPossible solutions:${list}`}`);
  }
}
