"""(c) Times on the device: medians of CUDA events, the L2 cache emptied before each run, beside the peers of peers.py on the same rows.

Shares are of the matrix product rate that torch reaches in bfloat16 on this device, measured in the same run: rows^2 cols flop for the
forward (S is symmetric, half of it is computed), 4 rows^2 cols for the backward.
"""

import statistics

import torch

import peers
from library import PRECISIONS, CallError
from runner import captured

SHAPES = [(1024, 128), (8192, 128), (8192, 256), (8192, 768), (8192, 1024), (32768, 128), (32768, 256)]
COMPILED_SHAPES = [(8192, 256), (32768, 256), (8192, 1024)]
TEMPERATURE = 0.1


def milliseconds(step, seconds=0.25, most=50):
    """Median over as many runs as fit the seconds, at least five."""
    for _ in range(2):
        step()
    torch.cuda.synchronize()
    cache = torch.empty(64 << 20, dtype=torch.int32, device="cuda")
    times = []
    while len(times) < most and (len(times) < 5 or sum(times) < seconds * 1000):
        cache.zero_()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        step()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def product_rate():
    """FLOP/s of a square bfloat16 product."""
    size = 8192
    a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    return 2 * size**3 / (milliseconds(lambda: a @ b) / 1000)


def ours(runner, z, precision, rate):
    rows, cols = z.shape
    launch, *_ = runner.nt_xent_call(z, TEMPERATURE, precision=precision, gradients=False, per_row=False)
    forward = milliseconds(launch)
    launch, *_ = runner.nt_xent_call(z, TEMPERATURE, precision=precision, gradients=True, per_row=False)
    both = milliseconds(launch)
    work = rows * rows * cols
    row = {
        "what": f"ours {precision}",
        "forward_ms": forward,
        "both_ms": both,
        "forward_share": work / (forward / 1000) / rate,
        "both_share": 5 * work / (both / 1000) / rate,
    }
    if rows <= 1024:
        row["both_replayed_ms"] = milliseconds(captured(launch))
    return row


def peer(runner, z, name):
    """A peer is timed only if its gradient is that of our loss."""
    step = peers.PEERS[name](z, TEMPERATURE)
    if z.shape[0] <= 8192:
        expected = runner.nt_xent(z, TEMPERATURE)["z"]
        got = step().detach().float().reshape(-1).cpu()
        error = float((got - expected).norm() / expected.norm())
        if not error < 0.05:
            raise ArithmeticError(f"its gradient differs from ours by {error:.2g} of its size")
    return {"what": name, "both_ms": milliseconds(step)}


def plan(runner, rate):
    """(shape, name, measurement of z), the most wanted first: torch.compile takes long to warm up, so it comes last and on few shapes."""
    for shape in SHAPES:
        for precision in PRECISIONS:
            yield shape, f"ours {precision}", lambda z, precision=precision: ours(runner, z, precision, rate)
        for name in peers.PEERS:
            if "compile" not in name:
                yield shape, name, lambda z, name=name: peer(runner, z, name)
    for shape in COMPILED_SHAPES:
        for name in peers.PEERS:
            if "compile" in name:
                yield shape, name, lambda z, name=name: peer(runner, z, name)


def run(runner, time_left):
    """(rows of results, notes, rate); stops where the time is up. What fails is a note, never the end of the run."""
    rate = product_rate()
    results, notes, failed = [], [], set()
    for (rows, cols), name, measure in plan(runner, rate):
        if name in failed:
            continue
        if time_left() < 5:
            notes.append(f"the time is up at {rows} x {cols}, {name}: give it more with --minutes")
            break
        z = torch.randn(rows, cols, device="cuda")
        try:
            results.append({"rows": rows, "cols": cols, **measure(z)})
        except torch.cuda.OutOfMemoryError:
            results.append({"rows": rows, "cols": cols, "what": name, "note": "out of memory"})
        except CallError as error:
            failed.add(name)
            notes.append(str(error))
        except Exception as error:  # a peer that cannot run here: no triton, no compiler, another loss
            failed.add(name)
            notes.append(f"{name}: {type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}")
        torch.cuda.empty_cache()
    return results, notes, rate
