#!/usr/bin/env python3
"""Checks the CUDA kernels on the GPU of this machine. Needs the checkout, nvcc and Python with torch; no Node.

    python3 gpu/check.py                  everything, in about four minutes
    python3 gpu/check.py --minutes 10     with more shapes and peers
    python3 gpu/check.py --only correctness,speed
    python3 gpu/check.py --emulate        the same sources on the CPU (native/simt): correctness and repeatability, on any machine

Prints tables, writes everything as JSON (--json FILE, default build-gpu/check.json), and exits with 1 if anything is wrong. Without
torch it runs plain.py, the part that needs none, and says so. What was not run is listed; it never counts as passed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import library as libraries  # noqa: E402
import plain  # noqa: E402
import tools  # noqa: E402

try:
    import torch
except ImportError:
    torch = None

PARTS = ["correctness", "speed", "sanitizer", "sass"]
# Shares of the time that are left for the parts after it: on a first run on a GPU the numbers come before the slow tools.
AFTER_CORRECTNESS, AFTER_SPEED = 0.55, 0.25


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=4, help="when to stop starting things (default 4)")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to run, of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="correctness on few small shapes")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random rows (default: the time)")
    parser.add_argument("--library", help="a library that is built, instead of building one")
    parser.add_argument("--emulate", action="store_true", help="build and check the emulation on the CPU")
    parser.add_argument("--plain", action="store_true", help="only what needs no torch")
    parser.add_argument("--json", default=str(libraries.BUILD / "check.json"), help="where the results go")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    unknown = set(arguments.only) - set(PARTS)
    if unknown:
        parser.error(f"--only: expected parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    return arguments


def architecture():
    """For nvcc: '90a', '80', ..."""
    if torch is not None and torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
    elif shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        major, minor = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip().split(".")
    else:
        raise SystemExit("no GPU here that torch or nvidia-smi can see; --emulate checks the same sources on the CPU")
    return f"{major}{minor}{'a' if int(major) == 9 else ''}"


def check_correctness(library, device, arguments, time_left, record):
    import correctness
    from runner import Runner

    quick = arguments.quick or device == "cpu"
    runner = Runner(library, device)
    results, missing, finished = correctness.run(runner, quick, arguments.seed, lambda: time_left() - AFTER_CORRECTNESS * 60 * arguments.minutes)
    graph = correctness.replays(runner, arguments.seed) if device == "cuda" else None
    record["correctness"] = {"results": results, "missing": missing, "finished": finished, "graph": graph}
    print(f"\n{'kernel and precision':44}{'cases':>6}{'failed':>8}{'repeated':>10}   largest error / allowed")
    groups = {}
    for result in results:
        groups.setdefault((result["name"].split(" ")[0], result["precision"]), []).append(result)
    for (kernel, precision), group in groups.items():
        worst = max(group, key=lambda result: result["share"])
        failed, repeated = sum(result["failed"] for result in group), sum(result["repeated"] for result in group)
        print(f"{kernel + ', ' + precision:44}{len(group):6}{failed:8}{repeated:10}   {worst['share']:.3f} ({worst['worst']} of {worst['name']})")
    for result in results:
        if result["failed"]:
            what = f"{result['worst']} is {result['share']:.3g} times what is allowed" if result["repeated"] else "the second run gave other bits"
            print(f"FAILED {result['name']}, {result['precision']}: {what}")
    for precision, reason in missing.items():
        record["not_run"].append(f"{precision}: {reason}")
    if not finished:
        record["not_run"].append("the rest of correctness: the time is up")
    if graph:
        print(f"FAILED {graph}")
    return sum(result["failed"] for result in results) + (graph is not None)


def check_plain(library, record):
    results = plain.run(library)
    record["plain"] = [{"name": name, "problem": problem} for name, problem in results]
    print("\nsmall calls, without torch")
    for name, problem in results:
        print(f"{'FAILED' if problem else 'ok':7}{name}{f': {problem}' if problem else ''}")
    return sum(problem is not None for _, problem in results)


def check_speed(library, time_left, record):
    import speed
    from runner import Runner

    results, notes, rate = speed.run(Runner(library, "cuda"), time_left)
    record["speed"] = {"product_rate": rate, "results": results}
    record["not_run"] += notes
    print(f"\nNT-Xent at temperature {speed.TEMPERATURE}; torch's bfloat16 product: {rate / 1e12:.0f} TFLOP/s")
    print(f"{'rows x cols':>14}  {'':26}{'forward ms':>12}{'share':>8}{'both ms':>12}{'share':>8}")
    number = lambda value, width, digits: f"{value:{width}.{digits}f}" if value is not None else " " * width  # noqa: E731
    for row in results:
        shares = number(row.get("forward_share"), 8, 2), number(row.get("both_share"), 8, 2)
        line = f"{row['rows']:>6} x {row['cols']:<5}  {row['what']:26}{number(row.get('forward_ms'), 12, 3)}{shares[0]}"
        replayed = f"   {row['both_replayed_ms']:.3f} as a graph" if "both_replayed_ms" in row else ""
        print(f"{line}{number(row.get('both_ms'), 12, 3)}{shares[1]}{replayed}{row.get('note', '')}")


def check_sanitizer(library, time_left, record):
    found, notes = tools.sanitize(library.path, time_left)
    record["sanitizer"], record["not_run"] = found, record["not_run"] + notes
    print()
    for tool, result in found.items():
        print(f"compute-sanitizer {tool}: {result}")
    return sum(result != "ok" for result in found.values())


def show_sass(library, record):
    counts, notes = tools.disassemble(library.path)
    record["sass"], record["not_run"] = counts, record["not_run"] + notes
    if counts:
        print(f"\n{'instructions of':48}" + "".join(f"{name:>10}" for name in tools.INSTRUCTIONS))
    for kernel, count in sorted(counts.items()):
        print(f"{kernel[:47]:48}" + "".join(f"{count.get(name, 0):10}" for name in tools.INSTRUCTIONS))


def main():
    arguments = read_arguments()
    begin = time.monotonic()
    time_left = lambda: 60 * arguments.minutes - (time.monotonic() - begin)  # noqa: E731
    if arguments.library:
        path = Path(arguments.library)
    else:
        path = libraries.build_emulation() if arguments.emulate else libraries.build_cuda(architecture())
    library = libraries.Library(path)
    description = library.describe()
    if not description["available"]:
        raise SystemExit(f"{path}: no device: {description['reason']}")
    emulated = "simt" in description["device"]
    record = {"device": description, "seed": arguments.seed, "library": str(path), "not_run": [], "build_seconds": time.monotonic() - begin}
    print(f"{description['device']}, compute capability {description['computeCapability']}; seed {arguments.seed}")

    def attempt(part, run, *rest):
        """A part that ends in an error has failed, and must not keep the others from running."""
        try:
            return run(*rest) or 0
        except Exception as error:
            record.setdefault("errors", {})[part] = f"{type(error).__name__}: {error}"
            print(f"FAILED {part}: {record['errors'][part]}")
            return 1

    failed = attempt("plain", check_plain, library, record)
    if torch is None or arguments.plain:
        record["not_run"].append("everything that needs torch")
    else:
        record["torch"] = torch.__version__
        if "correctness" in arguments.only:
            failed += attempt("correctness", check_correctness, library, "cpu" if emulated else "cuda", arguments, time_left, record)
    if emulated:
        record["not_run"].append("speed, compute-sanitizer and SASS: there is no GPU in the emulation")
    else:
        if "speed" in arguments.only and "torch" in record:
            failed += attempt("speed", check_speed, library, lambda: time_left() - AFTER_SPEED * 60 * arguments.minutes, record)
        if "sass" in arguments.only:
            failed += attempt("sass", show_sass, library, record)
        if "sanitizer" in arguments.only:
            failed += attempt("sanitizer", check_sanitizer, library, time_left, record)

    record["failed"], record["seconds"] = failed, time.monotonic() - begin
    target = Path(arguments.json)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=1))
    print()
    for note in record["not_run"]:
        print(f"not run: {note}")
    print(f"{failed} failed, {record['seconds']:.0f} s; details in {target}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
