"""NT-Xent as a Triton kernel of Inf-CL's shape, written here to be timed beside ours.

Inf-CL's design: float32 rows (tf32 products), 64 x 64 tiles, one stage, a running maximum; the backward computes S again and adds to the
gradient in global memory tile by tile. S is symmetric here, so one backward kernel serves both sides; a row is no negative of itself.
"""

import torch
import triton
import triton.language as tl

BLOCK = SLAB = 64


@triton.jit
def similarities(u, rows, i, j, COLS: tl.constexpr, BLOCK: tl.constexpr, SLAB: tl.constexpr):
    s = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for k in range(0, COLS, SLAB):
        at = k + tl.arange(0, SLAB)
        a = tl.load(u + i[:, None] * COLS + at[None, :], mask=(i[:, None] < rows) & (at[None, :] < COLS), other=0.0)
        b = tl.load(u + j[:, None] * COLS + at[None, :], mask=(j[:, None] < rows) & (at[None, :] < COLS), other=0.0)
        s += tl.dot(a, tl.trans(b))
    return s


@triton.jit
def forward(u, log_sums, rows, inverse, COLS: tl.constexpr, BLOCK: tl.constexpr, SLAB: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, rows, BLOCK):
        j = start + tl.arange(0, BLOCK)
        z = similarities(u, rows, i, j, COLS, BLOCK, SLAB) * inverse
        z = tl.where((i[:, None] == j[None, :]) | (j[None, :] >= rows), float("-inf"), z)
        larger = tl.maximum(top, tl.max(z, axis=1))
        total = total * tl.exp(top - larger) + tl.sum(tl.exp(z - larger[:, None]), axis=1)
        top = larger
    tl.store(log_sums + i, top + tl.log(total), mask=i < rows)


@triton.jit
def backward(u, log_sums, gradient, rows, inverse, weight, COLS: tl.constexpr, BLOCK: tl.constexpr, SLAB: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    own = tl.load(log_sums + i, mask=i < rows, other=0.0)
    for start in range(0, rows, BLOCK):
        j = start + tl.arange(0, BLOCK)
        other = tl.load(log_sums + j, mask=j < rows, other=0.0)
        z = similarities(u, rows, i, j, COLS, BLOCK, SLAB) * inverse
        p = tl.exp(z - own[:, None]) + tl.exp(z - other[None, :])
        p = tl.where((i[:, None] == j[None, :]) | (j[None, :] >= rows), 0.0, p) * (weight * inverse)
        for k in range(0, COLS, SLAB):
            at = k + tl.arange(0, SLAB)
            v = tl.load(u + j[:, None] * COLS + at[None, :], mask=(j[:, None] < rows) & (at[None, :] < COLS), other=0.0)
            inside = (i[:, None] < rows) & (at[None, :] < COLS)
            place = gradient + i[:, None] * COLS + at[None, :]
            tl.store(place, tl.load(place, mask=inside, other=0.0) + tl.dot(p, v), mask=inside)


def nt_xent_step(z, temperature):
    rows, cols = z.shape
    grid = (triton.cdiv(rows, BLOCK),)
    constants = {"COLS": cols, "BLOCK": BLOCK, "SLAB": SLAB, "num_stages": 1, "num_warps": 4}

    def step():
        norm = z.norm(dim=1, keepdim=True)
        u = z / norm
        log_sums = torch.empty(rows, device=z.device)
        forward[grid](u, log_sums, rows, 1 / temperature, **constants)
        partners = u.roll(rows // 2, 0)
        gradient = partners * (-2 / (rows * temperature))
        backward[grid](u, log_sums, gradient, rows, 1 / temperature, 1 / rows, **constants)
        return (gradient - (gradient * u).sum(dim=1, keepdim=True) * u) / norm

    return step
