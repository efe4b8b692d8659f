"""Where the CUDA kernels run in the tests: on a GPU through CuPy, or on the CPU by cuda_shim, on NumPy's arrays.

And how their results are compared with those of the Numba loops.
"""

import ctypes
import os
from contextlib import contextmanager, nullcontext

import cuda_shim
import ml_dtypes
import numpy as np
import pytest

import agauss as ag
from agauss.arrays import NUMPY
from agauss.backends.cuda import source
from agauss.backends.cuda.backend import Backend

DTYPES = ("float16", "bfloat16", "float32", "float64")
Q = ag.DiagonalGaussianDistribution


class ShimRuntime:
    """The runtime of backends/cuda/device.py on NumPy's arrays. `processors` decides the grid, `order` that of the
    threads."""

    def __init__(self, processors=2, order="ascending"):
        self.grid, self.order = processors, order
        self.kernels, self.launches = {}, []
        self.one_counter = np.zeros(1, np.uint32)

    def on(self, a):
        return nullcontext()

    def empty(self, shape, dtype, like):
        poisoned = np.empty(shape, dtype)
        poisoned.reshape(-1).view(np.uint8)[...] = 0xAB
        return poisoned

    def address(self, a):
        return a.ctypes.data

    def device(self, a):
        return 0

    def ids(self, index, like):
        return np.ascontiguousarray(index).astype(np.int64)

    def processors(self):
        return self.grid

    def scratch(self, shape, dtype):
        return self.empty(shape, dtype, None)

    def partials(self, count):
        room = self.scratch((count,), np.float64)
        return room, room.ctypes.data, self.one_counter.ctypes.data

    def prepare(self, specs):
        """Compile kernels side by side, ahead of their launches."""
        missing = [spec for spec in specs if spec not in self.kernels]
        for spec, kernel in zip(missing, cuda_shim.compile([source.source(s) for s in missing]), strict=True):
            self.kernels[spec] = kernel

    def launch(self, spec, blocks, threads, words):
        self.prepare([spec])
        self.launches.append(spec)
        cuda_shim.launch(self.kernels[spec], blocks, threads, words, self.order)
        assert self.one_counter[0] == 0


def over(a):
    """A CuPy array of a NumPy array's memory: no device is asked for its place and form."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    memory = cupy.cuda.UnownedMemory(a.ctypes.data, a.nbytes, a, 0)
    return cupy.ndarray(a.shape, a.dtype, cupy.cuda.MemoryPointer(memory, 0), a.strides)


def host(a):
    """A copy of a CuPy array that lies over the host's memory."""
    memory = (ctypes.c_byte * a.nbytes).from_address(a.data.ptr)
    return np.ndarray(a.shape, a.dtype, memory, 0, a.strides).copy()


class HostRuntime(ShimRuntime):
    """CuPy's own arrays, over the host's memory."""

    def empty(self, shape, dtype, like):
        return over(super().empty(shape, dtype, like))

    def scratch(self, shape, dtype):
        return super().empty(shape, dtype, None)

    def address(self, a):
        return a.ctypes.data if isinstance(a, np.ndarray) else a.data.ptr


class Shim:
    """NumPy arrays, computed with by the kernels inside `with kernels():`."""

    name = "shim"

    def __init__(self):
        self.runtime = ShimRuntime()
        self.backend = Backend(self.runtime)

    def array(self, a):
        return a

    def host(self, a):
        return a

    @contextmanager
    def kernels(self):
        loops = NUMPY.backend
        NUMPY.backend = self.backend
        try:
            yield
        finally:
            NUMPY.backend = loops


class Gpu:
    """CuPy arrays, with the strides of the NumPy arrays that they are made from."""

    name = "gpu"

    def __init__(self):
        import cupy

        self.xp = cupy
        if os.environ.get("AGAUSS_WITHOUT_POOL"):  # so that compute-sanitizer sees where each array ends
            cupy.cuda.set_allocator(None)

    def array(self, a):
        """A copy in the same place of a buffer that is as large and as misaligned."""
        xp = self.xp
        if not isinstance(a, np.ndarray):
            return a
        try:
            xp.empty(0, a.dtype)
        except TypeError:
            pytest.skip(f"this CuPy has no {a.dtype}")
        if a.size == 0:
            return xp.asarray(a)
        low, high = np.lib.array_utils.byte_bounds(a)
        offset = low % 16
        memory = xp.zeros(high - low + offset + 16, np.uint8)
        start = a.ctypes.data - low + offset
        result = xp.ndarray(a.shape, a.dtype, memory.data + start, a.strides)
        result[...] = xp.asarray(np.ascontiguousarray(a)).reshape(a.shape)
        return result

    def host(self, a):
        return self.xp.asnumpy(a) if isinstance(a, self.xp.ndarray) else a

    def kernels(self):
        return nullcontext()


def gpu():
    try:
        import cupy

        cupy.zeros(1)
    except Exception as error:
        pytest.skip(f"no CuPy with a CUDA device: {str(error).partition(chr(10))[0]}")
    return Gpu()


def shim():
    if cuda_shim.COMPILER is None:
        pytest.skip("no g++ to run the kernels on the CPU with")
    return Shim()


def normal(shape, dtype="float32", seed=0, scale=1.5):
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return values.astype(getattr(ml_dtypes, dtype, dtype))


def flat(results):
    return list(results) if isinstance(results, (tuple, list)) else [results]


def assert_same(found, expected):
    """Shape, dtype and bits; a NaN is a NaN, whatever its payload."""
    assert len(found) == len(expected)
    for place, (a, b) in enumerate(zip(found, expected, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"result {place}"
        differ = a.reshape(-1).view(f"u{a.itemsize}") != b.reshape(-1).view(f"u{b.itemsize}")
        differ &= ~(np.isnan(a.astype(np.float64)) & np.isnan(b.astype(np.float64))).reshape(-1)
        if differ.any():
            k = int(np.argmax(differ))
            message = f"result {place}: {differ.sum()} of {differ.size} differ, first number {k}"
            raise AssertionError(f"{message}: {a.reshape(-1)[k]!r}, not {b.reshape(-1)[k]!r}")


def agree(device, f, *arrays):
    """f of arrays, by the kernels and by Numba."""
    expected = flat(f(*arrays))
    with device.kernels():
        found = flat(f(*(device.array(a) for a in arrays)))
    if device.name == "gpu":
        assert all(isinstance(a, device.xp.ndarray) for a in found)
    assert_same([device.host(a) for a in found], expected)
