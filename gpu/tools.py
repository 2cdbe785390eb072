"""(d) compute-sanitizer's four tools over the small calls of plain.py. (e) What the compiler made of the kernels, by cuobjdump."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

TOOLS = ["memcheck", "racecheck", "synccheck", "initcheck"]
# HGMMA, HMMA: tensor cores; LDSM: ldmatrix; LDGSTS, UTMALDG: asynchronous copies; LDL, STL: spills; MUFU.EX2: exponentials.
INSTRUCTIONS = ["HGMMA", "HMMA", "LDSM", "LDGSTS", "UTMALDG", "FFMA", "MUFU.EX2", "LDL", "STL"]


def verdict(returncode, text):
    """'ok', or the last lines. A run that printed no summary, or one that is not of 0, is not ok: racecheck's warnings end with status 0."""
    summary = re.search(r"=+ (?:RACECHECK|ERROR|LEAK) SUMMARY: (\d+)", text)
    return "ok" if returncode == 0 and summary and summary.group(1) == "0" else text[-3000:] or f"status {returncode}"


def sanitize(library, time_left):
    """{tool: 'ok', or its last lines}, and what was not run."""
    program = shutil.which("compute-sanitizer")
    if not program:
        return {}, ["compute-sanitizer is not on PATH"]
    results, notes = {}, []
    for tool in TOOLS:
        seconds = time_left()
        if seconds < 5:
            notes.append(f"{tool}: the time is up")
            continue
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, str(Path(__file__).parent / "plain.py"), str(library)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            notes.append(f"{tool}: not done when the time was up")
            continue
        results[tool] = verdict(done.returncode, done.stdout + done.stderr)
    return results, notes


def count_instructions(sass):
    """{kernel: {instruction: count}} of the text of cuobjdump --dump-sass."""
    counts, kernel = {}, None
    for line in sass.splitlines():
        begin = re.match(r"\s*Function : (\S+)", line)
        if begin:
            kernel = begin.group(1)
            counts[kernel] = Counter()
        instruction = re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", line)
        if instruction and kernel:
            counts[kernel].update(name for name in INSTRUCTIONS if instruction.group(1).startswith(name))
    return counts


def demangle(names):
    program = shutil.which("cu++filt") or shutil.which("c++filt")
    if not program:
        return dict(zip(names, names))
    done = subprocess.run([program], input="\n".join(names), capture_output=True, text=True)
    short = [re.sub(r"ck::cuda::|\(anonymous namespace\)::|void ", "", line).split("(")[0] for line in done.stdout.splitlines()]
    return dict(zip(names, short))


def disassemble(library):
    program = shutil.which("cuobjdump")
    if not program:
        return {}, ["cuobjdump is not on PATH"]
    done = subprocess.run([program, "--dump-sass", str(library)], capture_output=True, text=True)
    if done.returncode:
        return {}, [f"cuobjdump failed: {done.stderr[:300]}"]
    counts = count_instructions(done.stdout)
    names = demangle(list(counts))
    return {names[kernel]: dict(count) for kernel, count in counts.items()}, []
