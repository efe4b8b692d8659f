"""What needs a new process: the import, the first call, and the peak of memory."""

import ast
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from . import common

ROOT = Path(__file__).parents[1]
FIRST = ["kl", "sample", "forward and backward"]
PEAK_SHAPES = [*common.SHAPES, common.LARGE]


class Process:
    param_names = ("work",)
    params = (FIRST,)

    def track_first_call(self, work):
        """With a warm cache: an uncounted process comes first."""
        return first_call_seconds(work)

    track_first_call.unit = "seconds"


class Memory:
    param_names = ("shape",)
    params = (PEAK_SHAPES,)
    unit = "bytes"

    def track_peak(self, shape):
        """Over the inputs and the outputs; the worst of all the work."""
        return max(peak_bytes(shape, "float32").values())


def track_import():
    """`import agauss`, NumPy imported."""
    return import_seconds()


track_import.unit = "seconds"


def import_seconds(processes: int = 7) -> float:
    code = "import time, numpy; start = time.perf_counter(); import agauss; print(time.perf_counter() - start)"
    return median([_child(code) for _ in range(processes + 1)][1:])


def first_call_seconds(work: str, processes: int = 5) -> float:
    code = f"from benchmarks import process; print(process.first_call({work!r}))"
    return median([_child(code) for _ in range(processes + 1)][1:])


def cold_call_seconds(processes: int = 3) -> dict[str, float]:
    """Of each work's first call, one after the other in a new process with an empty cache."""
    found = []
    for _ in range(processes):
        with tempfile.TemporaryDirectory() as cache:
            code = "from benchmarks import process; print({work: process.first_call(work) for work in process.FIRST})"
            found.append(_child(code, NUMBA_CACHE_DIR=cache))
    return {work: median([calls[work] for calls in found]) for work in FIRST}


def peak_bytes(shape: str, dtype: str) -> dict[str, int]:
    """For each piece of work."""
    # glibc is to give large arrays back at once, or a later one would hide in the place of an earlier one.
    code = f"from benchmarks import process; print(process.peaks({shape!r}, {dtype!r}))"
    return _child(code, MALLOC_MMAP_THRESHOLD_="65536")


def _child(code: str, **variables: str) -> Any:
    """What a new process prints."""
    command, environment = [sys.executable, "-c", code], os.environ | variables
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    return ast.literal_eval(done.stdout.decode())


def first_call(work: str) -> float:
    """Seconds of a first call, with all that it imports. To be run in a new process."""
    inputs = common.inputs(common.MAIN, "float32")
    start = time.perf_counter()
    common.OURS[work](inputs)
    return time.perf_counter() - start


def peaks(shape: str, dtype: str) -> dict[str, int]:
    """Bytes that each call holds at its worst beyond its inputs and outputs. To be run in a new process.

    Linux's own high-water mark, set back right before the call. A tiny call on one thread comes first, which loads
    the kernel; what the threads themselves need counts.
    """
    tiny = common.inputs("x".join(str(min(int(n), 4)) for n in shape.split("x")), dtype)
    inputs = common.inputs(shape, dtype)
    found = {}
    for work, call in common.OURS.items():
        call(tiny)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        result = call(inputs)
        made = [a for a in _arrays(result) if a is not inputs.z and a is not inputs.gradient]
        found[work] = _status("VmHWM") - before - sum(a.nbytes for a in made)
        del result, made
    return found


def _status(field: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) * 1024


def _arrays(result: Any) -> list[np.ndarray]:
    return [result] if isinstance(result, np.ndarray) else list(result)
