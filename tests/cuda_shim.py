"""Run CUDA kernels on the CPU: g++ compiles their source, fibers are their threads; knows no kernel.

A kernel's source has one `extern "C" __global__ void agauss_kernel(const __grid_constant__ Work work)`, of a struct of
64-bit words. What a GPU traps, or leaves undefined where it shows, is a RuntimeError: a misaligned access, an index out
of bounds, a barrier that some threads never reach. Threads run in a chosen order and are never interrupted between
barriers, so a race shows where the order changes the result; one thread waiting for another in a loop waits forever.
"""

import ctypes
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

HERE = pathlib.Path(__file__).parent
COMPILER = shutil.which("g++")  # None where there is none, and nothing here can run
WARP = 32
LARGEST_BLOCK = 1024

_SCHEDULER_FLAGS = ("-x", "c++", "-std=c++20", "-O2", "-fPIC", "-shared", "-U_FORTIFY_SOURCE")
# Hidden symbols, so that no kernel's shared memory or template is taken for another's of the same name. The checks'
# handlers are the scheduler's, so no library of g++'s but its arithmetic.
_KERNEL_FLAGS = (
    *("-x", "c++", "-std=c++20", "-O1", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-fPIC"),
    *("-fno-math-errno", "-fvisibility=hidden", "-fsanitize=alignment,null,bounds,shift-exponent"),
    *("-fno-sanitize-recover=all", "-shared", "-nostdlib", "-include", str(HERE / "cuda_shim.hpp")),
)
_LIBRARIES = ("-lm", "-lc", "-lgcc")


class Kernel:
    """A compiled kernel."""

    def __init__(self, name, path):
        self.name = name
        self._library = ctypes.CDLL(str(path))
        self.entry = self._library.agauss_entry
        self.spoil_shared = self._library.agauss_spoil_shared
        self._library.agauss_work_size.restype = ctypes.c_uint64
        self.work_size = self._library.agauss_work_size()


def compile(sources):
    """The kernels of a list of sources, or of a dict of them by name, in the same form."""
    if not isinstance(sources, dict):
        return list(compile({f"kernel {i}": source for i, source in enumerate(sources)}).values())
    _scheduler()  # has the variables and barriers that kernels are linked to
    header = (HERE / "cuda_shim.hpp").read_text()

    def one(name):
        text = f'#line 1 "{name}"\n{sources[name]}\nAGAUSS_ENTRY\n'
        return Kernel(name, _build(name, text, _KERNEL_FLAGS, header))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(sources, pool.map(one, sources), strict=True))


def launch(kernel, grid, block, words, order="ascending"):
    """Run the kernel over the words; `order` of the threads is "ascending", "descending" or an int that shuffles it."""
    if words.dtype != np.int64 or not words.flags.c_contiguous or words.nbytes < kernel.work_size:
        raise ValueError(f"{kernel.name} takes {kernel.work_size} bytes of contiguous int64 words")
    if not 1 <= block <= LARGEST_BLOCK or not 1 <= grid < 2**31:
        raise ValueError(f"a grid of {grid} blocks of {block} threads")
    orders = [_order(n, order) for n in (grid, -(-block // WARP), WARP)]
    message = _scheduler()(
        kernel.entry, kernel.spoil_shared, words.ctypes.data, grid, block, *(o.ctypes.data for o in orders)
    )
    if message is not None:
        raise RuntimeError(f"{kernel.name}: {message.decode()}")


def _order(n, order):
    if order in ("ascending", "descending"):
        return np.ascontiguousarray(np.arange(n, dtype=np.int32)[:: 1 if order == "ascending" else -1])
    return np.random.default_rng(order).permutation(n).astype(np.int32)


@cache
def _scheduler():
    path = _build("scheduler", (HERE / "cuda_shim.cpp").read_text(), _SCHEDULER_FLAGS, "")
    # PyDLL keeps the GIL, so one launch at a time; kernels see only what is loaded globally.
    run = ctypes.PyDLL(str(path), ctypes.RTLD_GLOBAL).agauss_launch
    run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_uint] * 2 + [ctypes.c_void_p] * 3
    run.restype = ctypes.c_char_p
    return run


@cache
def _target():
    """The compiler's version and the processor that it compiles for."""
    return subprocess.check_output([COMPILER, "-march=native", "-dM", "-E", "-x", "c++", os.devnull], text=True)


def _build(name, text, flags, header):
    """Path of the compiled library; kept in a temporary directory, under a hash of all that it is made from."""
    content = "\0".join((text, header, *flags, *_LIBRARIES, _target()))
    path = _directory() / f"{hashlib.sha256(content.encode()).hexdigest()}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            made = pathlib.Path(scratch) / path.name
            command = [COMPILER, *flags, "-", *_LIBRARIES, "-o", str(made)]
            done = subprocess.run(command, input=text, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"g++ on {name}:\n{done.stderr}")
            made.replace(path)  # whole or not at all, where several test processes compile the same
    return path


@cache
def _directory():
    path = pathlib.Path(tempfile.gettempdir()) / f"agauss-shim-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} is another user's")
    return path
