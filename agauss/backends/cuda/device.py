"""What backend.py needs of CuPy: memory, the current stream and launches; knows no formula and no layout."""

import itertools
import threading
from contextlib import AbstractContextManager
from functools import lru_cache
from math import prod
from typing import Any

import cupy
import numpy as np

from agauss.backends.cuda.source import ENTRY, Spec, architecture, cubin_file, source

OLDEST_CUPY = 14  # older ones cannot load the wheels' NVRTC, and do not know the protocol of streams
COUNTERS = 65536

if int(cupy.__version__.partition(".")[0]) < OLDEST_CUPY:
    raise ImportError(
        f"agauss needs CuPy {OLDEST_CUPY} or later for CuPy arrays; got CuPy {cupy.__version__}: "
        'pip install -U "agauss[cuda13]" or "agauss[cuda12]"'
    )


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

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory for one launch, on the current device. In a graph that is captured it is the graph's own: what a pool
        gets back, it gives to others while the graph may yet be launched."""
        if not _capturing():
            return cupy.empty(shape, dtype)
        return cupy.ndarray(shape, dtype, cupy.cuda.malloc_async(prod(shape) * np.dtype(dtype).itemsize))

    def partials(self, count: int) -> tuple[Any, int, int]:
        """Room for partial sums, to be kept until the launch, its address, and the address of a counter that is 0."""
        if not _capturing():
            room = self.scratch((count,), np.float64)
            return room, int(room.data.ptr), self._counter()
        room = self.scratch((count + 1,), np.float64)
        counter = room.data + count * room.itemsize
        counter.memset_async(0, room.itemsize)
        return room, int(room.data.ptr), int(counter.ptr)

    def address(self, a: Any) -> int:
        return int(a.data.ptr)

    def device(self, a: Any) -> int:
        return int(a.data.device_id)

    def ids(self, index: Any, like: Any) -> Any:
        """Sample ids as adjacent 64-bit integers on the device."""
        given = cupy.asarray(index)
        if given.dtype == np.int64 and given.flags.c_contiguous:
            return given
        made = self.scratch(given.shape, np.int64)
        made[...] = given
        return made

    def processors(self) -> int:
        return int(_processors(cupy.cuda.runtime.getDevice()))

    def _counter(self) -> int:
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
            if _capturing():
                raise RuntimeError(
                    f"the kernel of {spec.term} must be loaded before a CUDA graph captures it: "
                    "call once with arrays of the same shapes, dtypes and strides beforehand"
                )
            with self._lock:
                kernel = self._kernels.get(key) or _loaded(spec)
                self._kernels[key] = kernel
        # One item of as many bytes is passed by value, as a structure is.
        kernel((blocks,), (threads,), (words.view(f"V{words.nbytes}"),))


def _capturing() -> bool:
    """Whether what is launched goes into a CUDA graph."""
    return bool(cupy.cuda.get_current_stream().is_capturing())


@lru_cache
def _processors(device: int) -> int:
    return int(cupy.cuda.runtime.deviceGetAttribute(cupy.cuda.runtime.cudaDevAttrMultiProcessorCount, device))


def _loaded(spec: Spec) -> Any:
    arch = architecture(int(cupy.cuda.Device().compute_capability))
    return cupy.RawModule(path=str(cubin_file(source(spec), arch))).get_function(ENTRY)
