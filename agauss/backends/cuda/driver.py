"""Kernels by CUDA's driver alone, for a program that launches them itself; needs a driver, but neither CuPy's arrays nor
a device of its own."""

import ctypes
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from agauss.backends.cuda.source import ENTRY

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@lru_cache
def library() -> Any:
    return ctypes.CDLL(LIBRARY)


def address_of(name: str) -> int:
    """The address of one of the driver's functions."""
    return int(ctypes.cast(getattr(library(), name), ctypes.c_void_p).value or 0)


def loaded(cubin: Path) -> int:
    """The handle of the kernel in a cubin, which may be launched on any device of its architecture."""
    held, kernel = ctypes.c_void_p(), ctypes.c_void_p()
    none = (None, None, 0) * 2  # no options
    _check("cuLibraryLoadData", ctypes.byref(held), ctypes.c_char_p(cubin.read_bytes()), *none)
    _check("cuLibraryGetKernel", ctypes.byref(kernel), held, ENTRY.encode())
    return int(kernel.value or 0)


def _check(name: str, *args: Any) -> None:
    status = getattr(library(), name)(*args)
    if status:
        raise RuntimeError(f"CUDA's driver refuses to load a kernel of agauss: {name} returns {status}")
