"""What backend.py needs of CuPy: memory, the current stream and launches; knows no formula and no layout."""

import itertools
import threading
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import cupy
import numpy as np
from cupy.cuda.function import CPointer

from agauss.cuda.source import ENTRY, Spec, architecture, cubin_file, source

COUNTERS = 65536


class CupyRuntime:
    """Arrays on the devices of this process. Nothing here waits for a device."""

    def __init__(self) -> None:
        self._kernels: dict[tuple[int, Spec], Any] = {}
        self._counters: dict[int, Any] = {}
        self._next = itertools.count()
        self._lock = threading.RLock()  # a signal's handler may launch amid a first launch

    def on(self, a: Any) -> AbstractContextManager[Any]:
        """A context in which what is made and launched is on the array's device."""
        device: AbstractContextManager[Any] = a.device
        return device

    def empty(self, shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
        with like.device:
            return cupy.empty(shape, dtype)

    def address(self, a: Any) -> int:
        return int(a.data.ptr)

    def may_overlap(self, a: Any, b: Any) -> bool:
        return bool(cupy.may_share_memory(a, b))

    def ids(self, index: Any, like: Any) -> Any:
        """Sample ids as adjacent 64-bit integers on the device."""
        return cupy.ascontiguousarray(cupy.asarray(index).astype(np.int64, copy=False))

    def processors(self) -> int:
        return int(_processors(cupy.cuda.runtime.getDevice()))

    def counter(self) -> int:
        """The address of a counter that is 0 before and after each launch. Launches take turns at many, so two have one
        only if thousands lie between them."""
        device = cupy.cuda.runtime.getDevice()
        counters = self._counters.get(device)
        if counters is None:
            with self._lock:
                if device not in self._counters:
                    made = cupy.zeros(COUNTERS, np.uint32)
                    cupy.cuda.get_current_stream().synchronize()  # once: other streams take it to be zero
                    self._counters[device] = made
                counters = self._counters[device]
        return int(counters.data.ptr + next(self._next) % COUNTERS * counters.itemsize)

    def launch(self, spec: Spec, blocks: int, threads: int, words: np.ndarray) -> None:
        """Run a kernel on the current stream. The words are copied before this returns."""
        key = cupy.cuda.runtime.getDevice(), spec
        kernel = self._kernels.get(key)
        if kernel is None:
            with self._lock:
                kernel = self._kernels.get(key) or _loaded(spec)
                self._kernels[key] = kernel
        kernel((blocks,), (threads,), (CPointer(words.ctypes.data),))


@lru_cache
def _processors(device: int) -> int:
    return int(cupy.cuda.runtime.deviceGetAttribute(cupy.cuda.runtime.cudaDevAttrMultiProcessorCount, device))


def _loaded(spec: Spec) -> Any:
    arch = architecture(int(cupy.cuda.Device().compute_capability))
    return cupy.RawModule(path=str(cubin_file(source(spec), arch))).get_function(ENTRY)
