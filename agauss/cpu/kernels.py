"""The kernels that have been asked for, compiled once each and cached on disk where there is a place."""

import ctypes
import hashlib
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agauss import formulas

Limits = tuple[tuple[int, str, float, float], ...]  # inputs' positions, their kinds of bound, low and high


class Spec(NamedTuple):
    """All that tells one kernel from another."""

    term: Callable[..., Any]
    dtype: type[np.float32] | type[np.float64]
    inputs: int
    outputs: int
    noisy: bool
    kinds: tuple[str, ...] = ()
    bounded: tuple[int, int] = (-1, -1)
    chained: tuple[int, int] = (-1, -1)
    summed: int | None = None  # the value that a row-reduce adds up; None is a map


class Kernel:
    """A compiled kernel, called with the descriptor's address and a range of tasks, without the GIL."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled  # owns the machine code
        self.address: int = compiled.address
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(self.address)

    def __call__(self, descriptor: int, begin: int, end: int) -> None:
        self._call(descriptor, begin, end)


_kernels: dict[Spec, Kernel] = {}
_compiling = threading.Lock()


def _after_fork() -> None:
    global _compiling
    _compiling = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def kernel(spec: Spec) -> Kernel:
    found = _kernels.get(spec)
    if found is None:
        with _compiling:
            found = _kernels.get(spec) or _compile(spec)
            _kernels[spec] = found
    return found


def _compile(spec: Spec) -> Kernel:
    from agauss.cpu import loops

    kinds = spec.kinds + ("hard",) * (2 - len(spec.kinds))
    bounds = tuple(formulas.BOUNDS[kind] for kind in kinds)
    common = (
        spec.term,
        spec.dtype,
        tuple(range(spec.inputs)),
        tuple(range(spec.outputs)),
        spec.noisy,
        bounds,
        spec.bounded,
        spec.chained,
    )
    if spec.summed is None:
        return Kernel(loops.make_map(*common, source_digest()))
    return Kernel(loops.make_row_reduce(*common, spec.summed, source_digest()))


@lru_cache
def source_digest() -> str:
    """Of every file that machine code is made from: Numba's own cache looks at one file's time alone."""
    here = Path(__file__).parent
    files = sorted(here.glob("*.py")) + [here.parent / f"{name}.py" for name in ("formulas", "noise", "coefficients")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
