"""Array type -> library and backend; the only file that lists array libraries.

NumPy has Numba loops of its own, CuPy CUDA kernels. Every other library with the array API standard, or one that
array-api-compat completes, runs on reference.py. Backends are imported when first needed.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np

FLOATING = ("float16", "bfloat16", "float32", "float64")


class Library:
    """An array library, as much of it as ops.py needs."""

    def __init__(self, name: str, xp: Any, load: Callable[[], Any], *, fills: bool = False) -> None:
        self.name = name
        self.xp = xp  # the namespace of the standard
        self.fills = fills  # whether the backend writes results into arrays that it is given
        self.writes = name not in READ_ONLY
        self._load = load

    @cached_property
    def backend(self) -> Any:
        """What has map and row_reduce and, where it fills, empty."""
        return self._load()

    def on(self, x: Any) -> Any:
        """A context in which the library's own functions compute where the array x is."""
        return x.device if self.name == "cupy" else nullcontext()

    def alone(self) -> AbstractContextManager[None]:
        """A context in which the backend computes on the calling thread alone."""
        from agauss.cpu.launch import alone

        return alone() if self is NUMPY else nullcontext()

    def copy(self, x: Any, shape: tuple[int, ...]) -> Any:
        """x broadcast to a shape, as an array that shares no memory with it."""
        if self is NUMPY:
            return np.array(np.broadcast_to(x, shape))
        with self.on(x):  # CuPy's arithmetic loses subnormal numbers; PyTorch can differentiate this
            return self.xp.astype(self.xp.broadcast_to(x, shape), x.dtype)

    def shares_memory(self, a: Any, b: Any) -> bool:
        """Whether arrays of a library that fills may overlap."""
        return bool(self.xp.may_share_memory(a, b))

    def deliver(self, result: Any, out: Any) -> Any:
        """The result, in `out` where there is one."""
        if out is None or result is out:
            return result
        with self.on(out):
            out[...] = result
        return out


def _cpu() -> Any:
    from agauss.cpu import backend

    return backend


def _cuda() -> Any:
    from agauss.cuda.backend import Backend
    from agauss.cuda.device import CupyRuntime

    return Backend(CupyRuntime())


def _reference(xp: Any, name: str) -> Callable[[], Any]:
    def load() -> Any:
        from agauss.reference import Reference

        return Reference(xp, name)

    return load


def _traced(xp: Any, name: str) -> Callable[[], Any]:
    def load() -> Any:
        from agauss.traced import Traced

        return Traced(xp, name)

    return load


def _blocks() -> Any:
    from agauss.blocks import Blocks

    return Blocks(library_of)


READ_ONLY = ("jax", "dask", "autograd")  # libraries without arrays that can be written in place
DEVICELESS = ("dask", "autograd")
NUMPY = Library("numpy", np, _cpu, fills=True)
_libraries: dict[type, Library] = {np.ndarray: NUMPY, np.memmap: NUMPY}


def library_of(x: Any) -> Library | None:
    """The library that x, an array, belongs to; None where x is no array that can be used."""
    found = _libraries.get(type(x))
    return found if found is not None else _find(x)


def _find(x: Any) -> Library | None:
    if isinstance(x, (np.ma.MaskedArray, np.generic, bool, int, float, complex, str, list, tuple, type(None))):
        return None  # a mask would be lost; scalars have no library of their own
    import array_api_compat

    if isinstance(x, np.ndarray):
        return NUMPY
    if not array_api_compat.is_array_api_obj(x):
        return None
    xp = array_api_compat.array_namespace(x)
    name = xp.__name__.removeprefix("array_api_compat.").partition(".")[0]
    load = {"cupy": _cuda, "dask": _blocks, "jax": _traced(xp, name)}.get(name) or _reference(xp, name)
    found = Library(name, xp, load, fills=name == "cupy")
    if not name.startswith("jax"):  # a tracer's type says nothing of the arrays to come
        _libraries[type(x)] = found
    return found


def add(kind: type, name: str, xp: Any) -> None:
    """Take arrays of a type that is not of the standard, by a namespace that completes it."""
    _libraries[kind] = Library(name, xp, _reference(xp, name))


def namespace(xp: Any) -> Library:
    """The library of a namespace given by the caller."""
    if xp is None or xp is np:
        return NUMPY
    found = _of_module(xp) if isinstance(xp, ModuleType) else None
    if found is None:
        raise TypeError(f"xp must be a namespace of the array API standard; got {xp!r}")
    return found


@lru_cache
def _of_module(xp: ModuleType) -> Library | None:
    return library_of(xp.asarray([0.0])) if hasattr(xp, "asarray") else None


def advice(backend: str, library: str) -> list[str]:
    """Where a faster path would be, for a step that has taken the slow one."""
    return [ADVICE[library]] if backend == "array-API form" and library in ADVICE else []


ADVICE = {
    "torch": "agauss.integrations.torch takes tensors to the Numba loops and the CUDA kernels",
    "jax": "under jax.jit it is fused; agauss.integrations.jax has a path to the Numba loops",
}


def device_of(x: Any) -> Any:
    """Where an array is; None for libraries that know no device."""
    if isinstance(x, np.ndarray) or type(x).__module__.startswith(DEVICELESS):
        return None
    import array_api_compat

    return array_api_compat.device(x)


_numpy_names: dict[Any, str] = {}


def dtype_name(dtype: Any) -> str:
    """'float32' for any library's float32, and so on."""
    if not isinstance(dtype, np.dtype):
        return str(getattr(dtype, "name", dtype)).rpartition(".")[2]
    name = _numpy_names.get(dtype)
    if name is None:
        name = _numpy_names[dtype] = dtype.name if dtype.isnative else f"{dtype.name} in another byte order"
    return name
