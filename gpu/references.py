"""The losses in float64 torch, storing the rows x rows matrix: what the kernels are compared with.

Each returns a dict of outputs as the C ABI names them, `loss`, and for every gradient `size:<name>`, the norm of its parts before they
cancel (A of the numerics contract: (sum_i (sum_j |c_ij| / |x_i|)^2)^1/2). No p - 1 is ever formed, so confident rows are exact.
"""

import torch
import torch.nn.functional as F


def unit(x, precision="float32"):
    """Rows of norm 1 in float64; of bfloat16 the rounded ones, as that precision's kernels see them."""
    u = x.double() / x.double().norm(dim=1, keepdim=True).clamp_min(1e-300)
    return u.to(torch.bfloat16).double() if precision == "bfloat16" else u


def partner(rows, interleaved, device):
    index = torch.arange(rows, device=device)
    return index ^ 1 if interleaved else (index + rows // 2) % rows


def by_rows(x, u, gradient_u):
    """From the gradient by u to that by x: projected on the tangent space, divided by the norm."""
    exact = unit(x)
    along = (gradient_u * exact).sum(dim=1, keepdim=True)
    return (gradient_u - along * exact) / x.double().norm(dim=1, keepdim=True).clamp_min(1e-300)


def part_sizes(x, coefficients):
    return (coefficients.abs().sum(dim=1) / x.double().norm(dim=1).clamp_min(1e-300)).norm().item()


def symmetric_gradient(x, u, coefficients):
    both = coefficients + coefficients.T
    return by_rows(x, u, both @ u).reshape(-1), part_sizes(x, both)


def nt_xent(z, temperature, interleaved=False, precision="float32"):
    u = unit(z, precision)
    rows = z.shape[0]
    p = partner(rows, interleaved, z.device)
    s = (u @ u.T).requires_grad_()
    logits = s / temperature
    own = torch.arange(rows, device=z.device)
    positive = logits[own, p]
    hidden = torch.zeros_like(s, dtype=torch.bool)
    hidden[own, own] = True
    log_all = logits.masked_fill(hidden, -torch.inf).logsumexp(dim=1)
    hidden[own, p] = True
    log_negatives = logits.masked_fill(hidden, -torch.inf).logsumexp(dim=1)
    # log(1 + e^x), to full accuracy on both sides.
    per_row = F.softplus(log_negatives - positive, threshold=60)
    (coefficients,) = torch.autograd.grad(per_row.sum() / rows, s)
    gradient, size = symmetric_gradient(z, u, coefficients)
    return {
        "loss": per_row.sum().item(),
        "perRow": per_row.detach(),
        "rowLogSumExp": log_all.detach(),
        "z": gradient,
        "size:z": size,
    }


def uniformity(x, t, precision="float32"):
    u = unit(x, precision)
    rows = x.shape[0]
    s = (u @ u.T).requires_grad_()
    pairs = torch.triu_indices(rows, rows, 1, device=x.device)
    # |u - v|^2 = |u|^2 + |v|^2 - 2 s; of rounded rows the norms are not exactly 1.
    square = (u * u).sum(dim=1)
    exponents = -t * (square[pairs[0]] + square[pairs[1]] - 2 * s[pairs[0], pairs[1]])
    loss = exponents.logsumexp(0) - torch.log(torch.tensor(pairs.shape[1], dtype=torch.float64))
    (coefficients,) = torch.autograd.grad(loss, s)
    gradient, size = symmetric_gradient(x, u, coefficients)
    return {"loss": loss.item(), "x": gradient, "size:x": size}


def alignment(x, y, alpha):
    a, b = x.double().requires_grad_(), y.double().requires_grad_()
    square = ((a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)) ** 2).sum(dim=1)
    per_row = square ** (alpha / 2)
    by_x, by_y = torch.autograd.grad(per_row.sum() / x.shape[0], (a, b))
    return {"loss": per_row.sum().item(), "perRow": per_row.detach(), "x": by_x.reshape(-1), "y": by_y.reshape(-1)}


def rectangular_gradients(names, x, y, u, v, coefficients):
    result = {names[0]: by_rows(x, u, coefficients @ v).reshape(-1), names[1]: by_rows(y, v, coefficients.T @ u).reshape(-1)}
    sizes = part_sizes(x, coefficients), part_sizes(y, coefficients.T)
    return {**result, **{f"size:{name}": size for name, size in zip(names, sizes)}}


def info_nce(query, key, temperature, symmetric):
    u, v = unit(query), unit(key)
    rows = query.shape[0]
    s = (u @ v.T).requires_grad_()
    logits = s / temperature
    own = torch.arange(rows, device=query.device)
    positive = logits[own, own]
    hidden = torch.zeros_like(s, dtype=torch.bool)
    hidden[own, own] = True
    negatives = logits.masked_fill(hidden, -torch.inf)
    per_row = F.softplus(negatives.logsumexp(dim=1) - positive, threshold=60)
    if symmetric:
        per_row = (per_row + F.softplus(negatives[:, :rows].logsumexp(dim=0) - positive, threshold=60)) / 2
    (coefficients,) = torch.autograd.grad(per_row.sum() / rows, s)
    values = {"loss": per_row.sum().item(), "perRow": per_row.detach(), "rowLogSumExp": logits.logsumexp(dim=1).detach()}
    return {**values, **rectangular_gradients(("query", "key"), query, key, u, v, coefficients)}


def sig_lip(x, y, temperature, bias):
    u, v = unit(x), unit(y)
    s = (u @ v.T).requires_grad_()
    signs = 2 * torch.eye(x.shape[0], dtype=torch.float64, device=x.device) - 1
    per_row = F.softplus(-signs * (s / temperature + bias), threshold=60).sum(dim=1)
    (coefficients,) = torch.autograd.grad(per_row.sum() / x.shape[0], s)
    values = {"loss": per_row.sum().item(), "perRow": per_row.detach()}
    return {**values, **rectangular_gradients(("x", "y"), x, y, u, v, coefficients)}


def cross_uniformity(x, y, t):
    u, v = unit(x), unit(y)
    s = (u @ v.T).requires_grad_()
    loss = (-t * (2 - 2 * s)).reshape(-1).logsumexp(0) - torch.log(torch.tensor(s.numel(), dtype=torch.float64))
    (coefficients,) = torch.autograd.grad(loss, s)
    return {"loss": loss.item(), **rectangular_gradients(("x", "y"), x, y, u, v, coefficients)}


def cosine(x, y, precision="float32"):
    return {"out": (unit(x, precision) @ unit(y, precision).T).reshape(-1)}


def cosine_backward(x, y, upstream, precision="float32"):
    u, v, w = unit(x, precision), unit(y, precision), upstream.double()
    return {
        "x": by_rows(x, u, w @ v).reshape(-1),
        "y": by_rows(y, v, w.T @ u).reshape(-1),
        "size:x": part_sizes(x, w),
        "size:y": part_sizes(y, w.T),
    }
