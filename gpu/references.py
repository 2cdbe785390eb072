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


def listed_negatives(mode, indices, rows, negative_rows, device):
    """[rows, m]: which rows of negatives are each query's."""
    every = torch.arange(negative_rows, device=device)
    return {"shared": lambda: every.expand(rows, -1), "paired": lambda: every.reshape(rows, -1), "indexed": lambda: indices.long()}[mode]()


def info_nce(query, key, temperature, symmetric, negatives=None, mode="shared", indices=None, precision="float32"):
    u, v = unit(query, precision), unit(key, precision)
    rows = query.shape[0]
    s = (u @ v.T).requires_grad_()
    logits = s / temperature
    own = torch.arange(rows, device=query.device)
    positive = logits[own, own]
    hidden = torch.zeros_like(s, dtype=torch.bool)
    hidden[own, own] = True
    in_batch = logits.masked_fill(hidden, -torch.inf)
    listed = s.new_zeros((rows, 0)).requires_grad_()
    if negatives is not None:
        n = unit(negatives, precision)
        at = listed_negatives(mode, indices, rows, n.shape[0], u.device)
        listed = (u @ n.T).gather(1, at).requires_grad_()
    per_row = F.softplus(torch.cat([in_batch, listed / temperature], 1).logsumexp(dim=1) - positive, threshold=60)
    if symmetric:
        per_row = (per_row + F.softplus(in_batch[:, :rows].logsumexp(dim=0) - positive, threshold=60)) / 2
    coefficients, of_listed = torch.autograd.grad(per_row.sum() / rows, (s, listed))
    everything = torch.cat([logits, listed / temperature], 1).logsumexp(dim=1)
    values = {"loss": per_row.sum().item(), "perRow": per_row.detach(), "rowLogSumExp": everything.detach()}
    values.update(rectangular_gradients(("query", "key"), query, key, u, v, coefficients))
    if negatives is not None:
        whole = torch.zeros(rows, n.shape[0], dtype=torch.float64, device=u.device).scatter_add_(1, at, of_listed)
        values.update(rectangular_gradients(("", "negatives"), query, negatives, u, n, whole))
        values["query"] = by_rows(query, u, coefficients @ v + whole @ n).reshape(-1)
        values["size:query"] = part_sizes(query, torch.cat([coefficients, whole], 1))
    return values


def sup_con(z, labels, temperature, variant, precision="float32"):
    """Of rows that all have positives and negatives."""
    u = unit(z, precision)
    s = (u @ u.T).requires_grad_()
    logits = s / temperature
    own = torch.eye(z.shape[0], dtype=torch.bool, device=z.device)
    same = labels[:, None] == labels[None, :]
    positives = same & ~own
    count = positives.sum(dim=1)
    log_positives = logits.masked_fill(~positives, -torch.inf).logsumexp(dim=1)
    log_negatives = logits.masked_fill(same, -torch.inf).logsumexp(dim=1)
    behind = F.softplus(log_negatives - log_positives, threshold=60)
    if variant == "out":
        per_row = log_positives - logits.masked_fill(~positives, 0).sum(dim=1) / count + behind
    elif variant == "in":
        per_row = count.double().log() + behind
    else:
        per_row = F.softplus(log_negatives[:, None] - logits, threshold=60).masked_fill(~positives, 0).sum(dim=1)
    (coefficients,) = torch.autograd.grad(per_row.sum() / z.shape[0], s)
    gradient, size = symmetric_gradient(z, u, coefficients)
    everything = logits.masked_fill(own, -torch.inf).logsumexp(dim=1).detach()
    return {"loss": per_row.sum().item(), "perRow": per_row.detach(), "rowLogSumExp": everything, "z": gradient, "size:z": size}


def dcl(x, y, temperature, weight_sigma, precision="float32"):
    z = torch.cat([x, y])
    u = unit(z, precision)
    rows = z.shape[0]
    p = partner(rows, False, z.device)
    s = (u @ u.T).requires_grad_()
    own = torch.arange(rows, device=z.device)
    hidden = torch.zeros_like(s, dtype=torch.bool)
    hidden[own, own] = hidden[own, p] = True
    log_negatives = (s / temperature).masked_fill(hidden, -torch.inf).logsumexp(dim=1)
    positive = s[own, p]
    weight = torch.ones_like(positive)
    if weight_sigma:
        weight = (2 - rows // 2 * torch.softmax(positive.detach()[: rows // 2] / weight_sigma, 0)).repeat(2)
    per_row = log_negatives - weight * positive / temperature
    (coefficients,) = torch.autograd.grad(per_row.sum() / rows, s)
    both = coefficients + coefficients.T
    gradient = by_rows(z, u, both @ u)
    half = rows // 2
    values = {"loss": per_row.sum().item(), "perRow": per_row.detach(), "rowLogSumExp": log_negatives.detach()}
    values.update({"x": gradient[:half].reshape(-1), "y": gradient[half:].reshape(-1)})
    return {**values, "size:x": part_sizes(x, both[:half]), "size:y": part_sizes(y, both[half:])}


def barlow_twins(a, b, off_diagonal):
    leaves = [m.double().requires_grad_() for m in (a, b)]
    spread = [torch.sqrt(m.var(dim=0, unbiased=False) + 1e-5) for m in leaves]
    p, q = ((m - m.mean(dim=0)) / width for m, width in zip(leaves, spread))
    c = p.T @ q / a.shape[0]
    diagonal = torch.eye(c.shape[0], dtype=torch.bool, device=a.device)
    loss = ((1 - c.diagonal()) ** 2).sum() + off_diagonal * (c[~diagonal] ** 2).sum()
    *gradients, by_c = torch.autograd.grad(loss, (*leaves, c))
    # What cancels: each coefficient times an element of the other view, divided by the column's spread.
    sizes = [
        ((other.abs() @ g.abs()) / a.shape[0] / width).norm().item()
        for other, g, width in ((q, by_c.T, spread[0]), (p, by_c, spread[1]))
    ]
    return {"loss": loss.item(), "a": gradients[0].reshape(-1), "b": gradients[1].reshape(-1), "size:a": sizes[0], "size:b": sizes[1]}


def vic_reg(a, b, invariance, variance, covariance):
    leaves = [m.double().requires_grad_() for m in (a, b)]
    rows, cols = a.shape
    apart = invariance * ((leaves[0] - leaves[1]) ** 2).mean()
    terms = [apart]
    for m in leaves:
        centred = m - m.mean(dim=0)
        cov = centred.T @ centred / (rows - 1)
        terms.append(variance / 2 * F.relu(1 - torch.sqrt(m.var(dim=0) + 1e-4)).mean())
        terms.append(covariance * ((cov**2).sum() - (cov.diagonal() ** 2).sum()) / cols)
    loss = sum(terms)
    values = {"loss": loss.item()}
    for name, leaf, gradient in zip("ab", leaves, torch.autograd.grad(loss, leaves, retain_graph=True)):
        parts = [torch.autograd.grad(term, leaf, retain_graph=True, allow_unused=True)[0] for term in terms]
        values[name] = gradient.reshape(-1)
        values[f"size:{name}"] = sum(part.norm().item() for part in parts if part is not None)
    return values


def nearest(x, y, k, exclude_same_index):
    s = unit(x) @ unit(y).T
    if exclude_same_index:
        s.fill_diagonal_(-torch.inf)
    return {"similarities": s.topk(k, dim=1).values.reshape(-1), "indices": s}


def sig_lip(x, y, temperature, bias, precision="float32"):
    u, v = unit(x, precision), unit(y, precision)
    s = (u @ v.T).requires_grad_()
    signs = 2 * torch.eye(x.shape[0], dtype=torch.float64, device=x.device) - 1
    per_row = F.softplus(-signs * (s / temperature + bias), threshold=60).sum(dim=1)
    (coefficients,) = torch.autograd.grad(per_row.sum() / x.shape[0], s)
    values = {"loss": per_row.sum().item(), "perRow": per_row.detach()}
    return {**values, **rectangular_gradients(("x", "y"), x, y, u, v, coefficients)}


def cross_uniformity(x, y, t, precision="float32"):
    u, v = unit(x, precision), unit(y, precision)
    s = (u @ v.T).requires_grad_()
    norms = (u * u).sum(dim=1)[:, None] + (v * v).sum(dim=1)[None, :]  # of rounded rows not exactly 2
    loss = (-t * (norms - 2 * s)).reshape(-1).logsumexp(0) - torch.log(torch.tensor(s.numel(), dtype=torch.float64))
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
