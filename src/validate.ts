/**
 * Checks of what users pass in. Every message names the argument, what was expected and what came: TypeError for a wrong
 * type, RangeError for a wrong shape or value. Values of matrices are not looked at here: the backends check them as they read.
 */
import { types } from 'node:util';
import type { MatrixLike, Rows } from './matrix.js';

/** Indices and sizes of every backend fit 32 bits. */
export const MAX_ELEMENTS = 2 ** 31 - 1;

/** Scales (temperature, t, alpha) outside this range have no use, and their squares still fit float64 by far. */
const SCALE_RANGE = { min: 1e-30, max: 1e30 };

const MAX_THREADS = 1024;

/** A value as a person would name it in an error message. */
export function describe(value: unknown): string {
  if (value === null || value === undefined || typeof value === 'boolean') return String(value);
  if (typeof value === 'number' || typeof value === 'bigint') return `${typeof value} ${value}`;
  if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}…` : value}'`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'symbol') return 'a symbol';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  const name = Object.prototype.toString.call(value).slice(8, -1);
  return name === 'Object' ? 'an object' : name;
}

/** True for a buffer whose memory was transferred away. Such a buffer looks like an empty one, but refuses views. */
function isDetached(buffer: ArrayBufferLike): boolean {
  if (buffer.byteLength > 0) return false;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

/** An array whose memory is gone would look like one of the wrong length. */
export function refuseDetached(argument: string, value: unknown): void {
  if (!ArrayBuffer.isView(value) || !isDetached(value.buffer)) return;
  const name = describe(value);
  throw new TypeError(`${argument}: expected ${name.startsWith('I') ? 'an' : 'a'} ${name}, got one whose buffer is detached`);
}

function readFloat32Array(argument: string, value: unknown, isAsync: boolean): Float32Array {
  if (!types.isFloat32Array(value)) throw new TypeError(`${argument}: expected a Float32Array, got ${describe(value)}`);
  refuseDetached(argument, value);
  if (isAsync && types.isSharedArrayBuffer(value.buffer)) {
    throw new TypeError(`${argument}: expected memory that is not shared in an asynchronous call, got a SharedArrayBuffer`);
  }
  return value;
}

function readShape(argument: string, value: unknown): readonly [number, number] {
  if (!Array.isArray(value)) throw new TypeError(`${argument}: expected an array [rows, cols], got ${describe(value)}`);
  if (value.length !== 2) throw new RangeError(`${argument}: expected [rows, cols], got ${value.length} dimensions`);
  for (const size of value) {
    if (typeof size !== 'number') throw new TypeError(`${argument}: expected numbers [rows, cols], got ${describe(size)}`);
    if (!Number.isInteger(size) || size < 1)
      throw new RangeError(`${argument}: expected integers of at least 1, got [${value.join(', ')}]`);
  }
  return [value[0], value[1]];
}

/** A `MatrixLike` with rows and cols taken apart. */
export function readMatrix(argument: string, value: unknown, isAsync: boolean): Rows {
  if (typeof value !== 'object' || value === null) {
    throw new TypeError(`${argument}: expected { data: Float32Array, shape: [rows, cols] }, got ${describe(value)}`);
  }
  if (describe(value) === 'DeviceMatrix')
    throw new TypeError(`${argument}: expected a matrix in host memory, got a DeviceMatrix: read() it`);
  const { data: givenData, shape, dims } = value as Partial<MatrixLike>;
  const data = readFloat32Array(`${argument}.data`, givenData, isAsync);
  const [rows, cols] = readShape(shape === undefined ? `${argument}.dims` : `${argument}.shape`, shape ?? dims);
  if (shape !== undefined && dims !== undefined) {
    const [otherRows, otherCols] = readShape(`${argument}.dims`, dims);
    if (otherRows !== rows || otherCols !== cols) {
      throw new RangeError(`${argument}.dims: expected [${rows}, ${cols}] as in shape, got [${otherRows}, ${otherCols}]`);
    }
  }
  checkSize(`${argument}.shape`, rows, cols);
  if (data.length !== rows * cols) {
    throw new RangeError(`${argument}.data: expected ${rows} x ${cols} = ${rows * cols} elements, got ${data.length}`);
  }
  return { data, rows, cols };
}

export function checkSize(argument: string, rows: number, cols: number): void {
  if (rows * cols > MAX_ELEMENTS) {
    throw new RangeError(`${argument}: expected at most ${MAX_ELEMENTS} elements, got ${rows} x ${cols} = ${rows * cols}`);
  }
}

export function checkSameShape(argument: string, given: Rows, other: string, expected: Rows): void {
  if (given.rows !== expected.rows || given.cols !== expected.cols) {
    throw new RangeError(
      `${argument}: expected the shape [${expected.rows}, ${expected.cols}] of ${other}, got [${given.rows}, ${given.cols}]`,
    );
  }
}

export function checkSameCols(argument: string, given: Rows, other: string, expected: Rows): void {
  if (given.cols !== expected.cols) {
    throw new RangeError(`${argument}: expected rows of ${expected.cols} columns as ${other} has, got ${given.cols}`);
  }
}

/** The options as an object whose every name is in `known`; a mistyped name is an error, not a default. */
export function readOptions<T extends object>(value: T | undefined, known: ReadonlySet<string>, argument = 'options'): T {
  if (value === undefined) return {} as T;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError(`${argument}: expected an object, got ${describe(value)}`);
  }
  for (const name of Object.keys(value)) {
    if (!known.has(name)) throw new TypeError(`${argument}: expected only ${[...known].join(', ')}, got '${name}'`);
  }
  return value;
}

export function readBoolean(option: string, value: unknown, otherwise: boolean): boolean {
  if (value === undefined) return otherwise;
  if (typeof value !== 'boolean') throw new TypeError(`${option}: expected a boolean, got ${describe(value)}`);
  return value;
}

export function readChoice<T extends string>(option: string, value: unknown, choices: readonly T[], otherwise: T): T {
  if (value === undefined) return otherwise;
  if (typeof value !== 'string') throw new TypeError(`${option}: expected a string, got ${describe(value)}`);
  const choice = choices.find((name) => name === value);
  if (choice === undefined) throw new RangeError(`${option}: expected one of '${choices.join("', '")}', got ${describe(value)}`);
  return choice;
}

/** A positive scale: temperature, t, alpha. */
export function readScale(option: string, value: unknown, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (typeof value !== 'number') throw new TypeError(`${option}: expected a number, got ${describe(value)}`);
  const { min, max } = SCALE_RANGE;
  if (!(value >= min && value <= max)) throw new RangeError(`${option}: expected a number from ${min} to ${max}, got ${value}`);
  return value;
}

export function readInteger(option: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') throw new TypeError(`${option}: expected an integer, got ${describe(value)}`);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${option}: expected an integer from ${min} to ${max}, got ${value}`);
  }
  return value;
}

/** Integers from `min` to `max`: an Int32Array, or an array of integers. Always a copy: the caller's may change while a call runs. */
export function readIntegers(argument: string, value: unknown, length: number, min: number, max: number): Int32Array {
  if (!types.isInt32Array(value) && !Array.isArray(value)) {
    throw new TypeError(`${argument}: expected an Int32Array or an array of integers, got ${describe(value)}`);
  }
  refuseDetached(argument, value);
  if (value.length !== length) throw new RangeError(`${argument}: expected ${length} integers, got ${value.length}`);
  for (let i = 0; i < length; i++) {
    const element: unknown = value[i];
    if (typeof element !== 'number') throw new TypeError(`${argument}: expected integers, got ${describe(element)} at ${i}`);
    if (!Number.isInteger(element) || element < min || element > max) {
      throw new RangeError(`${argument}: expected integers from ${min} to ${max}, got ${element} at ${i}`);
    }
  }
  return Int32Array.from(value);
}

/** One label a row; any int32. */
export function readLabels(argument: string, value: unknown, rows: number): Int32Array {
  return readIntegers(argument, value, rows, -(2 ** 31), 2 ** 31 - 1);
}

/** Yes or no for every pair, [rows, cols]: a Uint8Array (0 is no), or an array of booleans. Always a copy. */
export function readMask(argument: string, value: unknown, rows: number, cols: number): Uint8Array {
  if (!types.isUint8Array(value) && !Array.isArray(value)) {
    throw new TypeError(`${argument}: expected a Uint8Array or an array of booleans, got ${describe(value)}`);
  }
  refuseDetached(argument, value);
  if (value.length !== rows * cols) {
    throw new RangeError(`${argument}: expected ${rows} x ${cols} = ${rows * cols} elements, got ${value.length}`);
  }
  if (types.isUint8Array(value)) return value.slice();
  const wrong = value.findIndex((element) => typeof element !== 'boolean');
  if (wrong >= 0) throw new TypeError(`${argument}: expected booleans, got ${describe(value[wrong])} at ${wrong}`);
  return Uint8Array.from(value, Number);
}

/** A finite number of either sign. */
export function readNumber(option: string, value: unknown, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (typeof value !== 'number') throw new TypeError(`${option}: expected a number, got ${describe(value)}`);
  if (!Number.isFinite(value)) throw new RangeError(`${option}: expected a finite number, got ${value}`);
  return value;
}

/** 0 (the backend's default) when not given. */
export function readThreads(value: unknown): number {
  if (value !== undefined) return readInteger('threads', value, 1, MAX_THREADS);
  const text = process.env.CONTRASTIVE_KERNELS_THREADS;
  if (text && !(/^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= MAX_THREADS)) {
    throw new RangeError(`CONTRASTIVE_KERNELS_THREADS: expected an integer from 1 to ${MAX_THREADS}, got ${describe(text)}`);
  }
  return 0;
}

export function readSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  const signal = value as Partial<AbortSignal> | null;
  if (typeof signal !== 'object' || typeof signal?.aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
    throw new TypeError(`signal: expected an AbortSignal, got ${describe(value)}`);
  }
  return signal as AbortSignal;
}

/** A caller's output buffer: exactly `length` elements. */
export function readOutput(argument: string, value: unknown, length: number, isAsync: boolean): Float32Array {
  const array = readFloat32Array(argument, value, isAsync);
  if (array.length !== length) throw new RangeError(`${argument}: expected exactly ${length} elements, got ${array.length}`);
  return array;
}

/** After an asynchronous call: the caller's array still has its memory. */
export function checkAttached(argument: string, output: Float32Array | null, length: number): void {
  if (output === null || output.length === length) return;
  throw new TypeError(`${argument}: expected ${length} elements, got a buffer that was detached while the call was running`);
}

/** No output may share memory with an input (typed arrays; others are let pass) or another output: it would be overwritten. */
export function checkNoOverlap(outputs: Readonly<Record<string, Float32Array>>, inputs: Readonly<Record<string, unknown>>): void {
  const others = Object.entries(inputs).filter((each): each is [string, ArrayBufferView] => ArrayBuffer.isView(each[1]));
  for (const [name, output] of Object.entries(outputs)) {
    for (const [other, array] of others) {
      if (overlaps(output, array)) throw new RangeError(`${name}: expected memory of its own, got memory that overlaps ${other}`);
    }
    others.push([name, output]);
  }
}

export function overlaps(a: ArrayBufferView, b: ArrayBufferView): boolean {
  return a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength && b.byteOffset < a.byteOffset + a.byteLength;
}
