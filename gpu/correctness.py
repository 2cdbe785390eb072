"""(a) Right: every kernel against float64 torch on fresh random rows of every kind, odd sizes, all precisions the library has.
(b) Repeatable: a second run in a workspace of other garbage gives the same bits.

Bounds are those of docs/numerics.md: float32 max(1e-6, 2e-7 / temperature); bfloat16x3 loss max(1e-5, 4e-7 / temperature) and gradient
max(1e-4, 1e-6 / temperature); bfloat16 1e-2 against the rounded rows.
"""

import math
import re

import torch

import references
from library import PRECISIONS, CallError
from runner import POISON, captured

FAMILIES = ["random", "correlated", "confident", "clustered", "equal", "duplicated", "antipodal", "mixed norms", "codes"]
FLOAT32_ONLY = ("alignment", "barlowTwins", "vicReg", "nearest")


def views(family, items, cols, generator):
    """Two views of `items` items, [items, cols] each."""
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    base = normal(items, cols)
    if family == "correlated":
        pair = base, base + 0.5 * normal(items, cols)
    elif family == "confident":
        pair = base, base + 1e-3 * normal(items, cols)
    elif family == "clustered":
        center = normal(1, cols)
        pair = center + 0.05 * base, center + 0.05 * normal(items, cols)
    elif family == "equal":
        pair = base[:1].expand(items, cols), base[:1].expand(items, cols)
    elif family == "duplicated":
        draw = lambda: base[torch.randint(min(3, items), (items,), generator=generator)]  # noqa: E731
        pair = draw(), draw()
    elif family == "antipodal":
        pair = base, -base
    elif family == "mixed norms":
        scale = lambda: 10 ** (8 * torch.rand(items, 1, generator=generator, dtype=torch.float64) - 4)  # noqa: E731
        pair = base * scale(), normal(items, cols) * scale()
    elif family == "codes":  # of one magnitude, so that what is cut off an element does not average; views differ in one element of 16
        flips = 1 - 2 * (torch.rand(items, cols, generator=generator) < 1 / 16).double()
        pair = base.sign(), base.sign() * flips
    else:
        pair = base, normal(items, cols)
    return [view.float() for view in pair]


def lay_out(pair, interleaved):
    return torch.stack(pair, dim=1).flatten(0, 1).contiguous() if interleaved else torch.cat(pair).contiguous()


def bounds(precision, temperature):
    """(loss, gradient)"""
    if precision == "bfloat16":
        return 1e-2, 1e-2
    if precision == "bfloat16x3":
        return max(1e-5, 4e-7 / temperature), max(1e-4, 1e-6 / temperature)
    both = max(1e-6, 2e-7 / temperature)
    return both, both


class Comparison:
    """Of one call's outputs with the reference's; the largest errors as shares of what is allowed."""

    def __init__(self, name, precision, temperature, loss_floor):
        self.name, self.loss_floor = name, loss_floor
        self.loss_bound, self.gradient_bound = bounds(precision, temperature)
        self.shares = {}

    def note(self, what, error, allowed):
        self.shares[what] = math.inf if not math.isfinite(error) else error / allowed if allowed else (0.0 if error == 0 else math.inf)

    def compare(self, got, want):
        if got.report.finding():
            self.note(got.report.finding(), math.inf, 1)
        if "loss" in want:
            loss = want["loss"]
            self.note("loss", abs(got.report.result.loss - loss), self.loss_bound * max(abs(loss), self.loss_floor) + 1e-300)
        for name, values in got.items():
            expected = want[name].cpu()
            if not bool(torch.isfinite(values).all()):
                self.note(name, math.inf, 1)
            elif name == "indices":
                # Rows that are equally near to the last digit may change places: what counts is how similar the named rows are.
                rows = values.view(torch.int32).long().reshape(expected.shape[0], -1)
                inside = bool(((rows >= 0) & (rows < expected.shape[1])).all())
                distinct = inside and all(len(set(row)) == len(row) for row in rows.tolist())
                best = expected.topk(rows.shape[1], dim=1).values
                self.note(name, float((expected.gather(1, rows) - best).abs().max()) if distinct else math.inf, 1e-6)
            elif name in ("perRow", "rowLogSumExp", "out", "similarities"):
                floor = 1.0 if name != "perRow" else self.loss_floor
                allowed = (self.loss_bound + 2**-24) * expected.abs().clamp_min(floor) + 2**-149
                self.note(name, float(((values.double() - expected).abs() / allowed).max()), 1)
            else:
                size = max(float(expected.norm()), want.get(f"size:{name}", 0.0))
                steps = math.sqrt(expected.numel()) * 2**-149
                self.note(name, float((values.double() - expected).norm()), self.gradient_bound * size + steps)
        return self

    @property
    def worst(self):
        return max(self.shares.items(), key=lambda item: item[1])


def case(name, temperature, floor, function, arguments, precise=False):
    """The function of this name of the runner beside that of references.py; precise: its last argument is the precision."""

    def on(device, precision):
        moved = [value.to(device) if isinstance(value, torch.Tensor) else value for value in arguments]
        return moved + [precision] * precise

    return (
        name,
        temperature,
        floor,
        lambda runner, p: getattr(runner, function)(*on(runner.device, p)),
        lambda device, p: getattr(references, function)(*on(device, p)),
    )


def cases_of_systems(shapes, temperatures, generator):
    """The losses of labels, of explicit negatives and of columns, and nearest rows."""
    for rows, cols in shapes:
        if rows < 8:
            continue  # classes of several rows, batches with a spread
        shape = f"{rows} x {cols}"
        x, y = views("correlated", rows, cols, generator)
        extra = views("random", 2 * rows, cols, generator)[0]
        listed = torch.randint(2 * rows, (rows, 3), generator=generator, dtype=torch.int32)
        labels = torch.randint(max(2, rows // 6), (rows,), generator=generator, dtype=torch.int32)
        labels[: 2 * (rows // 2)] = labels[: rows // 2].repeat(2)  # nobody is alone
        for temperature in temperatures[:2]:
            at = f"{shape}, temperature {temperature}"
            for mode in ("shared", "paired", "indexed"):
                arguments = (x, y, temperature, True, extra, mode, listed if mode == "indexed" else None)
                yield case(f"infoNce,{mode} {at}", temperature, 0.0, "info_nce", arguments, True)
            if len(labels.unique()) > 1:
                for variant in ("out", "in", "pair"):
                    yield case(f"supCon,{variant} {at}", temperature, 0.0, "sup_con", (x, labels, temperature, variant), True)
            for sigma in (0.0, 0.5):
                yield case(f"dcl {at}, sigma {sigma}", temperature, 1.0, "dcl", (x, y, temperature, sigma), True)
        yield case(f"barlowTwins {shape}", 1.0, 1.0, "barlow_twins", (x, y, 0.005))
        yield case(f"vicReg {shape}", 1.0, 1.0, "vic_reg", (x / 2, y / 2, 25.0, 25.0, 1.0))
        for k, exclude in ((1, True), (min(rows, 21), False)):
            yield case(f"nearest {shape}, k {k}", 1.0, 1.0, "nearest", (x, y, k, exclude))


def cases(quick, generator):
    """(name, temperature, loss floor, call(runner, precision), reference(device, precision))"""
    if quick:
        shapes, temperatures, others = [(2, 3), (10, 64), (66, 33), (130, 130), (258, 20)], [0.5, 0.05, 0.005], [(21, 21, 5), (5, 70, 300)]
    else:
        shapes = [(2, 3), (4, 1), (62, 64), (66, 65), (130, 768), (254, 1024), (514, 300), (1026, 128), (2050, 96), (70, 4096)]
        temperatures, others = [10.0, 0.5, 0.07, 0.02, 0.005], [(1, 1, 3), (21, 21, 5), (5, 700, 300), (513, 257, 768), (33, 65, 4096)]

    for rows, cols in shapes:
        for index, family in enumerate(FAMILIES):
            interleaved = bool(index % 2)
            z = lay_out(views(family, rows // 2, cols, generator), interleaved)
            for temperature in temperatures if family in ("random", "confident", "antipodal") else temperatures[1:2]:
                yield (
                    f"ntXent {rows} x {cols} {family}, temperature {temperature}",
                    temperature,
                    0.0,
                    lambda runner, p, z=z, temperature=temperature, i=interleaved: runner.nt_xent(z.to(runner.device), temperature, i, p),
                    lambda device, p, z=z, temperature=temperature, i=interleaved: references.nt_xent(z.to(device), temperature, i, p),
                )
        x = views("clustered", rows, cols, generator)[0]
        for t in (2.0, 20.0):
            yield (
                f"uniformity {rows} x {cols}, t {t}",
                1 / (2 * t),
                1.0,
                lambda runner, p, x=x, t=t: runner.uniformity(x.to(runner.device), t, p),
                lambda device, p, x=x, t=t: references.uniformity(x.to(device), t, p),
            )
        x, y = views("correlated", rows, cols, generator)
        if cols > 1:  # one column: u = v exactly, where float64 torch has no gradient
            yield (
                f"alignment {rows} x {cols}",
                1.0,
                0.0,
                lambda runner, p, x=x, y=y: runner.alignment(x.to(runner.device), y.to(runner.device), 2.0),
                lambda device, p, x=x, y=y: references.alignment(x.to(device), y.to(device), 2.0),
            )
    for rows, cols in shapes:
        for family in ("random", "correlated", "confident", "duplicated"):
            x, y = views(family, rows, cols, generator)
            extra = torch.cat([y, views("random", 7, cols, generator)[0]])
            for temperature in temperatures:
                for key, symmetric in ((extra, False), (y, True)):
                    name = f"infoNce {rows} and {key.shape[0]} x {cols} {family}, temperature {temperature}"
                    yield case(name, temperature, 0.0, "info_nce", (x, key, temperature, symmetric, None, "shared", None), True)
            yield case(f"sigLip {rows} x {cols} {family}", 0.1, 0.0, "sig_lip", (x, y, 0.1, -10.0), True)
        yield case(f"crossUniformity {rows} and {extra.shape[0]} x {cols}", 0.25, 1.0, "cross_uniformity", (x, extra, 2.0), True)
    yield from cases_of_systems(shapes, temperatures, generator)
    for rows, columns, cols in others:
        x, y = views("random", rows, cols, generator)[0], views("random", columns, cols, generator)[0]
        w = views("random", rows, columns, generator)[0]
        yield (
            f"cosineSimilarity {rows} and {columns} x {cols}",
            1.0,
            1.0,
            lambda runner, p, x=x, y=y: runner.cosine(x.to(runner.device), y.to(runner.device), p),
            lambda device, p, x=x, y=y: references.cosine(x.to(device), y.to(device), p),
        )
        yield (
            f"cosineSimilarityBackward {rows} and {columns} x {cols}",
            1.0,
            1.0,
            lambda runner, p, x=x, y=y, w=w: runner.cosine_backward(*(m.to(runner.device) for m in (x, y, w)), p),
            lambda device, p, x=x, y=y, w=w: references.cosine_backward(*(m.to(device) for m in (x, y, w)), p),
        )


def run(runner, quick, seed, time_left):
    """[{name, precision, worst, share, repeated, failed}]; precisions a kernel lacks are named once in `missing`."""
    results, missing = [], {}
    generator = torch.Generator().manual_seed(seed)
    for name, temperature, floor, call, reference in cases(quick, generator):
        for precision in PRECISIONS:
            lacking = f"{re.split('[ ,]', name)[0]} in {precision}"
            if lacking in missing or (name.startswith(FLOAT32_ONLY) and precision != "float32"):
                continue
            if time_left() < 0:
                return results, missing, False
            try:
                got = call(runner, precision)
                again = call(runner, precision)
            except CallError as error:
                if error.status != "unavailable" or precision == "float32":
                    raise
                missing[lacking] = str(error)
                continue
            comparison = Comparison(name, precision, temperature, floor).compare(got, reference(runner.device, precision))
            same = all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(got.bits(), again.bits()))
            what, share = comparison.worst
            results.append({"name": name, "precision": precision, "worst": what, "share": share, "repeated": same, "failed": not same or not share <= 1})
    return results, missing, True


def replays(runner, seed):
    """A captured graph of a call gives the call's bits; what is wrong, or None. For a real device only."""
    z = lay_out(views("correlated", 150, 200, torch.Generator().manual_seed(seed)), False).to(runner.device)
    launch, outputs, report, lengths = runner.nt_xent_call(z, 0.1)
    expected = runner.finish(launch, outputs, report, lengths).bits()
    replay = captured(launch)
    for tensor in outputs.values():
        tensor.fill_(POISON)
    got = runner.finish(replay, outputs, report, lengths).bits()
    same = all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(got, expected))
    return None if same else "a captured graph gives other bits than the call"
