/**
 * Calls with data on the device: reading a DeviceMatrix as an input, leaving gradients on the device, and turning both into what the CUDA
 * backend takes. Between the argument check and the backend a DeviceMatrix stands where an array stands (`Rows.data`, an output): losses use
 * no more of either than its length, and `onDevice` lets no other backend see one.
 */
import type { KernelCall, KernelName } from '../backends/backend.js';
import { BACKEND_CHOICES, type BackendChoice, resolveChoice } from '../backends/select.js';
import { DeviceMatrix, internals } from '../device-matrix.js';
import type { MatrixLike, Rows } from '../matrix.js';
import { describe, readChoice, readMatrix } from '../validate.js';

/** What a loss takes as a matrix. */
export type LossInput = MatrixLike | DeviceMatrix;

/** `gradients: 'device'` leaves gradients on the device, as DeviceMatrix. */
export type GradientsOption = boolean | 'device';

/** Options of a call whose gradients stay on the device; `out` then has no gradients. */
export type DeviceOptions<Options> = Omit<Options, 'gradients'> & { readonly gradients: 'device' };

/** Either kind of options, for the one implementation behind the overloads. */
export type AnyOptions<Options> = Options | DeviceOptions<Options>;

/** The result of such a call: every gradient array is a DeviceMatrix. */
export type DeviceResult<Result extends { readonly gradients: object }> = Omit<Result, 'gradients'> & {
  readonly gradients: {
    readonly [Name in keyof Result['gradients']]: Result['gradients'][Name] extends Float32Array | undefined
      ? DeviceMatrix
      : Result['gradients'][Name] extends readonly Float32Array[]
        ? readonly DeviceMatrix[]
        : Result['gradients'][Name];
  };
};

/** A matrix in either memory, with rows and cols taken apart. */
export function readInput(argument: string, value: unknown, isAsync: boolean): Rows {
  if (!(value instanceof DeviceMatrix)) return readMatrix(argument, value, isAsync);
  internals.array(argument, value);
  const [rows, cols] = value.shape;
  return { data: asArray(value), rows, cols };
}

export function readGradients(value: unknown): GradientsOption {
  if (value === 'device') return value;
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  throw new TypeError(`gradients: expected a boolean or 'device', got ${describe(value)}`);
}

/** The values of a matrix in either memory; on the device they are copied from there, in the course of the call. */
export function hostValues(data: Float32Array): Float32Array {
  return isDeviceMatrix(data) ? data.read() : data;
}

/**
 * Options of the calls of a loss that adds up gradients of several: sums are made on the host, so the calls bring their gradients there, and
 * with `gradients: 'device'` `place` takes the sums back.
 *
 * @throws TypeError as `onDevice`.
 */
export function summedOnHost<O extends { readonly gradients?: GradientsOption | undefined; readonly backend?: BackendChoice | undefined }>(
  options: O,
): {
  readonly ofCalls: Omit<O, 'gradients'> & { readonly gradients: boolean };
  place<S extends Float32Array | undefined>(sum: S, like: Rows): S;
} {
  const gradients = readGradients(options.gradients);
  if (gradients !== 'device') return { ofCalls: { ...options, gradients }, place: (sum) => sum };
  const backend = cudaFor('gradients: expected a boolean', readChoice('backend', options.backend, BACKEND_CHOICES, 'auto'));
  return {
    ofCalls: { ...options, backend, gradients: true },
    place: (sum, { rows, cols }) => (sum && asArray(DeviceMatrix.from({ data: sum, shape: [rows, cols] }))) as typeof sum,
  };
}

/** In the place of a gradient that is to stay on the device; nothing is allocated until the call runs. */
class Reserved {
  readonly length = 0;
  matrix: DeviceMatrix | undefined;
}

/** For an output of that kind. */
export function reserveOnDevice(): Float32Array {
  return asArray(new Reserved());
}

type Named<T> = Readonly<Record<string, T>>;
type Loose = { readonly inputs: Named<Rows | null>; readonly outputs: Record<string, Float32Array | Int32Array | null> };

/** What makes a call one for the device, as a person would say it; undefined for any other call. */
function reason({ inputs, outputs }: Loose): string | undefined {
  const input = Object.keys(inputs).find((name) => isDeviceMatrix(inputs[name]?.data));
  if (input) return `${input}: expected a matrix in host memory`;
  return Object.values(outputs).some(isReserved) ? `gradients: expected a boolean` : undefined;
}

/**
 * The backend to ask for, and the call as backends take it: as given, unless something is on the device. `open` allocates the gradients
 * that stay there and is called once, right before the run; `finish` puts them into the result, a failed run gives them back by `abandon`.
 *
 * @throws TypeError if another backend than 'cuda' is named.
 */
export function onDevice<K extends KernelName>(call: KernelCall<K>, backend: BackendChoice): DeviceCall<K> {
  const loose = call as unknown as Loose;
  const why = reason(loose);
  if (why === undefined) return { backend, open: () => call, finish: (result) => result, abandon() {} };
  const cuda = cudaFor(why, backend);
  const made: DeviceMatrix[] = [];
  return {
    backend: cuda,
    open() {
      const inputs = Object.entries(loose.inputs).map(([name, rows]) => [name, rows && { ...rows, data: native(name, rows.data) }]);
      const outputs = Object.entries(loose.outputs).map(([name, output]) => {
        if (!isReserved(output)) return [name, output];
        // A gradient is called as the input it belongs to.
        const { rows, cols } = loose.inputs[name] as Rows;
        output.matrix = internals.allocate(rows, cols);
        made.push(output.matrix);
        return [name, internals.array(name, output.matrix)];
      });
      return { ...call, inputs: Object.fromEntries(inputs), outputs: Object.fromEntries(outputs) };
    },
    finish(result) {
      const { gradients } = result as { readonly gradients?: object };
      if (!gradients) return result;
      const delivered = Object.entries(gradients).map(([name, value]) => [name, isReserved(value) ? value.matrix : value]);
      return { ...result, gradients: Object.fromEntries(delivered) };
    },
    abandon() {
      for (const matrix of made) matrix.dispose();
    },
  };
}

/** 'cuda', for a call that something on the device makes one for the device. */
function cudaFor(why: string, backend: BackendChoice): 'cuda' {
  const choice = resolveChoice(backend);
  if (choice === 'auto' || choice === 'cuda') return 'cuda';
  const got = why.startsWith('gradients') ? `'device'` : 'a DeviceMatrix, which backend cuda alone takes: read() it';
  throw new TypeError(`${why} for backend '${choice}', got ${got}`);
}

export interface DeviceCall<K extends KernelName> {
  readonly backend: BackendChoice;
  open(): KernelCall<K>;
  finish<R>(result: R): R;
  abandon(): void;
}

function isReserved(output: unknown): output is Reserved {
  return output instanceof Reserved;
}

function isDeviceMatrix(data: unknown): data is DeviceMatrix {
  return data instanceof DeviceMatrix;
}

/** What the addon takes in the place of a typed array. */
function native(argument: string, data: Float32Array | Int32Array | null): unknown {
  return isDeviceMatrix(data) ? internals.array(argument, data) : data;
}

function asArray(data: { readonly length: number }): Float32Array {
  return data as Float32Array;
}
