"""The CUDA library for Python: builds it from the checkout, opens it, and gives its C ABI (native/include) as plain functions.

Nothing here needs torch. Structs and enums are read from the headers; a call whose status is not CK_OK raises CallError.
"""

import ctypes
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from ctypes import byref, c_char, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint64, c_void_p
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-gpu"

NONE = 2**64 - 1

TYPES = {"double": c_double, "uint8_t": c_uint8, "int32_t": c_int32, "int64_t": c_int64, "uint64_t": c_uint64, "char": c_char}


def _headers():
    texts = [(ROOT / "native" / "include" / name).read_text() for name in ("contrastive_kernels.h", "contrastive_kernels_cuda.h")]
    return re.sub(r"/\*.*?\*/", "", "".join(texts), flags=re.DOTALL)


def _fields(name, headers, structs):
    """The fields of a struct as the header declares it, so that nothing here has to be kept in step by hand."""
    body = re.search(rf"typedef struct {name} \{{(.*?)\}}", headers, re.DOTALL).group(1)
    fields = []
    for kind, pointer, field, count in re.findall(r"(?:const )?(?:volatile )?(\w+)\s*(\*?)\s*(\w+)(?:\[(\d+)\])?;", body):
        base = c_void_p if pointer else TYPES.get(kind) or structs[kind]
        fields.append((field, base * int(count) if count else base))
    return fields


def _enumerators(name, headers):
    body = re.search(rf"typedef enum {name} \{{(.*?)\}}", headers, re.DOTALL).group(1)
    return {key: int(value) for key, value in re.findall(r"(\w+) = (\d+)", body)}


HEADERS = _headers()
STATUS = {value: key[3:].lower().replace("_", " ") for key, value in _enumerators("ck_status", HEADERS).items()}
KERNELS = _enumerators("ck_kernel", HEADERS)
NEGATIVES = {key[13:].lower(): value for key, value in _enumerators("ck_negatives", HEADERS).items()}
VARIANTS = {key[11:].lower(): value for key, value in _enumerators("ck_sup_con_variant", HEADERS).items()}
PRECISIONS = {key[3:].lower(): value for key, value in _enumerators("ck_precision", HEADERS).items()}


class Matrix(ctypes.Structure):
    _fields_ = _fields("ck_matrix", HEADERS, {"float": c_float})


class Options(ctypes.Structure):
    _fields_ = _fields("ck_options", HEADERS, {})


class Result(ctypes.Structure):
    _fields_ = _fields("ck_result", HEADERS, {})


class Error(ctypes.Structure):
    _fields_ = _fields("ck_error", HEADERS, {})


class InfoNcePairs(ctypes.Structure):
    _fields_ = _fields("ck_info_nce_pairs", HEADERS, {})


class Report(ctypes.Structure):
    _fields_ = _fields("ck_cuda_report", HEADERS, {"ck_result": Result})

    def finding(self):
        """What makes the outputs of the call worthless, or None."""
        for name in ("non_finite", "overflow"):
            for index, value in enumerate(getattr(self, name)):
                if value != NONE:
                    return f"{name}[{index}] = {value}"
        return None if self.out_of_range == NONE else f"out_of_range = {self.out_of_range}"


class CallError(RuntimeError):
    def __init__(self, name, status, error):
        self.status = STATUS.get(status, str(status))
        super().__init__(f"{name}: {self.status}: {error.message.decode()}")


class Library:
    """One opened library. `call(name, ...)` adds the ck_error argument and checks the status."""

    def __init__(self, path):
        self.path = Path(path)
        self.dll = ctypes.CDLL(str(self.path.resolve()))
        self.dll.ck_describe.restype = c_size_t
        self.dll.ck_workspace_bytes.restype = c_int64
        self.dll.ck_cuda_workspace_bytes.restype = c_size_t
        self.dll.ck_cuda_info_nce_workspace_bytes.restype = c_size_t

    def describe(self):
        text = ctypes.create_string_buffer(1024)
        self.dll.ck_describe(text, c_size_t(len(text)))
        return json.loads(text.value.decode())

    def call(self, name, *arguments):
        error = Error(argument=-1)
        status = getattr(self.dll, name)(*arguments, byref(error))
        if status:
            raise CallError(name, status, error)

    def workspace_bytes(self, kernel, rows_x, rows_y, cols, gradients, options):
        arguments = (c_int32(KERNELS[kernel]), c_int64(rows_x), c_int64(rows_y), c_int64(cols), c_int32(gradients))
        return self.dll.ck_cuda_workspace_bytes(*arguments, byref(options))


def options(temperature=1.0, weight=1.0, normalize=True, stats=True, precision="float32"):
    return Options(temperature=temperature, weight=weight, normalize=normalize, stats=stats, precision=PRECISIONS[precision])


def sources(*lists):
    table = json.loads((ROOT / "native" / "sources.json").read_text())
    return [ROOT / path for name in lists for path in table[name]]


def _compile(command, files, folder):
    """Compiles every file by itself, as many at a time as there are cores; the objects."""
    folder.mkdir(parents=True, exist_ok=True)

    def one(file):
        target = folder / f"{file.stem}.o"
        done = subprocess.run([*command, "-c", str(file), "-o", str(target)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed on {file}:\n{done.stdout}{done.stderr}")
        return str(target)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(one, files))


INCLUDES = ["-I", str(ROOT / "native" / "include"), "-I", str(ROOT / "native")]


def build_cuda(architecture):
    """With nvcc, for one architecture ('90a', '80', ...), static cudart."""
    if not shutil.which("nvcc"):
        raise SystemExit("nvcc is not on PATH: install the CUDA toolkit, or give a library that is built (--library)")
    folder = BUILD / f"sm_{architecture}"
    target = [f"-gencode=arch=compute_{architecture},code=sm_{architecture}", "-std=c++17", "-O3"]
    command = ["nvcc", "-x", "cu", *target, "-Xcompiler", "-fPIC", *INCLUDES]
    objects = _compile(command, sources("cuda"), folder)
    library = folder / "libcontrastive_kernels_cuda.so"
    subprocess.run(["nvcc", "-shared", "-cudart", "static", *target[:1], *objects, "-o", str(library)], check=True)
    return library


def build_emulation():
    """The same sources as C++ on native/simt, which runs them on the CPU: for machines without a GPU."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ["c++", "g++", "clang++"]), None)
    if not compiler:
        raise SystemExit("no C++ compiler is on PATH")
    folder = BUILD / "emulation"
    command = [*compiler.split(), "-std=c++20", "-O2", "-fPIC", "-I", str(ROOT / "native" / "simt"), *INCLUDES]
    objects = _compile(command, sources("cuda", "simt"), folder)
    library = folder / "libcontrastive_kernels_cuda_simt.so"
    subprocess.run([*compiler.split(), "-shared", *objects, "-lpthread", "-o", str(library)], check=True)
    return library
