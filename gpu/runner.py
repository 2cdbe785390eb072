"""Calls of the CUDA library on torch tensors, on the device-pointer API: what the correctness and the speed checks share.

Outputs are longer than needed and poisoned, so that an element left out and one written beyond the end both show. The workspace is
filled with NaN. On the emulation a "device" tensor is a CPU tensor.
"""

import ctypes
from ctypes import byref, c_double, c_int32, c_int64, c_size_t, c_void_p

import torch

from library import NEGATIVES, VARIANTS, InfoNcePairs, Matrix, Report, options

GUARD = 64
POISON = float("nan")


class Outputs(dict):
    """Named outputs of one call, `report` and, after `check`, the bits of everything for comparison."""

    report: Report

    def bits(self):
        return [value.view(torch.int32) for value in self.values()] + [self.report.result.loss]


class Runner:
    def __init__(self, library, device):
        self.library, self.device = library, torch.device(device)

    def floats(self, count, value):
        return torch.full((count,), value, dtype=torch.float32, device=self.device)

    def matrix(self, tensor):
        return Matrix(tensor.data_ptr(), tensor.shape[0], tensor.shape[1])

    def stream(self):
        return c_void_p(torch.cuda.current_stream().cuda_stream) if self.device.type == "cuda" else None

    def workspace(self, kernel, inputs, gradients, choices):
        rows_y = inputs[1].shape[0] if len(inputs) > 1 else inputs[0].shape[0]
        size = self.library.workspace_bytes(kernel, inputs[0].shape[0], rows_y, inputs[0].shape[1], gradients, choices)
        return self.floats(size // 4 + 64, POISON), size

    def prepare(self, function, kernel, inputs, middle, lengths, choices, gradients, size=None):
        """A function that launches the call, and its outputs and report: nothing is allocated when it is called again."""
        inputs = [tensor.contiguous() for tensor in inputs]
        matrices = [self.matrix(tensor) for tensor in inputs]
        outputs = {name: self.floats(length + GUARD, POISON) for name, length in lengths.items() if length}
        pointers = [c_void_p(outputs[name].data_ptr()) if length else None for name, length in lengths.items()]
        report = torch.zeros(ctypes.sizeof(Report), dtype=torch.uint8, device=self.device)
        workspace, size = self.workspace(kernel, inputs, gradients, choices) if size is None else (self.floats(size // 4 + 64, POISON), size)
        address = workspace.data_ptr() + -workspace.data_ptr() % 256

        def launch():
            self.library.call(
                function,
                *(byref(matrix) for matrix in matrices),
                *middle,
                byref(choices),
                *pointers,
                c_void_p(report.data_ptr()),
                c_void_p(address),
                c_size_t(size),
                self.stream(),
            )

        launch.keep = (inputs, workspace, report)
        return launch, outputs, report

    def finish(self, launch, outputs, report, lengths):
        launch()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        result = Outputs()
        result.report = Report.from_buffer_copy(bytes(report.cpu().numpy().tobytes()))
        for name, tensor in outputs.items():
            result[name] = tensor[: lengths[name]].cpu()
            if not bool(torch.isnan(tensor[lengths[name] :]).all()):
                raise AssertionError(f"{name}: written beyond its end")
        return result

    def nt_xent_call(self, z, temperature, interleaved=False, precision="float32", gradients=True, per_row=True):
        rows, cols = z.shape
        choices = options(temperature, 1 / rows, precision=precision, stats=per_row)
        lengths = {"perRow": rows * per_row, "rowLogSumExp": rows * per_row, "z": rows * cols * gradients}
        middle = (c_int32(interleaved),)
        return (*self.prepare("ck_cuda_nt_xent", "CK_NT_XENT", [z], middle, lengths, choices, gradients), lengths)

    def nt_xent(self, *arguments, **named):
        return self.finish(*self.nt_xent_call(*arguments, **named))

    def uniformity(self, x, t, precision="float32"):
        lengths = {"x": x.numel()}
        choices = options(precision=precision)
        return self.finish(*self.prepare("ck_cuda_uniformity", "CK_UNIFORMITY", [x], (c_double(t),), lengths, choices, True), lengths)

    def alignment(self, x, y, alpha):
        lengths = {"perRow": x.shape[0], "x": x.numel(), "y": y.numel()}
        choices = options(weight=1 / x.shape[0])
        call = self.prepare("ck_cuda_alignment", "CK_ALIGNMENT", [x, y], (c_double(alpha),), lengths, choices, True)
        return self.finish(*call, lengths)

    def info_nce(self, query, key, temperature, symmetric, negatives=None, mode="shared", indices=None, precision="float32"):
        """indices: int32 [rows, m] of the rows of negatives, with mode 'indexed'; 'paired' has negatives.shape[0] / rows each."""
        rows = query.shape[0]
        lengths = {"perRow": rows, "rowLogSumExp": rows, "query": query.numel(), "key": key.numel()}
        pairs = InfoNcePairs(in_batch=1, symmetric=symmetric, negative_mode=NEGATIVES[mode])
        choices = options(temperature, 1 / rows, precision=precision)
        third = None
        if negatives is not None:
            negatives, third = negatives.contiguous(), self.matrix(negatives.contiguous())
            pairs.per_query = {"shared": 0, "paired": negatives.shape[0] // rows}.get(mode, indices is not None and indices.shape[1])
            pairs.negative_indices = indices.data_ptr() if indices is not None else None
        # Without explicit negatives: a null matrix among the inputs, a null gradient among the outputs.
        lengths["negatives"] = negatives.numel() if negatives is not None else 0
        middle = (byref(third) if third else None, byref(pairs))
        both = (byref(self.matrix(query)), byref(self.matrix(key)))
        size = self.library.dll.ck_cuda_info_nce_workspace_bytes(*both, *middle, c_int32(1), byref(choices))
        call = self.prepare("ck_cuda_info_nce", "CK_INFO_NCE", [query, key], middle, lengths, choices, True, size)
        return self.finish(*call, lengths)

    def sup_con(self, z, labels, temperature, variant, precision="float32"):
        rows = z.shape[0]
        lengths = {"perRow": rows, "rowLogSumExp": rows, "z": z.numel()}
        middle = (c_void_p(labels.data_ptr()), c_int32(VARIANTS[variant]))
        call = self.prepare("ck_cuda_sup_con", "CK_SUP_CON", [z], middle, lengths, options(temperature, 1 / rows, precision=precision), True)
        return self.finish(*call, lengths)

    def dcl(self, x, y, temperature, weight_sigma, precision="float32"):
        rows = 2 * x.shape[0]
        lengths = {"perRow": rows, "rowLogSumExp": rows, "x": x.numel(), "y": y.numel()}
        choices = options(temperature, 1 / rows, precision=precision)
        call = self.prepare("ck_cuda_dcl", "CK_DCL", [x, y], (c_double(weight_sigma),), lengths, choices, True)
        return self.finish(*call, lengths)

    def barlow_twins(self, a, b, off_diagonal):
        lengths = {"a": a.numel(), "b": b.numel()}
        call = self.prepare("ck_cuda_barlow_twins", "CK_BARLOW_TWINS", [a, b], (c_double(off_diagonal),), lengths, options(), True)
        return self.finish(*call, lengths)

    def vic_reg(self, a, b, *weights):
        lengths = {"a": a.numel(), "b": b.numel()}
        call = self.prepare("ck_cuda_vic_reg", "CK_VIC_REG", [a, b], tuple(map(c_double, weights)), lengths, options(), True)
        return self.finish(*call, lengths)

    def nearest(self, x, y, k, exclude_same_index):
        lengths = {"indices": x.shape[0] * k, "similarities": x.shape[0] * k}
        middle = (c_int64(k), c_int32(exclude_same_index))
        call = self.prepare("ck_cuda_nearest", "CK_NEAREST", [x, y], middle, lengths, options(), False)
        return self.finish(*call, lengths)

    def sig_lip(self, x, y, temperature, bias, precision="float32"):
        lengths = {"perRow": x.shape[0], "x": x.numel(), "y": y.numel()}
        choices = options(temperature, 1 / x.shape[0], precision=precision)
        call = self.prepare("ck_cuda_sig_lip", "CK_SIG_LIP", [x, y], (c_double(bias),), lengths, choices, True)
        return self.finish(*call, lengths)

    def cross_uniformity(self, x, y, t, precision="float32"):
        lengths = {"x": x.numel(), "y": y.numel()}
        choices = options(precision=precision)
        call = self.prepare("ck_cuda_cross_uniformity", "CK_CROSS_UNIFORMITY", [x, y], (c_double(t),), lengths, choices, True)
        return self.finish(*call, lengths)

    def cosine_call(self, x, y, precision="float32"):
        lengths = {"out": x.shape[0] * y.shape[0]}
        choices = options(precision=precision)
        return (*self.prepare("ck_cuda_cosine_similarity", "CK_COSINE_SIMILARITY", [x, y], (), lengths, choices, False), lengths)

    def cosine(self, *arguments, **named):
        return self.finish(*self.cosine_call(*arguments, **named))

    def cosine_backward(self, x, y, upstream, precision="float32"):
        lengths = {"x": x.numel(), "y": y.numel()}
        choices = options(precision=precision)
        name = "ck_cuda_cosine_similarity_backward"
        call = self.prepare(name, "CK_COSINE_SIMILARITY_BACKWARD", [x, y, upstream], (), lengths, choices, True)
        return self.finish(*call, lengths)


def captured(launch):
    """Replays the call as a captured graph: what a training loop that captures its step pays."""
    launch()  # once outside, so that nothing is set up during the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    return graph.replay
