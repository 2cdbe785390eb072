"""Times PyTorch on the CPU for the cases read as JSON from standard input; prints one JSON object.

Each case is [kernel, rows, cols]. NT-Xent and uniformity are written the way their users write them: normalise, one matmul,
mask, cross entropy (or exp and log), and autograd for the backward. Uniformity uses one matmul, which is faster than pdist.
"""
import json
import os
import sys
import time

import torch
import torch.nn.functional as F


def nt_xent(x, temperature):
    rows = x.shape[0]
    unit = F.normalize(x, dim=1)
    logits = unit @ unit.t() / temperature
    logits.fill_diagonal_(float("-inf"))
    target = (torch.arange(rows) + rows // 2) % rows
    return F.cross_entropy(logits, target)


def uniformity(x, t):
    rows = x.shape[0]
    unit = F.normalize(x, dim=1)
    kernel = ((unit @ unit.t() - 1) * (2 * t)).exp()
    return ((kernel.sum() - rows) / (rows * (rows - 1))).log()


def runner(kernel, x, temperature, t):
    if kernel == "cosineSimilarity":
        return lambda: (lambda unit: unit @ unit.t())(F.normalize(x, dim=1))
    loss = (lambda v: nt_xent(v, temperature)) if kernel.startswith("ntXent") else (lambda v: uniformity(v, t))
    if kernel.endswith("backward"):
        leaf = x.clone().requires_grad_(True)

        def forward_backward():
            leaf.grad = None
            loss(leaf).backward()

        return forward_backward

    def forward():
        with torch.no_grad():
            return loss(x)

    return forward


def timing(run, seconds):
    run()
    samples = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and len(samples) < 500 or len(samples) < 5:
        start = time.perf_counter()
        run()
        samples.append((time.perf_counter() - start) * 1e3)
    samples.sort()
    return {"minimum": samples[0], "median": samples[len(samples) // 2], "samples": len(samples)}


def main():
    spec = json.load(sys.stdin)
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(1)
    results = []
    for kernel, rows, cols in spec["cases"]:
        x = torch.randn(rows, cols)
        results.append(timing(runner(kernel, x, spec["temperature"], spec["t"]), spec["seconds"]))
    print(json.dumps({"version": torch.__version__, "threads": torch.get_num_threads(), "results": results,
                      "setup": os.environ.get("ATEN_CPU_CAPABILITY", "default")}))


main()
