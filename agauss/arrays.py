"""Arrays: which library one is of, and operands, which are of one library; the only file that lists array libraries.

NumPy has Numba loops of its own, CuPy CUDA kernels, JAX and Dask what backends/jax/ and dask.py say. Every other
library with the array API standard, or one that array-api-compat completes, runs on the array-API form. Backends are
imported when first needed.

Every error names the argument, what it must be and what came, and is raised before anything is read or written.
"""

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import numpy as np

from agauss.backends.protocol import Array, Backend, DType, Noise, Shape
from agauss.remembered import remembered
from agauss.typing import Number
from agauss.words import has_64_bits

if TYPE_CHECKING:
    from agauss.backends.dask import Blocks

# Names for readers, as those of backends/protocol.py are.
Namespace = Any  # of the array API standard: a module, or what completes one
Device = Any
FLOATING = ("float16", "bfloat16", "float32", "float64")


class Library:
    """An array library, as much of it as agauss needs."""

    def __init__(self, name: str, xp: Namespace, load: Callable[[], Backend], *, fills: bool = False) -> None:
        self.name = name
        self.xp = xp  # the namespace of the standard
        self.fills = fills  # whether the backend writes results into arrays that it is given
        self.writes = name not in READ_ONLY
        self._load = load

    @cached_property
    def backend(self) -> Backend:
        """What runs passes."""
        return self._load()

    def words(self, noise: Noise, shape: Shape, like: Array) -> Array:
        """The random bits of an array, as integers (``words`` of backends/array_api/backend.py)."""
        from agauss.backends.array_api.backend import words

        if self.name == "dask":
            return cast("Blocks", self.backend).words(noise, shape, like)
        with self.on(like):
            return words(self.xp, noise, shape, like)

    @cached_property
    def triangular(self) -> Any:
        """What applies and solves lower triangular matrices (backends/array_api/triangular.py)."""
        return _triangular(self)

    @cached_property
    def columns(self) -> Any:
        """What adds up over a batch in one pass (backends/cpu/columns.py), for NumPy's arrays; else None."""
        if self is not NUMPY:
            return None
        from agauss.backends.cpu import columns

        return columns

    def by_events(self, function: Callable[..., Any], signature: str, *arrays: Array) -> Any:
        """function(library, *arrays), whose axes the signature names as NumPy's generalised ufuncs do: by blocks that
        hold whole events, where the library's arrays are of blocks."""
        if self.name == "dask":
            return cast("Blocks", self.backend).by_events(function, signature, arrays)
        with self.on(arrays[0]), self.quiet():
            return function(self, *arrays)

    def quiet(self) -> AbstractContextManager[Any]:
        """Where inf and NaN are results, not accidents. PyTorch warns of none, and torch.compile knows no errstate."""
        return nullcontext() if self.name == "torch" else np.errstate(all="ignore")

    @property
    def widest(self) -> DType:
        """The dtype to add up in: float64, or float32 where JAX has no more."""
        return self.xp.float64 if has_64_bits(self.xp) else self.xp.float32

    def on(self, x: Array) -> AbstractContextManager[Any]:
        """A context in which the library's own functions compute where the array x is."""
        return x.device if self.name == "cupy" else nullcontext()

    def alone(self) -> AbstractContextManager[None]:
        """A context in which the backend computes on the calling thread alone."""
        from agauss.backends.cpu.threads import alone

        return alone() if self is NUMPY else nullcontext()

    def copy(self, x: Array, shape: Shape) -> Array:
        """x broadcast to a shape, as an array that shares no memory with it."""
        if self is NUMPY:
            return np.array(np.broadcast_to(x, shape))
        with self.on(x):  # CuPy's arithmetic loses subnormal numbers; PyTorch can differentiate this
            return self.xp.astype(self.xp.broadcast_to(x, shape), x.dtype)

    def to_numpy(self, arrays: Sequence[Array]) -> list[np.ndarray]:
        """The library's arrays as NumPy's; lazy ones are computed together, so that what they share is read once."""
        if self.name == "dask":
            from dask.base import compute

            arrays = compute(*arrays)
        if self.name == "torch":
            arrays = [a.detach().cpu() for a in arrays]
        return [a.get() if type(a).__module__.startswith("cupy") else np.asarray(a) for a in arrays]

    def halves(self, x: Array, first: Any, second: Any, axis: int) -> tuple[Array, Array]:
        """Two slices of an array that are its halves along an axis."""
        if self.name.startswith("jax"):
            from agauss.backends.jax.backend import halves

            return halves(x, first, second, axis)
        return x[first], x[second]

    def summed_to(self, a: Array, shape: Sequence[int], dtype: DType | None = None) -> Array:
        """An array added up over the axes along which one of a shape was broadcast, in a dtype or else its own."""
        dtype = a.dtype if dtype is None else dtype
        lead = a.ndim - len(shape)
        axes = tuple([k for k, n in enumerate(a.shape) if k < lead or n != shape[k - lead]])
        if axes:
            a = self.xp.reshape(self.xp.sum(a, axis=axes, dtype=self.widest), tuple(shape))
        return a if a.dtype == dtype else self.xp.astype(a, dtype)

    def shares_memory(self, a: Array, b: Array) -> bool:
        """Whether arrays of a library that fills may overlap."""
        return bool(self.xp.may_share_memory(a, b))

    def deliver(self, result: Array, out: Array | None) -> Array:
        """The result, in `out` where there is one."""
        if out is None or result is out:
            return result
        with self.on(out):
            out[...] = result
        return out


def _cpu() -> Backend:
    from agauss.backends.cpu import backend

    return backend


def _cuda() -> Backend:
    from agauss.backends.cuda.backend import Backend as Kernels
    from agauss.backends.cuda.device import CupyRuntime

    return Kernels(CupyRuntime())


def _of_namespace(xp: Namespace, name: str) -> Callable[[], Backend]:
    def load() -> Backend:
        if name == "jax":
            from agauss.backends.jax.backend import Traced

            return Traced(xp, name)
        from agauss.backends.array_api.backend import Reference

        return Reference(xp, name)

    return load


def _blocks() -> Backend:
    from agauss.backends.dask import Blocks

    return Blocks(library_of)


def _triangular(library: Library) -> Any:
    if library is NUMPY:
        from agauss.backends.cpu import triangular

        return triangular
    from agauss.backends.array_api.triangular import Triangular

    if library.name.startswith("jax"):
        from agauss.backends.jax.backend import solve_triangular

        return Triangular(library.xp, solve_triangular)
    if library.name == "cupy":
        from agauss.backends.cuda.triangular import solve_triangular

        return Triangular(library.xp, solve_triangular)
    return Triangular(library.xp)


READ_ONLY = ("jax", "dask", "autograd")  # libraries without arrays that can be written in place
DEVICELESS = ("dask", "autograd")
NUMPY = Library("numpy", np, _cpu, fills=True)
_libraries: dict[type, Library] = {np.ndarray: NUMPY, np.memmap: NUMPY}
PLANNED: dict[type, Library] = {np.ndarray: NUMPY}  # whose shape, strides and dtype are all that a plan needs to know


def library_of(x: object) -> Library | None:
    """The library that x, an array, belongs to; None where x is no array that can be used."""
    found = _libraries.get(type(x))
    return found if found is not None else _find(x)


def _find(x: object) -> Library | None:
    if isinstance(x, (np.ma.MaskedArray, np.generic, bool, int, float, complex, str, list, tuple, type(None))):
        return None  # a mask would be lost; scalars have no library of their own
    import array_api_compat

    if isinstance(x, np.ndarray):
        return NUMPY
    if not array_api_compat.is_array_api_obj(x):
        return None
    xp = array_api_compat.array_namespace(x)
    name = xp.__name__.removeprefix("array_api_compat.").partition(".")[0]
    load = {"cupy": _cuda, "dask": _blocks}.get(name) or _of_namespace(xp, name)
    found = Library(name, xp, load, fills=name == "cupy")
    if name == "cupy":
        PLANNED[type(x)] = found
    if not name.startswith("jax"):  # a tracer's type says nothing of the arrays to come
        _libraries[type(x)] = found
    return found


def add(kind: type, name: str, xp: Namespace) -> None:
    """Take arrays of a type that is not of the standard, by a namespace that completes it."""
    _libraries[kind] = Library(name, xp, _of_namespace(xp, name))


def namespace(xp: object) -> Library:
    """The library of a namespace given by the caller."""
    if xp is None or xp is np:
        return NUMPY
    found = _of_module(xp) if isinstance(xp, ModuleType) else None
    if found is None:
        module = f": pass the module itself, as xp={xp}" if isinstance(xp, str) else ""
        raise TypeError(f"xp must be a namespace of the array API standard; got {xp!r}{module}")
    return found


@lru_cache
def _of_module(xp: ModuleType) -> Library | None:
    return library_of(xp.asarray([0.0])) if hasattr(xp, "asarray") else None


def advice(backend: str, library: str) -> list[str]:
    """Where a faster path would be, for a step that has taken the slow one."""
    return [ADVICE[library]] if backend == "array-API form" and library in ADVICE else []


ADVICE = {
    "torch": "agauss.integrations.torch takes tensors to the Numba loops and the CUDA kernels",
}


def device_of(x: Array) -> Device:
    """Where an array is; None for libraries that know no device."""
    if isinstance(x, np.ndarray) or type(x).__module__.startswith(DEVICELESS):
        return None
    import array_api_compat

    return array_api_compat.device(x)


_numpy_names: dict[DType, str] = {}


def dtype_name(dtype: DType) -> str:
    """'float32' for any library's float32, and so on."""
    if not isinstance(dtype, np.dtype):
        return str(getattr(dtype, "name", dtype)).rpartition(".")[2]
    name = _numpy_names.get(dtype)
    if name is None:
        name = _numpy_names[dtype] = dtype.name if dtype.isnative else f"{dtype.name} in another byte order"
    return name


# Operands

OBSERVATIONS = ("x", "z")
_SCALARS = (np.float16, np.float32, np.float64)
HALF = ("float16", "bfloat16")
SINGLE_OR_DOUBLE = (np.dtype(np.float32), np.dtype(np.float64))  # NumPy's, which most calls come with


class Operands:
    """Arrays of one library, dtype and device, and the shape that they broadcast to."""

    __slots__ = ("arrays", "dtype", "library", "parameters", "shape")

    def __init__(self, library: Library, arrays: list[Array], shape: Shape) -> None:
        self.library = library
        self.arrays = arrays
        self.shape = shape
        self.dtype = arrays[0].dtype
        self.parameters: list[Array] = []  # an operation's numbers, as arrays of the wide dtype without dimensions

    @property
    def wide(self) -> DType:
        """The dtype of sums: float32 or wider."""
        if self.library is NUMPY and self.dtype in SINGLE_OR_DOUBLE:
            return self.dtype
        return self.library.xp.float32 if dtype_name(self.dtype) in HALF else self.dtype

    @property
    def device(self) -> Device:
        return device_of(self.arrays[0])

    @property
    def taken(self) -> list[Array]:
        """All that the operation's term takes but noise."""
        return [*self.arrays, *self.parameters] if self.parameters else self.arrays


def operands(names: Sequence[str], values: Sequence[Array | Number], parameters: Sequence[Number] = ()) -> Operands:
    """The arguments of an operation, and its parameters. Numbers take the dtype of the arrays beside them. Where there
    are none, NumPy's scalars have theirs, and Python's numbers alone are float64."""
    given = _arguments(names, values)
    if parameters:
        given.parameters = [like(p, given.library, given.arrays[0], given.wide) for p in parameters]
    return given


def _arguments(names: Sequence[str], values: Sequence[Array | Number]) -> Operands:
    first = values[0]
    if type(first) is np.ndarray and (first.dtype in SINGLE_OR_DOUBLE or dtype_name(first.dtype) in HALF):
        shape, dtype = first.shape, first.dtype
        for value in values:
            if type(value) is not np.ndarray or value.dtype is not dtype or value.shape != shape:
                return _operands(names, values)
        return Operands(NUMPY, list(values), shape)
    return _operands(names, values)


def _operands(names: Sequence[str], values: Sequence[Array | Number]) -> Operands:
    library: Library | None = None
    model: Array = None
    for name, value in x_last(names, values):
        if is_number(value):
            continue
        found = library_of(value)
        if found is None:
            raise TypeError(f"{name} must be an array or a real number; got {kind_of(value)}")
        floating(name, value.dtype)
        if library is None:
            library, model, model_name = found, value, name
            continue
        if found.name != library.name:
            libraries = f"{library.name}; got {found.name}"
            raise TypeError(f"{name} must be of the same library as {model_name}, {libraries}: convert one of the two")
        if value.dtype != model.dtype:
            dtypes = f"{dtype_name(model.dtype)}; got {dtype_name(value.dtype)}"
            raise TypeError(f"{name} must have the dtype of {model_name}, {dtypes}: convert one of the two")
        same_device(name, value, model_name, model)
    if library is None:
        dtype = np.result_type(*[type(value) for value in values if isinstance(value, _SCALARS)] or [np.float64])
        with np.errstate(all="ignore"):
            return Operands(NUMPY, [np.asarray(real(value), dtype=dtype) for value in values], ())
    arrays: list[Array] = [like(value, library, model) if is_number(value) else value for value in values]
    ordered, shapes = zip(*x_last(names, [tuple(a.shape) for a in arrays]), strict=True)
    return Operands(library, arrays, broadcast(ordered, shapes))


def x_last(names: Sequence[str], values: Sequence[Any]) -> list[tuple[str, Any]]:
    """Names and values in the order in which they are checked: it is the Gaussian that says what x, or z, must be."""
    pairs = list(zip(names, values, strict=True))
    return [*pairs[1:], pairs[0]] if names[0] in OBSERVATIONS else pairs


def real(number: Number) -> Number:
    """A number that has a float: an int beyond them all is infinite, as 1e400 is."""
    try:
        float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
    return number


def kind_of(value: object) -> str:
    """What came where an array was wanted, and what would make one of it."""
    name = type(value).__name__
    if isinstance(value, (list, tuple)):
        return f"{name}: np.asarray(..., dtype) makes an array of it"
    for method in ("to_numpy", "numpy"):
        if hasattr(value, method):
            return f"{name}: its {method}() is an array"
    return name


def whose(value: object) -> str:
    """What came where an array of a certain library was wanted."""
    found = library_of(value)
    return type(value).__name__ if found is None else f"an array of {found.name}"


def is_traced(a: Any) -> bool:
    """Whether JAX traces it: what is computed meanwhile is kept in a program, which may run many times."""
    return "jax" in sys.modules and isinstance(a, sys.modules["jax"].core.Tracer)


def is_number(value: object) -> TypeGuard[Number]:
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (float, int, np.floating, np.integer))


def same_device(name: str, value: Array, model_name: str, model: Array) -> None:
    device, other = device_of(model), device_of(value)
    if other != device and None not in (other, device):  # None: a tracer of JAX, which has no device yet
        raise ValueError(f"{name} must be on the device of {model_name}, {device}; got {other}")


def like(value: Number, library: Library, model: Array, dtype: DType | None = None) -> Array:
    """A number as an array without dimensions, of the model's dtype, if not of another, and on its device."""
    device = device_of(model)
    options = {} if device is None else {"device": device}
    with library.quiet():  # a number beyond the dtype is inf, or 0
        return library.xp.asarray(real(value), dtype=model.dtype if dtype is None else dtype, **options)


def floating(name: str, dtype: DType) -> str:
    """The dtype's name, where it is one that agauss computes with."""
    found = dtype_name(dtype)
    if found not in FLOATING:
        raise TypeError(f"{name} must have a floating dtype ({', '.join(FLOATING)}); got {found}")
    return found


def broadcast(names: Sequence[str], shapes: Sequence[Shape]) -> Shape:
    shape = shapes[0]
    for name, other in zip(names[1:], shapes[1:], strict=True):
        joined = broadcast_two(shape, other)
        if joined is None:
            raise ValueError(f"{name} must broadcast against {names[0]}; got shapes {shape} and {other}")
        shape = joined
    return shape


@remembered
def broadcast_two(a: Shape, b: Shape) -> Shape | None:
    if any(n is None or n != n for n in (*a, *b)):
        raise ValueError(f"shapes must be known; got {a} and {b} (Dask: call compute_chunk_sizes() first)")
    a, b = (1,) * (len(b) - len(a)) + a, (1,) * (len(a) - len(b)) + b
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        return None
    return tuple([n if m == 1 else m for m, n in zip(a, b, strict=True)])
