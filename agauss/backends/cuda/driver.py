"""Kernels for a program that launches them itself, by CUDA's driver alone; knows no arrays."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

from agauss.backends.cuda.source import ENTRY


@lru_cache
def _library() -> Any:
    return ctypes.CDLL("libcuda.so.1")  # Linux's, as JAX's CUDA devices are


def address_of(name: str) -> int:
    """The address of one of the driver's functions."""
    return int(ctypes.cast(getattr(_library(), name), ctypes.c_void_p).value or 0)


def loaded(cubin: Path) -> int:
    """The handle of the kernel in a cubin, which may be launched on any device of its architecture."""
    held, kernel = ctypes.c_void_p(), ctypes.c_void_p()
    none = (None, None, 0) * 2  # no options
    _check("cuLibraryLoadData", ctypes.byref(held), ctypes.c_char_p(cubin.read_bytes()), *none)
    _check("cuLibraryGetKernel", ctypes.byref(kernel), held, ENTRY.encode())
    return int(kernel.value or 0)


def _check(name: str, *args: Any) -> None:
    status = getattr(_library(), name)(*args)
    if status:
        raise RuntimeError(f"CUDA's driver refuses to load a kernel of agauss: {name} returns {status}")
