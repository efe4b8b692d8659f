"""What the tests of errors share: calls that are refused, and change nothing."""

import re

import ml_dtypes
import numpy as np
import pytest
import torch
from cases import PUBLIC
from oracles import EVERY_LIBRARY, LIBRARIES, array
from quick import slow_unless

import agauss as ag

Q = ag.DiagonalGaussianDistribution
libraries = pytest.mark.parametrize("library", LIBRARIES)


def state_of(value):
    """What must not change: the bits of arrays, the state of generators, and those inside tuples."""
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, (tuple, list)):
        return tuple(state_of(v) for v in value)
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.dtype != object else repr(value)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state())
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, torch.Tensor):
        return value._version, repr(value)
    return repr(value)


def assert_refused(call, *args, kinds=(TypeError, ValueError), says=(), **kwargs):
    """The call raises one of exactly these types, says each of the patterns in order, and touches no argument."""
    given = [*args, *kwargs.values()]
    before = [state_of(value) for value in given]
    what = f"{getattr(call, '__qualname__', call)}{args} {kwargs}"
    try:
        call(*args, **kwargs)
    except (TypeError, ValueError) as error:
        message, kind = str(error), type(error)
    else:
        raise AssertionError(f"{what} is accepted")
    assert kind in (kinds if isinstance(kinds, tuple) else (kinds,)), f"{what} raises {kind.__name__}: {message}"
    pattern = ".*".join(f"(?:{said})" for said in says)
    assert re.search(pattern, message, re.DOTALL), f"{what} says {message!r}, not {says}"
    assert [state_of(value) for value in given] == before, f"{what} changes what it is given"


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


PAIRS = [("numpy", "float16"), ("torch", "float16"), *((name, "float32") for name in EVERY_LIBRARY)]
library_and_dtype = pytest.mark.parametrize(
    ("library", "dtype"), slow_unless(lambda library, dtype: library != "jax", PAIRS), ids=map("-".join, PAIRS)
)

VJPS = [name for name in PUBLIC if name.endswith("_vjp")]


def taking(option):
    return [name for name, public in PUBLIC.items() if public.takes(option)]


def arguments(name, library="numpy", dtype="float32", shape=(2, 4)):
    public = PUBLIC[name]
    return [array(library, np.ones(shape), dtype) for _ in public.arguments], dict(public.options)


NOT_ARRAYS = {
    "None": (None, "NoneType"),
    "list": ([1.0, 2.0], "list"),
    "tuple": ((1.0, 2.0), "tuple"),
    "str": ("1.0", "str"),
    "complex": (1j, "complex"),
    "bool": (True, "bool"),
    "numpy bool": (np.True_, "bool"),
    "dict": ({}, "dict"),
    "masked": (np.ma.masked_array(np.ones((2, 4), np.float32), mask=np.eye(2, 4)), "MaskedArray"),
    "object": (object(), "object"),
}
OTHER_DTYPES = {
    "int32": np.ones((2, 4), np.int32),
    "int64": np.ones((2, 4), np.int64),
    "uint8": np.ones((2, 4), np.uint8),
    "bool": np.ones((2, 4), bool),
    "complex64": np.ones((2, 4), np.complex64),
    "complex128": np.ones((2, 4), np.complex128),
    "object": np.full((2, 4), 1.0, object),
    "str": np.full((2, 4), "1"),
    "datetime64": np.zeros((2, 4), "M8[s]"),
    "longdouble": np.ones((2, 4), np.longdouble),
    "big-endian float32": np.ones((2, 4), ">f4"),
    "big-endian float64": np.ones((2, 4), ">f8"),
    "big-endian float16": np.ones((2, 4), ">f2"),
    "structured": np.zeros((2, 4), [("a", "f4")]),
    "float8": np.ones((2, 4), ml_dtypes.float8_e4m3fn),
}
SAID = {  # how the dtype that came is spelt, where not by its name
    "str": r"str",
    "longdouble": r"(longdouble|float128|float96)",
    "big-endian float32": r"(>f4|float32.*byte order|big-endian)",
    "big-endian float64": r"(>f8|float64.*byte order|big-endian)",
    "big-endian float16": r"(>f2|float16.*byte order|big-endian)",
    "structured": r"(void|\[\()",
    "float8": "float8_e4m3fn",
}


names = pytest.mark.parametrize("name", PUBLIC)


def value_shape(name):
    """The shape of what is computed from arguments of shape (2, 4), with axis=1 where there is an axis."""
    if "parameters" in PUBLIC[name].arguments:
        return (2, 2)
    return (2,) if PUBLIC[name].case is not None and PUBLIC[name].case.sums else (2, 4)


FUSED_VJPS = [name for name in VJPS if "parameters" in PUBLIC[name].arguments]  # which return one array
# The shape of out; the other vjps take several.
OUT = {name: value_shape(name) for name in taking("out") if name not in VJPS} | dict.fromkeys(FUSED_VJPS, (2, 4))


def with_axis(name):
    args, options = arguments(name)
    if PUBLIC[name].case is not None and PUBLIC[name].case.sums:
        options["axis"] = 1
    for option in {"rng", "key"} & set(options) if name not in VJPS else ():
        options[option] = np.random.default_rng(3)  # which a refused call must not advance
    return args, options
