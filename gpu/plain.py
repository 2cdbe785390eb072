"""The part of the check that needs neither torch nor anything else: small calls by ctypes, compared with float64 in plain Python.

It runs where torch is missing (CI, on the emulation), and under compute-sanitizer, where torch would only be in the way. Every kernel is
called twice on host memory and twice on device memory that the library gave: right values, the same bits each time, and nothing
written beyond the outputs.

    python3 gpu/plain.py LIBRARY
"""

import ctypes
import math
import random
import sys
from ctypes import byref, c_double, c_float, c_int32, c_size_t, c_void_p

sys.dont_write_bytecode = True

from library import InfoNcePairs, Library, Matrix, Report, Result, options  # noqa: E402

GUARD = 64  # floats after each output that must keep their value
POISON = -7.25


def normal_rows(rows, cols, seed):
    stream = random.Random(seed)
    return [[ctypes.c_float(stream.gauss(0, 1)).value for _ in range(cols)] for _ in range(rows)]


def flat(rows):
    values = [value for row in rows for value in row]
    return (c_float * len(values))(*values)


def unit(rows):
    return [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in rows]


def dot(a, b):
    return sum(p * q for p, q in zip(a, b))


def project(x, u, v):
    """From the gradient by the unit row u to that by the row x."""
    along, norm = dot(v, u), math.sqrt(dot(x, x))
    return [(p - along * q) / norm for p, q in zip(v, u)]


def weighted(coefficients, rows):
    return [sum(c * row[k] for c, row in zip(coefficients, rows)) for k in range(len(rows[0]))]


# Each: (name, input matrices, call with pointers, lengths of outputs, expected outputs, expected loss or None, tolerance).


def nt_xent_case(rows, cols, temperature, seed, precision="float32"):
    x = normal_rows(rows, cols, seed)
    u = unit(x)
    half = rows // 2
    loss, per_row, log_sums = 0.0, [], []
    coefficients = [[0.0] * rows for _ in range(rows)]
    for i in range(rows):
        p = (i + half) % rows
        z = [dot(u[i], u[j]) / temperature for j in range(rows)]
        top = max(z[j] for j in range(rows) if j != i)
        total = sum(math.exp(z[j] - top) for j in range(rows) if j != i)
        negatives = sum(math.exp(z[j] - z[p]) for j in range(rows) if j not in (i, p))
        per_row.append(math.log1p(negatives))
        log_sums.append(top + math.log(total))
        for j in range(rows):
            if j not in (i, p):
                share = math.exp(z[j] - top) / total
                coefficients[i][j] += share
                coefficients[i][p] -= share
    loss = sum(per_row)
    weight = 1 / rows
    gradient = []
    for i in range(rows):
        both = [weight / temperature * (coefficients[i][j] + coefficients[j][i]) for j in range(rows)]
        gradient += project(x[i], u[i], weighted(both, u))
    choices = options(temperature, weight, precision=precision)

    def call(library, inputs, outputs, result):
        library.call("ck_nt_xent", byref(inputs[0]), c_int32(0), byref(choices), *outputs, byref(result))

    def on_device(library, inputs, outputs, report, workspace, size):
        library.call("ck_cuda_nt_xent", byref(inputs[0]), c_int32(0), byref(choices), *outputs, report, workspace, c_size_t(size), None)

    name = f"ntXent {rows} x {cols}, temperature {temperature}, {precision}"
    # The bfloat16 kernels solve the problem of the rounded rows, which is not computed here: these calls are for the sanitizers.
    tolerance = {"float32": max(1e-6, 2e-7 / temperature), "bfloat16x3": 1e-4, "bfloat16": 5e-2}[precision]
    return name, "CK_NT_XENT", [x], call, on_device, choices, [per_row, log_sums, gradient], loss, tolerance


def uniformity_case(rows, cols, t, seed):
    x = normal_rows(rows, cols, seed)
    u = unit(x)
    e = [[math.exp(-t * sum((p - q) ** 2 for p, q in zip(a, b))) for b in u] for a in u]
    total = sum(e[i][j] for i in range(rows) for j in range(i))
    gradient = []
    for i in range(rows):
        own = [2 * t * e[i][j] / total if j != i else 0.0 for j in range(rows)]
        gradient += project(x[i], u[i], weighted(own, u))  # the part along u_i is projected away
    choices = options()

    def call(library, inputs, outputs, result):
        library.call("ck_uniformity", byref(inputs[0]), c_double(t), byref(choices), *outputs, byref(result))

    def on_device(library, inputs, outputs, report, workspace, size):
        library.call("ck_cuda_uniformity", byref(inputs[0]), c_double(t), byref(choices), *outputs, report, workspace, c_size_t(size), None)

    loss = math.log(total / (rows * (rows - 1) / 2))
    return f"uniformity {rows} x {cols}, t {t}", "CK_UNIFORMITY", [x], call, on_device, choices, [gradient], loss, max(1e-6, 4e-7 * t)


def alignment_case(rows, cols, seed):
    x, y = normal_rows(rows, cols, seed), normal_rows(rows, cols, seed + 1)
    u, v = unit(x), unit(y)
    weight = 1 / rows
    per_row = [sum((p - q) ** 2 for p, q in zip(a, b)) for a, b in zip(u, v)]
    by_x, by_y = [], []
    for i in range(rows):
        difference = [2 * weight * (p - q) for p, q in zip(u[i], v[i])]
        by_x += project(x[i], u[i], difference)
        by_y += project(y[i], v[i], [-d for d in difference])
    choices = options(weight=weight)

    def call(library, inputs, outputs, result):
        library.call("ck_alignment", byref(inputs[0]), byref(inputs[1]), c_double(2), byref(choices), *outputs, byref(result))

    def on_device(library, inputs, outputs, report, workspace, size):
        both = byref(inputs[0]), byref(inputs[1])
        library.call("ck_cuda_alignment", *both, c_double(2), byref(choices), *outputs, report, workspace, c_size_t(size), None)

    return f"alignment {rows} x {cols}", "CK_ALIGNMENT", [x, y], call, on_device, choices, [per_row, by_x, by_y], sum(per_row), 1e-6


def cosine_case(rows, others, cols, seed):
    x, y = normal_rows(rows, cols, seed), normal_rows(others, cols, seed + 1)
    u, v = unit(x), unit(y)
    choices = options()

    def call(library, inputs, outputs, _):
        library.call("ck_cosine_similarity", byref(inputs[0]), byref(inputs[1]), byref(choices), *outputs)

    def on_device(library, inputs, outputs, report, workspace, size):
        both = byref(inputs[0]), byref(inputs[1])
        library.call("ck_cuda_cosine_similarity", *both, byref(choices), *outputs, report, workspace, c_size_t(size), None)

    expected = [dot(a, b) for a in u for b in v]
    return f"cosineSimilarity {rows} and {others} x {cols}", "CK_COSINE_SIMILARITY", [x, y], call, on_device, choices, [expected], None, 1e-6


def cosine_backward_case(rows, others, cols, seed):
    x, y, w = normal_rows(rows, cols, seed), normal_rows(others, cols, seed + 1), normal_rows(rows, others, seed + 2)
    u, v = unit(x), unit(y)
    by_x = [value for i in range(rows) for value in project(x[i], u[i], weighted(w[i], v))]
    by_y = [value for j in range(others) for value in project(y[j], v[j], weighted([row[j] for row in w], u))]
    choices = options()

    def call(library, inputs, outputs, _):
        library.call("ck_cosine_similarity_backward", *(byref(m) for m in inputs), byref(choices), *outputs)

    def on_device(library, inputs, outputs, report, workspace, size):
        all_three = [byref(m) for m in inputs]
        library.call(
            "ck_cuda_cosine_similarity_backward", *all_three, byref(choices), *outputs, report, workspace, c_size_t(size), None
        )

    name = f"cosineSimilarityBackward {rows} and {others} x {cols}"
    return name, "CK_COSINE_SIMILARITY_BACKWARD", [x, y, w], call, on_device, choices, [by_x, by_y], None, 1e-6


def log_sum(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def numeric_gradient(loss, matrices, index):
    """Central differences in float64, good to about 1e-9: for losses that are too short to differentiate by hand."""
    step, gradient = 1e-5, []
    for row in matrices[index]:
        for k, value in enumerate(row):
            row[k] = value + step
            above = loss(*matrices)
            row[k] = value - step
            gradient.append((above - loss(*matrices)) / (2 * step))
            row[k] = value
    return gradient


def system_case(name, kernel, function, matrices, middle, per_row, loss, choices, after=0):
    """A loss by its formula: `loss(*matrices)` is its sum. per_row, after: nulls before and after the gradients.

    Too large for numeric gradients, it is only run twice."""
    weight = choices.weight
    small = sum(len(m) * len(m[0]) for m in matrices) <= 150
    expected = [numeric_gradient(lambda *m: weight * loss(*m), matrices, i) if small else None for i in range(len(matrices))]
    lengths = [len(m) * len(m[0]) for m in matrices]

    def call(library, inputs, outputs, result):
        library.call(f"ck_{function}", *map(byref, inputs), *middle(None), byref(choices), *[None] * per_row, *outputs, *[None] * after, byref(result))

    def on_device(library, inputs, outputs, report, workspace, bytes_):
        rest = (report, workspace, c_size_t(bytes_), None)
        library.call(f"ck_cuda_{function}", *map(byref, inputs), *middle(library), byref(choices), *[None] * per_row, *outputs, *[None] * after, *rest)

    expected = [want if want is not None else [None] * length for want, length in zip(expected, lengths)]
    return name, kernel, matrices, call, on_device, choices, expected, loss(*matrices) if small else None, 4e-6


def systems(rows, cols, seed):
    """The other losses at temperature 0.2."""
    x, y = normal_rows(rows, cols, seed), normal_rows(rows, cols, seed + 1)
    z = normal_rows(rows + 3, cols, seed + 2)
    n, every = rows, range(rows)
    rounds = options(0.2, 1 / rows)
    at = f"{rows} x {cols}"
    labels = (c_int32 * rows)(*[i % 3 for i in every])
    kept = []  # device copies of the labels, for as long as the process runs

    def labels_for(library):
        if library is None:
            return ctypes.cast(labels, c_void_p)
        kept.append(DeviceArray(library, labels))
        return kept[-1].pointer

    def scores(a, b):
        u, v = unit(a), unit(b)
        return [[dot(p, q) / 0.2 for q in v] for p in u]

    def info_nce(a, b):
        s = scores(a, b)
        return sum(log_sum(s[i]) - s[i][i] for i in every)

    def sup_con(a):
        s = scores(a, a)
        others = [[j for j in every if j != i] for i in every]
        same = [[j for j in others[i] if j % 3 == i % 3] for i in every]
        return sum(log_sum([s[i][j] for j in others[i]]) - sum(s[i][j] for j in same[i]) / len(same[i]) for i in every)

    def dcl(a, b):
        s = scores(a + b, a + b)
        pairs = [(i, (i + n) % (2 * n)) for i in range(2 * n)]
        return sum(log_sum([s[i][j] for j in range(2 * n) if j not in (i, p)]) - s[i][p] for i, p in pairs)

    def sig_lip(a, b):
        s = scores(a, b)
        return sum(math.log1p(math.exp((-1 if i == j else 1) * (s[i][j] - 2))) for i in every for j in every)

    def cross_uniformity(a, b):
        s = scores(a, b)
        return log_sum([-4 + 4 * 0.2 * value for row in s for value in row]) - math.log(len(a) * len(b))

    def centred(m):
        return [[value - sum(column) / n for value in column] for column in map(list, zip(*m))]

    def barlow_twins(a, b):
        p, q = ([[v / math.sqrt(dot(c, c) / n + 1e-5) for v in c] for c in centred(m)] for m in (a, b))
        c = [[dot(k, m) / n for m in q] for k in p]
        return sum((1 - c[k][k]) ** 2 if k == m else 0.01 * c[k][m] ** 2 for k in range(cols) for m in range(cols))

    def vic_reg(a, b):
        loss = 25 * sum((p - q) ** 2 for r, s in zip(a, b) for p, q in zip(r, s)) / (n * cols)
        for m in (a, b):
            c = centred(m)
            loss += 25 / 2 * sum(max(0.0, 1 - math.sqrt(dot(k, k) / (n - 1) + 1e-4)) for k in c) / cols
            loss += sum((dot(c[k], c[m]) / (n - 1)) ** 2 for k in range(cols) for m in range(cols) if k != m) / cols
        return loss

    in_batch = InfoNcePairs(in_batch=1)
    yield system_case(f"infoNce {at}", "CK_INFO_NCE", "info_nce", [x, z], lambda _: (None, byref(in_batch)), 2, info_nce, rounds, 1)
    yield system_case(f"supCon {at}", "CK_SUP_CON", "sup_con", [x], lambda lib: (labels_for(lib), c_int32(0)), 2, sup_con, rounds)
    yield system_case(f"dcl {at}", "CK_DCL", "dcl", [x, y], lambda _: (c_double(0),), 2, dcl, rounds)
    yield system_case(f"sigLip {at}", "CK_SIG_LIP", "sig_lip", [x, y], lambda _: (c_double(-2),), 1, sig_lip, rounds)
    once = options(1.0, 1.0)
    yield system_case(
        f"crossUniformity {at}", "CK_CROSS_UNIFORMITY", "cross_uniformity", [x, z], lambda _: (c_double(2),), 0, cross_uniformity, once
    )
    yield system_case(f"barlowTwins {at}", "CK_BARLOW_TWINS", "barlow_twins", [x, y], lambda _: (c_double(0.01),), 0, barlow_twins, once)
    three = (c_double(25), c_double(25), c_double(1))
    yield system_case(f"vicReg {at}", "CK_VIC_REG", "vic_reg", [x, y], lambda _: three, 0, vic_reg, once)


def cases(tensor_cores):
    for precision in ("bfloat16", "bfloat16x3") if tensor_cores else ():
        yield nt_xent_case(34, 20, 0.5, 21, precision)
        yield nt_xent_case(34, 270, 0.5, 22, precision)
    yield from systems(9, 5, 11)
    yield from systems(70, 33, 12)
    yield nt_xent_case(10, 5, 0.5, 1)
    yield nt_xent_case(66, 33, 0.05, 2)
    yield nt_xent_case(34, 130, 0.005, 3)
    yield uniformity_case(67, 20, 2.0, 4)
    yield alignment_case(35, 19, 5)
    yield cosine_case(5, 70, 33, 6)
    yield cosine_backward_case(5, 70, 33, 7)


def wrong(outputs, expected, loss, expected_loss, tolerance):
    """What is not as it should be, or None."""
    if expected_loss is not None and not abs(loss - expected_loss) <= tolerance * max(1.0, abs(expected_loss)):
        return f"loss {loss!r}, expected {expected_loss!r}"
    for index, (got, want) in enumerate(zip(outputs, expected)):
        if any(value != POISON for value in got[len(want) :]):
            return f"output {index}: written beyond its end"
        if None in want:
            if not all(math.isfinite(value) for value in got):
                return f"output {index}: a number that is none"
            continue
        size = max(math.sqrt(sum(w * w for w in want)), 1e-30)
        error = math.sqrt(sum((g - w) ** 2 for g, w in zip(got, want)))
        if not error <= (tolerance + 2**-24) * size:
            return f"output {index}: relative error {error / size:.2e}, allowed {tolerance:.1e}"
    return None


def buffers(expected):
    return [(c_float * (len(want) + GUARD))(*[POISON] * (len(want) + GUARD)) for want in expected]


class DeviceArray:
    """Device memory of the library with the values of a ctypes array."""

    def __init__(self, library, array):
        self.library, self.size = library, ctypes.sizeof(array)
        self.pointer = c_void_p()
        library.call("ck_cuda_allocate", c_size_t(self.size), byref(self.pointer))
        library.call("ck_cuda_upload", self.pointer, byref(array), c_size_t(self.size))

    def read(self, array):
        self.library.call("ck_cuda_download", byref(array), self.pointer, c_size_t(self.size))
        self.library.dll.ck_cuda_release(self.pointer)
        return array


def run_on_host(library, case):
    _, _, rows, call, _, _, expected, _, _ = case
    arrays = [flat(matrix) for matrix in rows]
    inputs = [Matrix(ctypes.cast(array, c_void_p), len(matrix), len(matrix[0])) for array, matrix in zip(arrays, rows)]
    outputs, result = buffers(expected), Result()
    call(library, inputs, outputs, result)
    return outputs, result.loss


def run_on_device(library, case):
    _, kernel, rows, _, call, choices, expected, _, _ = case
    arrays = [DeviceArray(library, flat(matrix)) for matrix in rows]
    inputs = [Matrix(array.pointer, len(matrix), len(matrix[0])) for array, matrix in zip(arrays, rows)]
    outputs = [DeviceArray(library, buffer) for buffer in buffers(expected)]
    size = library.workspace_bytes(kernel, len(rows[0]), len(rows[1] if len(rows) > 1 else rows[0]), len(rows[0][0]), 1, choices)
    workspace = DeviceArray(library, (c_float * (size // 4 + 1))(*[math.nan] * (size // 4 + 1)))
    report = DeviceArray(library, Report())
    call(library, inputs, [output.pointer for output in outputs], report.pointer, workspace.pointer, size)
    library.call("ck_cuda_synchronize", None)
    found = report.read(Report())
    values = [output.read(buffer) for output, buffer in zip(outputs, buffers(expected))]
    for array in [*arrays, workspace]:
        library.dll.ck_cuda_release(array.pointer)
    if found.finding():
        raise RuntimeError(found.finding())
    return values, found.result.loss


def run(library):
    """[(name, what is wrong or None)]"""
    results = []
    for case in cases(float(library.describe()["computeCapability"]) >= 8):
        name, _, _, _, _, _, expected, expected_loss, tolerance = case
        for place, runner in (("host memory", run_on_host), ("device memory", run_on_device)):
            outputs, loss = runner(library, case)
            problem = wrong([list(output) for output in outputs], expected, loss, expected_loss, tolerance)
            again, loss_again = runner(library, case)
            if not problem and (any(bytes(a) != bytes(b) for a, b in zip(outputs, again)) or loss != loss_again):
                problem = "a second run gave other bits"
            results.append((f"{name}, {place}", problem))
    return results


def main():
    library = Library(sys.argv[1])
    description = library.describe()
    if not description["available"]:
        raise SystemExit(f"no device: {description['reason']}")
    results = run(library)
    for name, problem in results:
        print(f"{'FAILED' if problem else 'ok':7}{name}{f': {problem}' if problem else ''}")
    failed = sum(problem is not None for _, problem in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
