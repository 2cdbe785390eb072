/**
 * Writes ONNX models (protobuf) for the forward passes, so that onnxruntime can be timed without Python: only the messages and
 * field numbers of onnx.proto that are needed here.
 */

type Field = readonly [number: number, value: number | string | Uint8Array | readonly Uint8Array[]];

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}

/** One message: numbers as varints, strings and bytes length-delimited, lists as repeated fields. */
function message(...fields: Field[]): Uint8Array {
  const bytes: number[] = [];
  const delimited = (field: number, value: Uint8Array) => bytes.push(...varint(field * 8 + 2), ...varint(value.length), ...value);
  for (const [field, value] of fields) {
    if (typeof value === 'number') bytes.push(...varint(field * 8), ...varint(value));
    else if (typeof value === 'string') delimited(field, new TextEncoder().encode(value));
    else if (value instanceof Uint8Array) delimited(field, value);
    else for (const item of value) delimited(field, item);
  }
  return Uint8Array.from(bytes);
}

const FLOAT = 1;
const INT64 = 7;

const text = (names: readonly string[]) => names.map((name) => new TextEncoder().encode(name));

/** AttributeProto: an integer (type 2). */
const integer = (name: string, value: number) => message([1, name], [3, value], [20, 2]);

const node = (operator: string, inputs: readonly string[], output: string, attributes: readonly Uint8Array[] = []) =>
  message([1, text(inputs)], [2, text([output])], [4, operator], [5, attributes]);

const floatScalar = (name: string, value: number) => message([2, FLOAT], [8, name], [9, new Uint8Array(Float32Array.of(value).buffer)]);

const int64Vector = (name: string, values: readonly number[]) =>
  message([1, values.length], [2, INT64], [8, name], [9, new Uint8Array(BigInt64Array.from(values, BigInt).buffer)]);

/** ValueInfoProto of a float tensor. */
function tensor(name: string, shape: readonly number[]): Uint8Array {
  const dimensions = shape.map((size) => message([1, size]));
  return message([1, name], [2, message([1, message([1, FLOAT], [2, message([1, dimensions])])])]);
}

/** x [rows, cols] to y: the NT-Xent loss (pairs i and i + rows/2), the uniformity loss, or the cosine matrix. */
export function onnxModel(
  kind: 'ntXent' | 'uniformity' | 'cosineSimilarity',
  rows: number,
  cols: number,
  temperature: number,
  t: number,
): Uint8Array {
  const unit = [
    node('Mul', ['x', 'x'], 'squares'),
    node('ReduceSum', ['squares', 'columns'], 'sums', [integer('keepdims', 1)]),
    node('Sqrt', ['sums'], 'norms'),
    node('Div', ['x', 'norms'], 'u'),
    node('Transpose', ['u'], 'transposed'),
    node('MatMul', ['u', 'transposed'], kind === 'cosineSimilarity' ? 'y' : 'similarities'),
  ];
  const heads = {
    cosineSimilarity: [],
    ntXent: [
      node('Div', ['similarities', 'temperature'], 'logits'),
      node('EyeLike', ['logits'], 'eye', [integer('dtype', FLOAT)]),
      node('Mul', ['eye', 'large'], 'mask'),
      node('Sub', ['logits', 'mask'], 'masked'),
      node('ReduceLogSumExp', ['masked'], 'logSums', [message([1, 'axes'], [8, 1], [20, 7]), integer('keepdims', 0)]),
      node('Slice', ['u', 'zero', 'half', 'rowAxis'], 'first'),
      node('Slice', ['u', 'half', 'end', 'rowAxis'], 'second'),
      node('Mul', ['first', 'second'], 'products'),
      node('ReduceSum', ['products', 'columns'], 'positives', [integer('keepdims', 0)]),
      node('Div', ['positives', 'temperature'], 'positiveLogits'),
      node('ReduceMean', ['logSums'], 'meanLogSum', [integer('keepdims', 0)]),
      node('ReduceMean', ['positiveLogits'], 'meanPositive', [integer('keepdims', 0)]),
      node('Sub', ['meanLogSum', 'meanPositive'], 'y'),
    ],
    uniformity: [
      node('Sub', ['similarities', 'one'], 'negativeHalfSquares'),
      node('Mul', ['negativeHalfSquares', 'scale'], 'exponents'),
      node('Exp', ['exponents'], 'kernel'),
      node('ReduceSum', ['kernel'], 'total', [integer('keepdims', 0)]),
      node('Sub', ['total', 'rows'], 'withoutDiagonal'),
      node('Div', ['withoutDiagonal', 'pairs'], 'mean'),
      node('Log', ['mean'], 'y'),
    ],
  };
  const initialisers = [
    int64Vector('columns', [1]),
    int64Vector('zero', [0]),
    int64Vector('half', [rows / 2]),
    int64Vector('end', [rows]),
    int64Vector('rowAxis', [0]),
    floatScalar('temperature', temperature),
    floatScalar('large', 1e9),
    floatScalar('one', 1),
    floatScalar('scale', 2 * t),
    floatScalar('rows', rows),
    floatScalar('pairs', rows * (rows - 1)),
  ];
  const output = kind === 'cosineSimilarity' ? tensor('y', [rows, rows]) : tensor('y', []);
  const graph = message([1, [...unit, ...heads[kind]]], [2, kind], [5, initialisers], [11, tensor('x', [rows, cols])], [12, output]);
  return message([1, 8], [7, graph], [8, message([2, 13])]);
}
