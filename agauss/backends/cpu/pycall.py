"""Where an array's data lie, and a loop as a function that Python calls in C: small calls are made again and again.

All that is read in objects is read here and in pycall_handler.py. Where they are not as expected, there is no such
function.
"""

import ctypes
import sys
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from agauss.backends.cpu import cache, kernels
from agauss.backends.cpu.descriptor import SIZE
from agauss.backends.cpu.pycall_frame import DATA, DTYPE, EXTENTS, MOST_WORDS, NDIM, STRIDES, TYPE

LONG_FROM = 2048  # elements from which on a call gives up the GIL
_FUNCTIONS = (
    "PyBool_FromLong",
    "PyBytes_FromStringAndSize",
    "PyErr_Clear",
    "PyErr_Occurred",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyLong_AsLongLong",
)
_SOURCES = [f"agauss.backends.cpu.{name}" for name in ("machine", "pycall_frame", "pycall_handler")]
_FASTCALL = 0x80  # METH_FASTCALL: the arguments in a vector
_SINGLE_OR_DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_functions: dict[str, kernels.Kernel] = {}


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("text", ctypes.c_char_p),
    )


def _is_as_expected() -> bool:
    """Whether an array's fields are where they are read."""
    if sys.implementation.name != "cpython" or not all(hasattr(ctypes.pythonapi, f) for f in _FUNCTIONS):
        return False
    a = np.empty((5, 3), np.float32)[1:, 1:]
    at, words = id(a), ctypes.c_ssize_t.from_address
    fields = words(at + DATA).value, words(at + TYPE).value, words(at + DTYPE).value
    if fields != (a.ctypes.data, id(np.ndarray), id(a.dtype)) or ctypes.c_int.from_address(at + NDIM).value != a.ndim:
        return False
    pairs = (EXTENTS, a.shape), (STRIDES, a.strides)
    return all(words(words(at + field).value + 8 * k).value == n for field, of in pairs for k, n in enumerate(of))


IS_AS_EXPECTED = _is_as_expected()


def _address_of(a: np.ndarray) -> int:
    return a.ctypes.data


def _address_in(a: np.ndarray) -> int:
    return _word_at(id(a) + DATA).value


# Read in the object, it takes a tenth of the time of a.ctypes.data.
_word_at = ctypes.c_ssize_t.from_address
address = _address_in if IS_AS_EXPECTED else _address_of


def forms(arrays: Sequence[np.ndarray]) -> Hashable | None:
    """The arrays' dtypes, shapes and strides; None where one is not NumPy's own."""
    return _forms()(*arrays) or _forms_of(*arrays)


@lru_cache
def _forms() -> Callable[..., Hashable | None]:
    if not IS_AS_EXPECTED:
        return _forms_of
    found: Callable[..., Hashable | None] = _function(
        "forms", np.array([id(np.ndarray), *map(id, _SINGLE_OR_DOUBLE)], np.int64)
    )
    return found


def _forms_of(*arrays: np.ndarray) -> Hashable | None:
    for a in arrays:
        if a.__class__ is not np.ndarray:
            return None
    return tuple([(a.shape, a.strides, a.dtype) for a in arrays])


def function_of(
    kernel: kernels.Kernel, template: np.ndarray, tasks: int, arrays: Sequence[Sequence[int]], sources: int, noisy: bool
) -> Callable[..., bool] | None:
    """A function of the arrays, and of a key's three words where it is noisy, that runs all of a kernel's tasks.

    It returns True. It returns False where it did nothing: an array is off its alignment, one to be read would be
    written, or a word is no integer. Each of `arrays` holds the four numbers of one. None where this cannot be done
    here.
    """
    if not IS_AS_EXPECTED or len(template) > MOST_WORDS:
        return None
    head = [kernel.address, tasks, len(arrays), sources, noisy, int(template[SIZE]) >= LONG_FROM, len(template)]
    plan = np.array([*head, *[n for array in arrays for n in array], *template], np.int64)
    found: Callable[..., bool] = _function("loop", plan)
    return found


_methods: dict[str, _Method] = {}  # kept for ever, for functions point to them


def _method(name: str) -> _Method:
    found = _methods.get(name)
    # Of several threads' the first is kept.
    return _methods.setdefault(name, _made(name)) if found is None else found


def _made(name: str) -> _Method:
    def named() -> tuple[object, ...]:
        return "pycall", name, DATA, *map(cache.source, _SOURCES)

    def compiled(key: str) -> Any:
        from agauss.backends.cpu import pycall_handler

        return getattr(pycall_handler, f"make_{name}")(key)

    found = kernels.made(_functions, name, named, compiled, arguments=3)
    return _Method(name.encode(), found.address, _FASTCALL, None)


def _function(name: str, words: np.ndarray) -> Any:
    """The function of a name, which has these words."""
    return _new(ctypes.addressof(_method(name)), words, None)


_new: Any = ctypes.pythonapi.PyCFunction_NewEx
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
