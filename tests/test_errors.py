"""Bad input is a TypeError or ValueError that names the argument, the requirement and what came; nothing is changed."""

import inspect
import re

import ml_dtypes
import numpy as np
import pytest
import torch
from cases import PUBLIC
from oracles import EVERY_LIBRARY, LIBRARIES, array, dtype_of, host, library_of
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
library_and_dtype = pytest.mark.parametrize(("library", "dtype"), PAIRS, ids=["-".join(pair) for pair in PAIRS])

VJPS = [name for name in PUBLIC if name.endswith("_vjp")]


def taking(option):
    return [name for name, public in PUBLIC.items() if public.takes(option)]


def arguments(name, library="numpy", dtype="float32", shape=(2, 4)):
    public = PUBLIC[name]
    return [array(library, np.ones(shape), dtype) for _ in public.arguments], dict(public.options)


def test_the_table_of_functions_holds_every_one_there_is():
    functions = {name for name in ag.__all__ if inspect.isfunction(getattr(ag, name))}
    assert functions - {"explain", "show_versions", "vjp"} == set(PUBLIC)


@libraries
@pytest.mark.parametrize("name", PUBLIC)
def test_the_calls_that_the_bad_ones_are_made_of_work(name, library):
    args, options = arguments(name, library)
    getattr(ag, name)(*args, **options)


# What is no array, or of a dtype that is not computed with

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


@names
def test_what_is_no_array_is_refused_by_name(name):
    function, arrays = PUBLIC[name][:2]
    for position, blamed in enumerate(arrays):
        for bad, came in NOT_ARRAYS.values():
            args, options = arguments(name)
            args[position] = bad
            says = (rf"\b{blamed}\b", "must", "got", came)
            if bad is None and function in (ag.kl, ag.kl_vjp) and position > 1:
                says = ("mean2|logvar2",)  # one of two that go together
            assert_refused(function, *args, kinds=(TypeError, ValueError)[: 1 + (bad is None)], says=says, **options)


@names
def test_other_dtypes_are_refused_by_name(name):
    function, arrays = PUBLIC[name][:2]
    for position, blamed in enumerate(arrays):
        for kind, bad in OTHER_DTYPES.items():
            args, options = arguments(name)
            args[position] = bad
            says = (rf"\b{blamed}\b", "must", "floating", "got", SAID.get(kind, kind))
            assert_refused(function, *args, kinds=TypeError, says=says, **options)


@names
def test_torch_tensors_of_other_dtypes_are_refused_by_name(name):
    function, arrays = PUBLIC[name][:2]
    for dtype in ("int64", "int32", "bool", "complex64"):
        args, options = arguments(name, "torch")
        args[-1] = args[-1].to(getattr(torch, dtype))
        says = (rf"\b{arrays[-1]}\b", "must", "floating", "got", dtype)
        assert_refused(function, *args, kinds=TypeError, says=says, **options)


def test_integers_beside_integers_are_refused_too():
    for function, names, options, _ in PUBLIC.values():
        args = [np.ones((2, 4), np.int64) for _ in names]
        first = min(names, key=lambda name: name == "x")
        assert_refused(function, *args, kinds=TypeError, says=(rf"\b{first}\b", "floating", "got int64"), **options)


mixable = pytest.mark.parametrize("name", [name for name in PUBLIC if len(PUBLIC[name].arguments) > 1])


def blamed_for(arrays, position):
    """The argument that a message names where the one at a position is the odd one, and whether that one comes first.

    The first is the model of the others, so the second is blamed for it; x, which the Gaussian is asked about, is last.
    """
    order = sorted(arrays, key=lambda name: name == "x")
    first = order[0] == arrays[position]
    return order[1] if first else arrays[position], first


@mixable
@libraries
def test_mixed_dtypes_are_refused(name, library):
    function, arrays = PUBLIC[name][:2]
    for position in range(len(arrays)):
        args, options = arguments(name, library)
        args[position] = array(library, np.ones((2, 4)), "float64")
        blamed, first = blamed_for(arrays, position)
        want, came = ("float64", "float32") if first else ("float32", "float64")
        says = (rf"\b{blamed}\b", "dtype", want, "got", came)
        assert_refused(function, *args, kinds=TypeError, says=says, **options)


@mixable
@pytest.mark.parametrize(
    "pair", [("numpy", "torch"), ("torch", "numpy"), ("numpy", "array_api_strict"), ("torch", "dask")]
)
def test_mixed_libraries_are_refused(name, pair):
    function, arrays = PUBLIC[name][:2]
    for position in range(len(arrays)):
        args, options = arguments(name, pair[0])
        args[position] = array(pair[1], np.ones((2, 4)), "float32")
        blamed, first = blamed_for(arrays, position)
        want, came = reversed(pair) if first else pair
        says = (rf"\b{blamed}\b", "library", want, "got", came)
        assert_refused(function, *args, kinds=TypeError, says=says, **options)


def test_mixed_devices_are_refused():
    meta = torch.ones(2, 4, device="meta")
    assert_refused(
        ag.kl, torch.ones(2, 4), meta, kinds=(TypeError, ValueError), says=("logvar", "device", "cpu", "got", "meta")
    )


@mixable
@libraries
def test_shapes_that_do_not_broadcast_are_refused(name, library):
    function, arrays = PUBLIC[name][:2]
    for position in range(len(arrays)):
        args, options = arguments(name, library)
        args[position] = array(library, np.ones((2, 3)), "float32")
        says = (rf"\b{blamed_for(arrays, position)[0]}\b", "broadcast", "got", r"(?=.*\(2, 3\))(?=.*\(2, 4\))")
        assert_refused(function, *args, kinds=ValueError, says=says, **options)


def test_the_message_for_shapes_is_the_one_of_the_design():
    with pytest.raises(ValueError, match=r"^logvar must broadcast against mean; got shapes \(4, 3\) and \(2,\)$"):
        ag.kl(ones(4, 3), ones(2))


def test_one_of_mean2_and_logvar2_alone_is_refused():
    mean = ones(2, 4)
    for function, options in ((ag.kl, {}), (ag.kl_vjp, {"cotangent": 1.0})):
        assert_refused(function, mean, mean, mean, says=("logvar2|mean2",), **options)
        assert_refused(function, mean, mean, None, mean, says=("logvar2|mean2",), **options)
        assert_refused(function, mean, mean, logvar2=0.0, says=("logvar2|mean2",), **options)


# Distributions


@libraries
@pytest.mark.parametrize("shape", [(), (4,)])
def test_parameters_of_fewer_than_two_dimensions_are_refused(library, shape):
    parameters = array(library, np.ones(shape), "float32")
    says = ("parameters", "2 dimensions", "got", re.escape(str(shape)))
    assert_refused(Q, parameters, kinds=ValueError, says=says)
    assert_refused(ag.sample_and_kl, parameters, rng=0, kinds=ValueError, says=says)
    assert_refused(ag.sample_and_kl_vjp, parameters, rng=0, cotangent=(1.0, 1.0), kinds=ValueError, says=says)
    assert_refused(Q.from_moments, parameters, kinds=ValueError, says=("moments", *says[1:]))


@libraries
def test_a_distribution_without_dimensions_is_refused(library):
    zero = array(library, np.zeros(()), "float32")
    for mean, logvar in ((zero, zero), (zero, 0.0), (1.0, 0.0)):
        assert_refused(Q.from_mean_logvar, mean, logvar, kinds=ValueError, says=("mean", "dimension", "got", r"\(\)"))


@libraries
@pytest.mark.parametrize("shape", [(2, 3), (2, 5, 4), (2, 7, 2, 2), (2, 1, 2, 2, 2)], ids=str)
def test_an_odd_channel_count_is_refused(library, shape):
    parameters = array(library, np.ones(shape), "float32")
    says = ("parameters", "even", "axis 1", "got", re.escape(str(shape)))
    assert_refused(Q, parameters, kinds=ValueError, says=says)
    assert_refused(ag.sample_and_kl, parameters, rng=0, kinds=ValueError, says=says)
    assert_refused(ag.sample_and_kl_vjp, parameters, rng=0, cotangent=(1.0, 1.0), kinds=ValueError, says=says)
    assert_refused(Q.from_moments, parameters, kinds=ValueError, says=("moments", *says[1:]))


@pytest.mark.parametrize("kind", list(NOT_ARRAYS))
def test_distributions_of_what_is_no_array_are_refused(kind):
    bad, came = NOT_ARRAYS[kind]
    assert_refused(Q, bad, kinds=TypeError, says=("parameters", "must", "got", came))
    assert_refused(Q.from_moments, bad, kinds=TypeError, says=("moments", "must", "got", came))
    assert_refused(Q.from_mean_logvar, bad, ones(2, 4), kinds=TypeError, says=("mean", "must", "got", came))
    assert_refused(Q.from_mean_logvar, ones(2, 4), bad, kinds=TypeError, says=("logvar", "must", "got", came))
    assert_refused(ag.DiracDistribution, bad, kinds=TypeError, says=("value", "must", "got", came))
    q = Q(ones(2, 4))
    if bad is not None:
        assert_refused(q.kl, bad, kinds=TypeError, says=("other", "must", "got", came))
    for deterministic in (False, True):
        q = Q(ones(2, 8), deterministic)
        assert_refused(q.nll, bad, kinds=TypeError, says=(r"\bx\b", "must", "got", came))
        assert_refused(q.log_prob, bad, kinds=TypeError, says=(r"\bx\b", "must", "got", came))


@pytest.mark.parametrize("kind", OTHER_DTYPES)
def test_distributions_of_other_dtypes_are_refused(kind):
    bad, came = OTHER_DTYPES[kind], SAID.get(kind, kind)
    assert_refused(Q, bad, kinds=TypeError, says=("parameters", "floating", "got", came))
    assert_refused(Q.from_moments, bad, kinds=TypeError, says=("moments", "floating", "got", came))
    assert_refused(Q.from_moments, bad, second="std", kinds=TypeError, says=("moments", "floating", "got", came))
    assert_refused(Q.from_mean_logvar, ones(2, 4), bad, kinds=TypeError, says=("logvar", "floating", "got", came))
    assert_refused(ag.DiracDistribution, bad, kinds=TypeError, says=("value", "floating", "got", came))
    for deterministic in (False, True):
        assert_refused(Q(ones(2, 8), deterministic).nll, bad, kinds=TypeError, says=(r"\bx\b", "floating", "got", came))


def test_a_distribution_as_a_distance_to_something_else_is_refused():
    q = Q(ones(2, 8))
    for deterministic in (False, True):
        q = Q(ones(2, 8), deterministic)
        for other, came in (
            (ones(2, 4), "ndarray"),
            (ag.DiracDistribution(ones(2, 4)), "DiracDistribution"),
            ("q", "str"),
        ):
            assert_refused(q.kl, other, kinds=TypeError, says=("other", "DiagonalGaussianDistribution", "got", came))


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("deterministic2", [False, True])
def test_two_distributions_that_do_not_fit_are_refused(deterministic, deterministic2):
    q = Q(ones(2, 8), deterministic)
    bad_shape, bad_dtype = Q(ones(2, 6), deterministic2), Q(ones(2, 8, dtype=np.float64), deterministic2)
    bad_library = Q(torch.ones(2, 8), deterministic2)
    with pytest.raises(ValueError, match=r"mean2 .*broadcast.*got.*\(2, 4\).*\(2, 3\)"):
        q.kl(bad_shape)
    with pytest.raises(TypeError, match=r"mean2 .*float32.*got float64"):
        q.kl(bad_dtype)
    with pytest.raises(TypeError, match=r"mean2 .*numpy.*got torch"):
        q.kl(bad_library)


@pytest.mark.parametrize("deterministic", [False, True])
def test_an_x_that_does_not_fit_the_distribution_is_refused(deterministic):
    q = Q(ones(2, 8), deterministic)
    for method in (q.nll, q.log_prob):
        assert_refused(method, ones(2, 3), kinds=ValueError, says=("x|mean", "broadcast", "got", r"\(2, 3\)|\(2, 4\)"))
        assert_refused(method, ones(2, 4, dtype=np.float64), kinds=TypeError, says=("x|mean", "dtype", "got", "float"))
        assert_refused(method, torch.ones(2, 4), kinds=TypeError, says=("x|mean", "library", "got", "torch|numpy"))


@pytest.mark.parametrize("second", ["sigma", "", "STD", None, 1, ["std"], b"std"], ids=repr)
def test_an_unknown_second_half_is_refused(second):
    says = ("second", '"?logvar"?.*"?std"?.*"?var"?', "got", re.escape(repr(second)))
    assert_refused(Q.from_moments, ones(2, 4), second=second, says=says)


# axis, dims, event_axes

AXES = [  # bad axes of two dimensions, and what the message says came
    (2, "2"),
    (-3, "-3"),
    (100, "100"),
    ((0, 2), r"\(0, 2\)"),
    ((0, 0), r"\(0, 0\)"),
    ((1, -1), r"\(1, -1\)"),
    (1.0, r"1\.0"),
    ((0, 1.0), r"\(0, 1\.0\)"),
    ("1", "'1'"),
    ((None,), r"\(None,\)"),
]


@pytest.mark.parametrize("name", [name for name in taking("axis") if "parameters" not in PUBLIC[name].arguments])
def test_bad_axes_are_refused(name):
    for axis, came in AXES:
        args, options = arguments(name)
        assert_refused(getattr(ag, name), *args, axis=axis, says=("axis", "must", "got", came), **options)


@pytest.mark.parametrize("axis", [2, -3, 1.0, "1", None, (0, 1)], ids=repr)
def test_bad_channel_axes_are_refused(axis):
    says = ("axis", "must", "got", re.escape(repr(axis)))
    generator = np.random.default_rng(0)
    assert_refused(ag.sample_and_kl, ones(2, 4), rng=generator, axis=axis, says=says)
    assert_refused(ag.sample_and_kl_vjp, ones(2, 4), rng=generator, cotangent=(1.0, 1.0), axis=axis, says=says)
    assert_refused(Q, ones(2, 4), axis=axis, says=says)
    assert_refused(Q.from_moments, ones(2, 4), axis=axis, says=says)


@pytest.mark.parametrize("deterministic", [False, True])
def test_bad_dims_and_event_axes_are_refused(deterministic):
    for axis, came in AXES:
        assert_refused(Q(ones(2, 8), deterministic).nll, ones(2, 4), dims=axis, says=("dims|axis", "got", came))
        assert_refused(Q, ones(2, 8), deterministic, event_axes=axis, says=("event_axes", "must", "got", came))


def test_what_is_refused_stays_refused_after_its_equal_was_accepted():
    # 1.0 == 1 == True: what a check remembers must not tell them apart by == alone.
    a = ones(2, 4)
    ag.kl(a, a, axis=(0, 1), bounds=(0, 1)), ag.kl(a, a, axis=1, bounds=(0.0, 1.0))
    for axis in (1.0, (0, 1.0), (0.0, 1.0), [0, 1.0]):
        assert_refused(ag.kl, a, a, axis=axis, kinds=TypeError, says=("axis", "got"))
    for bounds in ((False, True), (0, True), [False, True]):
        assert_refused(ag.kl, a, a, bounds=bounds, kinds=TypeError, says=("bounds", "got"))
    ag.sample(a, a, rng=0, sample_shape=(2, 1))
    for sample_shape in (1.0, (2, 1.0), (2.0, 1)):
        assert_refused(ag.sample, a, a, rng=0, sample_shape=sample_shape, kinds=TypeError, says=("sample_shape", "got"))


def test_a_list_of_axes_is_as_good_as_a_tuple():
    mean = ones(2, 3, 4)
    np.testing.assert_array_equal(ag.kl(mean, mean, axis=[0, 2]), ag.kl(mean, mean, axis=(0, 2)))


# out=


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


@pytest.mark.parametrize("name", OUT)
def test_an_out_that_fits_is_filled_and_returned(name):
    args, options = with_axis(name)
    out = np.full(OUT[name], np.nan, np.float32)
    result = getattr(ag, name)(*args, out=out, **options)
    result = result[0] if isinstance(result, tuple) else result
    assert result is out
    assert not np.any(np.isnan(out))


@pytest.mark.parametrize("name", OUT)
def test_an_out_of_another_shape_is_refused(name):
    args, options = with_axis(name)
    for shape in ((), (3,), (*OUT[name], 1), (1, *OUT[name]), tuple(n + 1 for n in OUT[name])):
        says = ("out", "shape", re.escape(str(OUT[name])), "got", re.escape(str(shape)))
        assert_refused(getattr(ag, name), *args, out=ones(*shape), kinds=ValueError, says=says, **options)


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "complex64", ">f4"])
def test_an_out_of_another_dtype_is_refused(name, dtype):
    args, options = with_axis(name)
    came = "byte order|>f4|big-endian" if dtype == ">f4" else dtype
    says = ("out", "dtype", "float32", "got", came)
    assert_refused(getattr(ag, name), *args, out=np.ones(OUT[name], dtype), kinds=TypeError, says=says, **options)


@pytest.mark.parametrize("name", OUT)
def test_an_out_of_another_library_or_of_none_is_refused(name):
    args, options = with_axis(name)
    for out, came in (
        (torch.ones(OUT[name]), "torch|Tensor"),
        (np.ones(OUT[name], np.float32).tolist(), "list"),
        ("out", "str"),
        (np.ma.masked_array(ones(*OUT[name])), "MaskedArray"),
    ):
        says = ("out", "numpy", "got", came)
        assert_refused(getattr(ag, name), *args, out=out, kinds=TypeError, says=says, **options)
    args = [array("torch", a) for a in args]
    says = ("out", "torch", "got", "numpy|ndarray")
    assert_refused(getattr(ag, name), *args, out=ones(*OUT[name]), kinds=TypeError, says=says, **options)


@pytest.mark.parametrize("name", OUT)
def test_a_read_only_out_is_refused(name):
    args, options = with_axis(name)
    out = ones(*OUT[name])
    out.flags.writeable = False
    assert_refused(
        getattr(ag, name), *args, out=out, kinds=ValueError, says=("out", "writ", "got", "read-only"), **options
    )


@pytest.mark.parametrize("library", ["jax", "dask"])
@pytest.mark.parametrize("name", OUT)
def test_an_out_that_cannot_be_written_in_place_is_refused(name, library):
    args, options = with_axis(name)
    args = [array(library, a) for a in args]
    out = array(library, ones(*OUT[name]))
    assert_refused(getattr(ag, name), *args, out=out, kinds=TypeError, says=("out", library), **options)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_bad_out_of_a_distributions_sample_is_refused_before_anything_is_drawn(deterministic):
    q = Q(ones(2, 8), deterministic)
    generator = np.random.default_rng(3)
    bad = {
        "shape": ones(2, 3),
        "dtype": ones(2, 4, dtype=np.float64),
        "torch|Tensor": torch.ones(2, 4),
        "read-only": np.broadcast_to(np.float32(1), (2, 4)),
    }
    for came, out in bad.items():
        assert_refused(q.sample, generator, out=out, says=("out", came))
        assert_refused(q.sample_and_kl, generator, out=out, says=("out", came))
    assert_refused(q.sample, generator, sample_shape=3, out=ones(2, 4), kinds=ValueError, says=("out", r"\(3, 2, 4\)"))


# index=

INDEXES = {
    "negative": (np.array([0, -1]), ValueError, "-1"),
    "negative list": ([0, -1], ValueError, "-1"),
    "float": (np.array([0.0, 1.0]), TypeError, "float64"),
    "float list": ([0.0, 1.5], TypeError, "float"),
    "bool": (np.array([True, False]), TypeError, "bool"),
    "complex": (np.array([0j, 1j]), TypeError, "complex128"),
    "object": (np.array([0, 1], object), TypeError, "object"),
    "str": ("01", (TypeError, ValueError), "str"),
    "too short": (np.array([0]), ValueError, r"\(1,\)"),
    "too long": (np.array([0, 1, 2]), ValueError, r"\(3,\)"),
    "empty": (np.array([], np.int64), ValueError, r"\(0,\)"),
    "number": (3, ValueError, r"\(\)"),
    "two dimensions": (np.array([[0], [1]]), ValueError, r"\(2, 1\)"),
    "words of another dtype": (np.array([[0, 0], [1, 0]], np.int32), ValueError, r"\(2, 2\), int32"),
    "three words": (np.zeros((2, 3), np.uint32), ValueError, r"\(2, 3\), uint32"),
    "ragged": ([[0], [1, 2]], (TypeError, ValueError), ""),
    "masked": (np.ma.masked_array([0, 1], mask=[0, 1]), TypeError, "MaskedArray"),
}


@libraries
@pytest.mark.parametrize("kind", INDEXES)
def test_a_bad_index_is_refused(library, kind):
    index, kinds, came = INDEXES[kind]
    for name in taking("index"):
        args, options = arguments(name, library)
        if "vjp" not in name:
            options["rng"] = np.random.default_rng(3)
        says = ("index", "must", "got", came)
        assert_refused(getattr(ag, name), *args, index=index, kinds=kinds, says=says, **options)


@pytest.mark.parametrize("name", taking("index"))
def test_a_bad_index_of_torch_is_refused(name):
    args, options = arguments(name, "torch")
    for index, kinds, came in (
        (torch.tensor([0.0, 1.0]), TypeError, "float32"),
        (torch.tensor([True, False]), TypeError, "bool"),
        (torch.tensor([0, 1, 2]), ValueError, r"\(3,\)"),
    ):
        assert_refused(
            getattr(ag, name), *args, index=index, kinds=kinds, says=("index", "must", "got", came), **options
        )
    args, options = arguments(name, "numpy")
    says = ("index", "must", "got", "torch|Tensor")
    assert_refused(getattr(ag, name), *args, index=torch.tensor([0, 1]), kinds=TypeError, says=says, **options)


@libraries
def test_ids_of_any_integer_kind_are_the_same_ids(library):
    mean = array(library, np.zeros((3, 4)), "float32")
    want = host(ag.sample(mean, mean, rng=0, index=[5, 0, 200]))
    for kind in (np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64):
        got = host(ag.sample(mean, mean, rng=0, index=np.array([5, 0, 200], kind)))
        np.testing.assert_array_equal(got, want)
    for ids in ((5, 0, 200), array(library, np.array([5, 0, 200]))):
        np.testing.assert_array_equal(host(ag.sample(mean, mean, rng=0, index=ids)), want)
    assert tuple(ag.sample(mean[:0], mean[:0], rng=0, index=[]).shape) == (0, 4)


@pytest.mark.parametrize("library", [name for name in EVERY_LIBRARY if name != "jax"])  # test_jax.py has those of JAX
def test_ids_of_two_words_are_those_of_64_bits(library):
    ids = np.array([2**64 - 1, 2**40 + 2**31, 3], np.uint64)
    words = np.stack([ids & np.uint64(2**32 - 1), ids >> np.uint64(32)], axis=1).astype(np.uint32)
    mean = array(library, np.zeros((3, 4)), "float32")
    want = ag.sample(np.zeros((3, 4), np.float32), 0.0, rng=0, index=ids)
    for given in (words, array(library, words)):
        np.testing.assert_array_equal(host(ag.sample(mean, mean, rng=0, index=given)), want)
        assert ag.sample(mean[:0, :], mean[:0, :], rng=0, index=given[:0, :]).shape == (0, 4)


def test_an_index_for_arrays_without_a_first_axis_is_refused():
    assert_refused(
        ag.sample,
        np.float32(1) + ones(),
        ones(),
        rng=0,
        index=[0],
        kinds=ValueError,
        says=("index", r"no dimensions|\(\)|\[0\]"),
    )


# rng=

RNGS = {
    "str": ("7", "str|'7'"),
    "float": (7.0, "float|7.0"),
    "bool": (True, "bool|True"),
    "numpy bool": (np.True_, "bool|True"),
    "list": ([7], r"list|\[7\]"),
    "array": (np.array([7]), "ndarray"),
    "bytes": (b"7", "bytes|b'7'"),
    "RandomState": (np.random.RandomState(7), "RandomState"),
    "bit generator": (np.random.PCG64(7), "PCG64"),
    "torch generator": (torch.Generator(), "Generator"),
    "class": (np.random.Generator, "type"),
}
SEEDS = {-1: "-1", -(2**70): "-1180591620717411303424", 2**64: "18446744073709551616", 2**200: str(2**200)}


@pytest.mark.parametrize("name", taking("rng"))
def test_an_rng_of_a_wrong_kind_is_refused(name):
    for rng, came in RNGS.values():
        args, options = arguments(name)
        options["rng"] = rng
        assert_refused(getattr(ag, name), *args, kinds=TypeError, says=("rng", "must", "got", came), **options)


@pytest.mark.parametrize("name", taking("rng"))
def test_a_seed_that_does_not_fit_64_bits_is_refused(name):
    for seed, came in SEEDS.items():
        args, options = arguments(name)
        options["rng"] = seed
        assert_refused(getattr(ag, name), *args, kinds=ValueError, says=("rng|seed", "must", "got", came), **options)


def test_random_normal_refuses_what_sample_refuses():
    for rng, came in RNGS.values():
        assert_refused(ag.random.normal, 3, rng=rng, kinds=TypeError, says=("rng", "must", "got", came))
    for seed, came in SEEDS.items():
        assert_refused(ag.random.normal, 3, rng=seed, kinds=ValueError, says=("rng|seed", "must", "got", came))
    generator = np.random.default_rng(0)
    for shape, came in (
        ((-1,), r"\(-1,\)"),
        (-2, "-2"),
        (1.5, "1.5"),
        ("3", "'3'"),
        ((2, 1.0), r"\(2, 1\.0\)"),
        (None, "None"),
    ):
        assert_refused(ag.random.normal, shape, rng=generator, says=("shape", "must", "got", came))
    for dtype, came in (
        ("int32", "int32"),
        ("complex64", "complex64"),
        ("floaty", "floaty"),
        (np.int64, "int64"),
        (">f4", "f4|byte order"),
    ):
        assert_refused(ag.random.normal, 3, rng=generator, dtype=dtype, kinds=TypeError, says=("dtype", "got", came))
    says = ("out", "shape", r"\(3,\)", "got", r"\(2,\)")
    assert_refused(ag.random.normal, 3, rng=generator, out=ones(2), kinds=ValueError, says=says)
    assert_refused(
        ag.random.normal, 3, rng=generator, out=ones(3, dtype=np.float64), kinds=TypeError, says=("out", "float64")
    )


@pytest.mark.parametrize("seed", [-1, 2**64, -(2**64)], ids=str)
def test_a_key_refuses_a_seed_that_does_not_fit(seed):
    assert_refused(ag.random.Key, seed, kinds=ValueError, says=("seed", "must", "got", str(seed)))


@pytest.mark.parametrize("stream", [-1, 2**32], ids=str)
def test_a_key_refuses_a_stream_that_does_not_fit(stream):
    assert_refused(ag.random.Key, 0, stream, kinds=ValueError, says=("stream", "must", "got", str(stream)))
    assert_refused(ag.random.Key, 0, 1.0, kinds=TypeError, says=("stream", "must", "got", r"1\.0|float"))
    assert_refused(ag.random.Key, 1.5, kinds=TypeError, says=("seed", "must", "got", r"1\.5|float"))
    assert_refused(ag.random.Key, "7", kinds=TypeError, says=("seed", "must", "got", "'7'|str"))
    assert_refused(ag.random.Key, True, kinds=TypeError, says=("seed", "must", "got", "True|bool"))


def test_fold_in_refuses_what_is_no_count():
    key = ag.random.Key(7)
    for n, kinds, came in (
        (-1, ValueError, "-1"),
        (1.5, TypeError, r"1\.5|float"),
        ("1", TypeError, "'1'|str"),
        (None, TypeError, "None"),
    ):
        assert_refused(key.fold_in, n, kinds=kinds, says=(r"\bn\b", "must", "got", came))


@pytest.mark.parametrize(
    ("counter", "key", "kinds", "says"),
    [
        (np.zeros(4, np.int64), np.zeros(2, np.uint32), TypeError, ("counter", "uint32", "got", "int64")),
        (np.zeros(4, np.uint32), np.zeros(2, np.uint64), TypeError, ("key", "uint32", "got", "uint64")),
        ([0, 0, 0, 0], np.zeros(2, np.uint32), TypeError, ("counter", "uint32", "got", "list")),
        (np.zeros(3, np.uint32), np.zeros(2, np.uint32), ValueError, ("counter", "4", "got", r"\(3,\)")),
        (np.zeros(4, np.uint32), np.zeros(4, np.uint32), ValueError, ("key", "2", "got", r"\(4,\)")),
        (np.zeros((), np.uint32), np.zeros(2, np.uint32), ValueError, ("counter", "4", "got", r"\(\)")),
        (
            np.zeros((3, 4), np.uint32),
            np.zeros((2, 2), np.uint32),
            ValueError,
            ("key", "broadcast", "got", r"\(3,.*\(2,"),
        ),
    ],
    ids=lambda v: "",
)
def test_philox_refuses_other_words(counter, key, kinds, says):
    assert_refused(ag.random.philox4x32, counter, key, kinds=kinds, says=says)


# bounds=

BOUNDS = {
    "reversed": ((20.0, -30.0), ValueError, r"20\.0, -30\.0"),
    "equal": ((1.0, 1.0), ValueError, r"1\.0, 1\.0"),
    "NaN low": ((np.nan, 1.0), ValueError, "nan"),
    "NaN high": ((0.0, np.nan), ValueError, "nan"),
    "unknown kind": ("harder", ValueError, "harder"),
    "unknown kind of three": ((-1.0, 1.0, "elastic"), ValueError, "elastic"),
    "kind of a wrong type": ((-1.0, 1.0, 3), (TypeError, ValueError), "3"),
    "unhashable kind": ((-1.0, 1.0, ["hard"]), (TypeError, ValueError), "hard"),
    "one": ((1.0,), (TypeError, ValueError), r"1\.0"),
    "four": ((1.0, 2.0, "hard", 4), (TypeError, ValueError), "hard"),
    "none": ((), (TypeError, ValueError), r"\(\)"),
    "number": (20.0, TypeError, r"20\.0"),
    "bool": (True, TypeError, "True"),
    "strings": (("a", "b"), TypeError, "'a'"),
    "None inside": ((None, 20.0), TypeError, "None"),
    "complex": ((0j, 1j), TypeError, "0j"),
    "bools": ((False, True), TypeError, "False"),
    "infinite soft": ((-np.inf, 20.0, "soft"), ValueError, "inf"),
}


@pytest.mark.parametrize("kind", BOUNDS)
def test_bad_bounds_are_refused(kind):
    bounds, kinds, came = BOUNDS[kind]
    for name in taking("bounds"):
        args, options = arguments(name)
        options["bounds"] = bounds
        if "rng" in options:
            options["rng"] = np.random.default_rng(0)
        assert_refused(getattr(ag, name), *args, kinds=kinds, says=("bounds", "must", "got", came), **options)


@pytest.mark.parametrize("kind", BOUNDS)
def test_bad_bounds_of_the_second_and_of_distributions_are_refused(kind):
    bounds, kinds, came = BOUNDS[kind]
    says = ("bounds", "must", "got", came)
    a = ones(2, 4)
    assert_refused(ag.kl, a, a, a, a, bounds2=bounds, kinds=kinds, says=("bounds2", *says[1:]))
    assert_refused(ag.kl_vjp, a, a, a, a, bounds2=bounds, cotangent=1.0, kinds=kinds, says=("bounds2", *says[1:]))
    assert_refused(Q, a, bounds=bounds, kinds=kinds, says=says)
    assert_refused(Q.from_mean_logvar, a, a, bounds=bounds, kinds=kinds, says=says)
    assert_refused(Q.from_moments, a, bounds=bounds, kinds=kinds, says=says)


# cotangent=

GRADIENTS = {name: value_shape(name) for name in VJPS if name not in FUSED_VJPS}  # the shape of the cotangent


def vjp_call(name, library="numpy"):
    args, options = arguments(name, library)
    if PUBLIC[name].case.sums:
        options["axis"] = 1
    del options["cotangent"]
    return args, options


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_outs_of_a_vjp_are_an_array_that_fits_for_each_argument(name):
    args, options = vjp_call(name)
    fitting = [np.full((2, 4), np.nan, np.float32) for _ in args]
    for outs in (fitting[0], fitting[1:], [*fitting, fitting[0]], "no", 3):
        assert_refused(
            getattr(ag, name), *args, cotangent=1.0, out=outs, kinds=TypeError, says=("out", "got"), **options
        )
    for wrong, kinds in ((ones(4, 2), ValueError), (ones(2, 4, dtype=np.float64), TypeError), (None, TypeError)):
        outs = [*fitting[1:], wrong]
        assert_refused(getattr(ag, name), *args, cotangent=1.0, out=outs, kinds=kinds, says=("out", "got"), **options)
    got = getattr(ag, name)(*args, cotangent=1.0, out=fitting, **options)
    assert all(g is out for g, out in zip(got, fitting, strict=True))
    assert not any(np.isnan(out).any() for out in fitting)


@libraries
@pytest.mark.parametrize("name", GRADIENTS)
def test_a_cotangent_of_another_shape_is_refused(name, library):
    args, options = vjp_call(name, library)
    for shape in ((3,), (2, 3), (1, *GRADIENTS[name]), (*GRADIENTS[name], 1), (5, *GRADIENTS[name]), (0,)):
        cotangent = array(library, np.ones(shape), "float32")
        says = ("cotangent", "shape", re.escape(str(GRADIENTS[name])), "got", re.escape(str(shape)))
        assert_refused(getattr(ag, name), *args, cotangent=cotangent, kinds=ValueError, says=says, **options)


@libraries
@pytest.mark.parametrize("name", GRADIENTS)
def test_a_cotangent_of_another_dtype_is_refused(name, library):
    args, options = vjp_call(name, library)
    for dtype in ("float64", "float16", "int64", "bool", "complex64"):
        cotangent = array(library, np.ones(GRADIENTS[name]), dtype)
        says = ("cotangent", "dtype", "float32", "got", dtype)
        assert_refused(getattr(ag, name), *args, cotangent=cotangent, kinds=TypeError, says=says, **options)


@pytest.mark.parametrize("name", GRADIENTS)
def test_what_is_no_cotangent_is_refused(name):
    args, options = vjp_call(name)
    for cotangent, came in (
        (None, "NoneType"),
        ([1.0, 1.0], "list"),
        ("1", "str"),
        (True, "bool"),
        (1j, "complex"),
        (torch.ones(GRADIENTS[name]), "torch|Tensor"),
        (np.ma.masked_array(ones(*GRADIENTS[name])), "MaskedArray"),
    ):
        says = ("cotangent", "must", "got", came)
        assert_refused(getattr(ag, name), *args, cotangent=cotangent, kinds=TypeError, says=says, **options)


def test_the_cotangent_of_a_half_precision_sum_is_float32():
    mean = np.ones((2, 4), np.float16)
    says = ("cotangent", "float32", "got", "float16")
    assert_refused(ag.kl_vjp, mean, mean, axis=1, cotangent=np.ones(2, np.float16), kinds=TypeError, says=says)
    says = ("cotangent", "float16", "got", "float32")
    assert_refused(ag.sample_vjp, mean, mean, rng=0, cotangent=ones(2, 4), kinds=TypeError, says=says)


BAD_PAIRS = {
    "d_z shape": ((ones(2, 3), ones(2)), ValueError, (r"d_z|cotangent", r"\(2, 2\)", "got", r"\(2, 3\)")),
    "d_kl shape": ((ones(2, 2), ones(3)), ValueError, (r"d_kl|cotangent", r"\(2,\)", "got", r"\(3,\)")),
    "d_z dtype": ((ones(2, 2, dtype=np.float64), ones(2)), TypeError, ("d_z|cotangent", "float32", "got", "float64")),
    "d_kl dtype": ((ones(2, 2), ones(2, dtype=np.int32)), TypeError, ("d_kl|cotangent", "float32", "got", "int32")),
    "d_z None": ((None, 1.0), TypeError, ("d_z|cotangent", "must", "got", "None")),
    "d_kl str": ((1.0, "1"), TypeError, ("d_kl|cotangent", "must", "got", "str")),
    "d_z torch": ((torch.ones(2, 2), 1.0), TypeError, ("d_z|cotangent", "numpy", "got", "torch|Tensor")),
    "one alone": ((ones(2, 2),), (TypeError, ValueError), ("cotangent", "must", "got")),
    "three": ((1.0, 1.0, 1.0), (TypeError, ValueError), ("cotangent", "must", "got")),
    "array": (ones(2, 2), (TypeError, ValueError), ("cotangent", "must", "got")),
    "None": (None, (TypeError, ValueError), ("cotangent", "must", "got", "None")),
    "number": (1.0, (TypeError, ValueError), ("cotangent", "must", "got", r"1\.0|float")),
    "str": ("ab", (TypeError, ValueError), ("cotangent|d_z", "must", "got", "ab|str")),
}


@pytest.mark.parametrize("kind", BAD_PAIRS)
def test_bad_cotangents_of_sample_and_kl_are_refused(kind):
    pair, kinds, says = BAD_PAIRS[kind]
    out = np.full((2, 4), 5, np.float32)
    assert_refused(ag.sample_and_kl_vjp, ones(2, 4), cotangent=pair, rng=0, out=out, kinds=kinds, says=says)


@pytest.mark.parametrize("name", VJPS)
def test_a_vjp_without_its_cotangent_is_refused(name):
    args, options = arguments(name)
    del options["cotangent"]
    with pytest.raises(TypeError, match="cotangent"):
        getattr(ag, name)(*args, **options)


# vjp, sample_shape


def test_the_vjp_of_what_has_none_is_refused():
    for op in (ag.saturated, ag.kl_vjp, np.exp, len, Q):
        assert_refused(ag.vjp, op, ones(2, 4), says=("op", "must", "got", op.__name__))
    for op in ("kl", None, 3):
        assert_refused(ag.vjp, op, ones(2, 4), says=("op", "must", "got", repr(op)))


@libraries
def test_vjp_refuses_what_the_operation_refuses(library):
    a = array(library, np.ones((2, 4)), "float32")
    assert_refused(ag.vjp, ag.kl, a, array(library, np.ones((2, 3)), "float32"), says=("logvar", "broadcast"))
    assert_refused(ag.vjp, ag.kl, a, a, axis=2, says=("axis", "got 2"))
    generator = np.random.default_rng(0)
    assert_refused(ag.vjp, ag.sample, a, a, rng="7", kinds=TypeError, says=("rng", "got"))
    _, pullback = ag.vjp(ag.sample, a, a, rng=generator)
    before = generator.bit_generator.state
    assert_refused(
        pullback, array(library, np.ones((2, 3)), "float32"), says=("cotangent", r"\(2, 4\)", "got", r"\(2, 3\)")
    )
    assert generator.bit_generator.state == before


@pytest.mark.parametrize(
    ("sample_shape", "kinds", "came"),
    [
        (-1, ValueError, "-1"),
        ((2, -1), ValueError, r"\(2, -1\)"),
        (1.0, TypeError, r"1\.0"),
        ((2, 1.5), TypeError, r"\(2, 1\.5\)"),
        ("2", TypeError, "'2'"),
        (None, TypeError, "None"),
    ],
    ids=repr,
)
def test_bad_sample_shapes_are_refused_before_anything_is_drawn(sample_shape, kinds, came):
    generator = np.random.default_rng(3)
    mean, says = ones(2, 4), ("sample_shape", "must", "got", came)
    assert_refused(ag.sample, mean, mean, rng=generator, sample_shape=sample_shape, kinds=kinds, says=says)
    assert_refused(
        ag.sample_vjp, mean, mean, rng=generator, cotangent=1.0, sample_shape=sample_shape, kinds=kinds, says=says
    )
    for deterministic in (False, True):
        q = Q(ones(2, 8), deterministic)
        assert_refused(q.sample, generator, sample_shape=sample_shape, kinds=kinds, says=says)


def test_more_draws_than_there_are_numbers_for_are_refused_before_any_memory_is_asked_for():
    generator = np.random.default_rng(3)
    mean, count = ones(2, 4), (2**20, 2**20)
    says = ("sample_shape", "must", "got", re.escape(str(count)))
    assert_refused(ag.sample, mean, mean, rng=generator, sample_shape=count, kinds=ValueError, says=says)
    assert_refused(Q(ones(2, 8)).sample, generator, sample_shape=count, kinds=ValueError, says=says)


def test_random_normal_refuses_what_is_no_namespace():
    assert_refused(ag.random.normal, 3, rng=0, xp="numpy", kinds=TypeError, says=("xp", "must", "got", "numpy"))
    assert_refused(ag.random.normal, 3, rng=0, xp=3, kinds=TypeError, says=("xp", "must", "got", "3"))


# Empty, without dimensions, one element

# (parameters' shape, axis)
EMPTY = [
    ((0, 4), 1),
    ((0, 4, 3, 3), 1),
    ((2, 0), 1),
    ((2, 0, 3, 3), 1),
    ((2, 4, 0, 3), 1),
    ((0, 0, 0, 0), 1),
    ((0, 4), 0),
]


# JAX compiles for every shape, so it gets fewer.
@pytest.mark.parametrize(
    ("library", "shape", "axis"),
    [(name, *case) for name in EVERY_LIBRARY for case in (EMPTY[1:4] if name == "jax" else EMPTY)],
    ids=str,
)
def test_empty_distributions_give_results_of_the_right_shape(library, shape, axis):
    q = Q(array(library, np.ones(shape), "float32"), axis=axis)
    mean_shape = list(shape)
    mean_shape[axis] //= 2
    mean_shape = tuple(mean_shape)
    batch = mean_shape[:1]
    for value in (q.mean, q.logvar, q.std, q.var, q.mode(), q.sample(rng=0)):
        assert tuple(value.shape) == mean_shape
        assert dtype_of(value) == "float32"
    for value in (q.kl(), q.kl(q), q.nll(q.mean), q.log_prob(q.mean), q.entropy(), q.sample_and_kl(rng=0)[1]):
        assert tuple(value.shape) == batch
        assert dtype_of(value) == "float32"
        np.testing.assert_array_equal(host(value), np.zeros(batch))  # the sum of nothing
    assert tuple(q.sample(rng=0, sample_shape=(3, 2)).shape) == (3, 2, *mean_shape)
    assert tuple(q.sample(rng=0, sample_shape=0).shape) == (0, *mean_shape)
    np.testing.assert_array_equal(host(q.saturated()), np.zeros(batch))


@libraries
@pytest.mark.parametrize(("shape", "axis"), EMPTY, ids=str)
def test_empty_gradients_have_the_shape_of_their_arguments(library, shape, axis):
    a = array(library, np.ones(shape), "float32")
    for gradients in (
        ag.kl_vjp(a, a, cotangent=1.0),
        ag.kl_vjp(a, a, a, 0.0, cotangent=1.0)[:3],
        ag.nll_vjp(a, a, a, cotangent=1.0, axis=()),
        ag.sample_vjp(a, a, cotangent=1.0, rng=0),
        ag.std_vjp(a, cotangent=1.0),
        (ag.sample_and_kl_vjp(a, cotangent=(1.0, 1.0), rng=0, axis=axis),),
    ):
        for gradient in gradients:
            assert tuple(gradient.shape) == shape
            assert dtype_of(gradient) == "float32"
    # What was broadcast into nothing gets the sum of nothing.
    d_number = ag.nll_vjp(a, 0.0, 0.0, cotangent=1.0)[1]
    assert tuple(d_number.shape) == ()
    assert float(host(d_number)) == 0


@library_and_dtype
def test_arrays_without_dimensions_work(library, dtype):
    one, zero = array(library, np.ones(()), dtype), array(library, np.zeros(()), dtype)
    wide = "float32"
    for value, true in (
        (ag.kl(one, zero), 0.5),
        (ag.kl(one, zero, axis=()), 0.5),
        (ag.kl(one, zero, zero, zero), 0.5),
        (ag.normal_kl(one, zero, zero, zero), 0.5),
        (ag.nll(one, one, zero), 0.9189385),
        (ag.log_prob(one, one, zero), -0.9189385),
        (ag.entropy(zero), 1.4189385),
        (ag.std(zero), 1.0),
        (ag.var(zero), 1.0),
    ):
        assert tuple(value.shape) == ()
        assert library_of(value) == library
        assert dtype_of(value) == wide
        assert abs(float(host(value)) - true) < 1e-6
    for value in (ag.mode(one, zero), ag.sample(one, zero, rng=0), ag.clamp(one, bounds="hard")):
        assert tuple(value.shape) == ()
        assert dtype_of(value) == dtype
    for gradient in (*ag.kl_vjp(one, zero, cotangent=1.0), *ag.sample_vjp(one, zero, cotangent=1.0, rng=0)):
        assert tuple(gradient.shape) == ()
        assert dtype_of(gradient) == dtype


def test_numbers_alone_give_float64():
    assert float(ag.kl(1.0, 0.0)) == 0.5
    assert ag.kl(1, 0).dtype == np.float64
    assert ag.normal_kl(1, 0, 0, 0).dtype == np.float64
    assert ag.sample(0.0, 0.0, rng=0).dtype == np.float64
    assert ag.sample(0.0, 0.0, rng=0).shape == ()


def test_a_number_beside_float32_leaves_it_float32():
    assert ag.kl(ones(3), 0.1).dtype == np.float32
    assert ag.kl(ones(3), np.float64(0.1)).dtype == np.float32
    assert ag.kl(ones(3), 1).dtype == np.float32
    assert ag.kl(ones(3), np.int64(1)).dtype == np.float32


@pytest.mark.parametrize("library", EVERY_LIBRARY)
def test_one_element_works(library):
    q = Q(array(library, np.array([[2.0, 0.0]]), "float32"))
    assert float(host(q.kl())[0]) == 2.0
    assert tuple(q.sample(rng=0).shape) == (1, 1)
    z, kl = q.sample_and_kl(rng=0)
    assert float(host(kl)[0]) == 2.0
    assert tuple(z.shape) == (1, 1)


# NaN and inf: no error and no warning (which pytest makes an error)


@pytest.mark.parametrize("library", EVERY_LIBRARY)
@pytest.mark.parametrize("kind", ["hard", "soft", "straight-through"])
def test_nan_passes_through_every_bound(library, kind):
    logvar = array(library, np.array([np.nan, 0.0, np.inf, -np.inf]), "float32")
    value = host(ag.clamp(logvar, bounds=kind))
    np.testing.assert_array_equal(np.isnan(value), [True, False, False, False])
    np.testing.assert_allclose(value[2:], [20, -30], rtol=1e-6)


@library_and_dtype
def test_nan_reaches_the_results_of_its_own_sample_and_no_others(library, dtype):
    for place in (0, 3):  # a mean, a log-variance
        values = np.ones((3, 4, 2))
        values[1, place, 1] = np.nan
        q = Q(array(library, values, dtype))
        expected = [False, True, False]
        for name, value in (
            ("kl", q.kl()),
            ("nll", q.nll(array(library, np.ones((3, 2, 2)), dtype))),
            ("kl to another", q.kl(Q(array(library, np.ones((3, 4, 2)), dtype)))),
            ("kl from another", Q(array(library, np.ones((3, 4, 2)), dtype)).kl(q)),
            ("fused", q.sample_and_kl(rng=0)[1]),
        ):
            np.testing.assert_array_equal(np.isnan(host(value).astype(np.float32)), expected, err_msg=name)
        z = host(q.sample(rng=0)).astype(np.float32)
        assert np.isnan(z).sum() == 1
        assert np.isnan(z[1, place % 2, 1])


BOUNDED_BY = {
    name: (None, "hard", "soft", "straight-through") if name in taking("bounds") else (None,) for name in PUBLIC
}
BOUNDED_BY["clamp"] = BOUNDED_BY["clamp_vjp"] = ("hard", "soft", "straight-through")


@pytest.mark.parametrize(
    ("name", "kind"),
    slow_unless(
        lambda name, kind: kind == BOUNDED_BY[name][0] or name in ("kl", "std_vjp"),
        [(name, kind) for name in PUBLIC for kind in BOUNDED_BY[name]],
    ),
)
@pytest.mark.parametrize("library", ["numpy", "torch", "dask", "array_api_strict"])  # JAX has no such warnings
def test_nan_and_inf_neither_raise_nor_warn(name, kind, library):
    # Every combination of four values in the arguments of the function; pytest turns warnings into errors.
    function, arrays, options, _ = PUBLIC[name]
    grids = np.meshgrid(*([np.array([np.nan, np.inf, -np.inf, 0.0])] * max(len(arrays), 2)), indexing="ij")
    if arrays == ("parameters",):
        args = [array(library, np.stack([g.ravel() for g in grids], axis=1), "float32")]
    else:
        args = [array(library, g.reshape(-1, 4), "float32") for g in grids[: len(arrays)]]
    if name in taking("bounds"):
        options = {**options, "bounds": kind}
    result = function(*args, **options)
    for value in result if isinstance(result, tuple) else (result,):
        host(value)


def elements_of_kl(library, dtype, *columns):
    return host(ag.kl(*(array(library, np.array(c), dtype) for c in columns), axis=()))


@pytest.mark.parametrize("library", EVERY_LIBRARY)
def test_an_overflow_is_infinite_and_not_nan(library):
    # exp(-logvar2) alone overflows in each; the means match in the last two, where it is multiplied by nothing.
    got = elements_of_kl(library, "float32", [1, 0, 3, 0], [0, 0, -200, -200], [0, 0, 3, 0], [-200, -200, -200, -200])
    np.testing.assert_array_equal(got, [np.inf, np.inf, 0, 0])
    np.testing.assert_array_equal(elements_of_kl(library, "float32", [1e30, 0], [0, 200]), [np.inf, np.inf])


@libraries
def test_an_infinite_element_makes_its_sum_infinite_and_no_other(library):
    mean = np.ones((3, 5000), np.float32)
    mean[1, 4321] = np.inf
    mean = array(library, mean)
    np.testing.assert_array_equal(host(ag.kl(mean, 0.0, axis=1)), [2500, np.inf, 2500])


@libraries
def test_sums_beyond_the_largest_number_are_infinite(library):
    mean = array(library, np.full((2, 3000), 1e18), "float32")  # 5e35 an element
    np.testing.assert_array_equal(host(ag.kl(mean, 0.0, axis=1)), [np.inf, np.inf])
    np.testing.assert_array_equal(host(ag.log_prob(mean, 0.0, 0.0, axis=1)), [-np.inf, -np.inf])


@libraries
def test_moments_without_spread_are_lifted_to_the_lower_bound(library):
    moments = array(library, np.array([[1.0, 0.0], [1.0, 2.0]]), "float32")
    for second, true in (("std", 2 * np.log(2.0)), ("var", np.log(2.0))):
        q = Q.from_moments(moments, second=second)
        np.testing.assert_allclose(host(q.logvar)[:, 0], [-30, true], rtol=3e-7)
        unbounded = Q.from_moments(moments, second=second, bounds=None)
        assert host(unbounded.logvar)[0, 0] == -np.inf
    negative = Q.from_moments(array(library, np.array([[1.0, -1.0]]), "float32"), second="std")
    assert np.isnan(host(negative.logvar)[0, 0])


def test_arrays_on_different_devices_are_refused():
    torch = pytest.importorskip("torch")
    here, elsewhere = torch.zeros(2, 2), torch.zeros(2, 2, device="meta")
    for call in (
        lambda: ag.kl(here, elsewhere),
        lambda: ag.nll(here, here, elsewhere),
        lambda: ag.kl_vjp(here, here, cotangent=elsewhere, axis=()),
    ):
        with pytest.raises(ValueError, match=r"must be on the device of .*cpu; got meta"):
            call()


# What a new user tries first


def test_ids_from_2_to_the_63_on_are_taken_beside_small_ones_in_a_list():
    """NumPy makes floats, or objects, of such a list."""
    zeros = np.zeros((2, 3))
    ids = [2**63, 1]
    np.testing.assert_array_equal(
        ag.sample(zeros, zeros, rng=7, index=ids), ag.sample(zeros, zeros, rng=7, index=np.array(ids, np.uint64))
    )
    assert_refused(
        ag.sample, zeros, zeros, rng=7, index=[2**64, 1], kinds=ValueError, says=("index", r"2\*\*64", "got")
    )


def test_an_int_beyond_every_float_is_infinite():
    assert ag.kl(10**400, 0.0) == np.inf
    assert ag.std(-(10**400)) == 0
    assert ag.kl_vjp(ones(2), ones(2), cotangent=10**400)[0][0] == np.inf
    assert ag.clamp(np.array([50.0]), bounds=(-30, 10**400)) == 50


@pytest.mark.parametrize("draw", [Q(ones(2, 4), deterministic=True).sample, ag.DiracDistribution(ones(2)).sample])
def test_a_point_refuses_what_no_sample_takes_and_draws_nothing(draw):
    assert_refused(draw, rng="seed", kinds=TypeError, says=("rng", "Generator", "got str"))
    generator = np.random.default_rng(0)
    draw(rng=generator)
    assert generator.integers(2**32) == np.random.default_rng(0).integers(2**32)


@pytest.mark.parametrize(
    "call", [Q(ones(2, 4), deterministic=True).sample, Q(ones(2, 4), deterministic=True).sample_and_kl]
)
def test_a_point_refuses_an_index_that_does_not_fit(call):
    assert_refused(call, index=[1], kinds=ValueError, says=("index", r"\(2,\)", "got", r"\(1,\)"))


@pytest.mark.parametrize("second", [ones(2, 4), "no", None])
def test_a_mean_and_a_logvar_are_not_taken_for_parameters_and_a_flag(second):
    assert_refused(Q, ones(2, 4), second, kinds=TypeError, says=("deterministic", "got", "from_mean_logvar"))


def test_x_is_told_what_the_gaussian_is_and_not_the_other_way_round():
    q = Q(ones(2, 4))
    assert_refused(q.nll, np.ones((2, 2)), kinds=TypeError, says=("^x", "dtype of mean, float32", "got float64"))
    assert_refused(q.nll, ones(2, 3), kinds=ValueError, says=("^x", "against mean", "got"))


def test_tab_completion_offers_what_is_public():
    assert sorted(dir(ag)) == sorted([*ag.__all__, "__version__"])
    assert dir(ag.random) == ag.random.__all__


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_call_that_is_refused_advances_no_generator(deterministic):
    rng, x = np.random.default_rng(3), np.zeros((4, 6), np.float32)
    before, q, wrong = rng.bit_generator.state, Q(x, deterministic), np.zeros(3, np.float32)
    for call in (
        lambda: ag.vjp(ag.sample, x, x[:3], rng=rng),
        lambda: ag.vjp(ag.sample, x, x, rng=rng, index=[1]),
        lambda: ag.vjp(ag.sample_and_kl, x[:, :5], rng=rng),
        lambda: ag.sample(x, x, rng=rng, out=wrong),
        lambda: ag.sample(x, x, rng=rng, bounds=(2, 1)),
        lambda: ag.sample(x, x, rng=rng, sample_shape=-1),
        lambda: ag.sample_and_kl(x, rng=rng, out=wrong),
        lambda: ag.sample_block(x, x, key=rng, offset=0, event_size=6, out=wrong),
        lambda: ag.sample_block(x, x, key=rng, offset=0, event_size=6, bounds="firm"),
        lambda: ag.random.normal(2, rng=rng, out=wrong),
        lambda: q.sample(rng, out=wrong),
        lambda: q.sample(rng, index=[1]),
        lambda: q.sample_and_kl(rng, out=wrong),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
        assert rng.bit_generator.state == before


@pytest.mark.parametrize("axis", [True, False, (0, True)], ids=repr)
def test_a_truth_value_is_no_axis(axis):
    x = np.zeros((2, 3))
    for refused in (
        lambda: ag.kl(x, x, axis=axis),
        lambda: Q(x[:, :2], event_axes=axis),
        lambda: Q(x[:, :2]).nll(x, axis),
    ):
        with pytest.raises(TypeError, match="must be None, an int or a tuple of ints"):
            refused()
    with pytest.raises(TypeError, match="sample_shape must be an int or a tuple of ints; got True"):
        ag.sample(x, x, rng=1, sample_shape=True)


def test_a_whole_of_more_elements_than_can_be_counted_is_refused():
    with pytest.raises(ValueError, match=r"event_size must be under 2\*\*63 elements"):
        ag.sample_block(np.zeros((1, 0)), 0.0, key=1, offset=(0, 0), event_size=(2**63,))


def test_a_namesake_of_the_class_is_refused_by_its_module():
    class DiagonalGaussianDistribution:
        pass

    with pytest.raises(TypeError, match=r"of agauss; got test_errors\..*DiagonalGaussianDistribution"):
        Q(np.zeros((2, 4))).kl(DiagonalGaussianDistribution())


def test_infinities_in_sums_of_several_chunks_are_results_and_not_accidents():
    big, half = np.full((2, 200_000), 3e38, np.float32), np.full(100_000, 6e4, np.float16)
    with np.errstate(all="raise"):
        assert np.isinf(ag.kl(big, big - big, axis=1)).all()
        assert np.isinf(ag.kl_vjp(half, half[:1] * 0, np.float16(0), np.float16(0), cotangent=1.0)[3])
        assert np.isnan(ag.entropy(np.repeat(np.float32([np.inf, -np.inf]), 100_000)))
        g = np.repeat(np.float32([3e38, -3e38]), 4)
        ag.sample_vjp(g[:1] * 0, g[:1] * 0 + 9, cotangent=g.reshape(8, 1), rng=7, sample_shape=8)


def test_scalars_of_numpy_keep_their_dtype():
    one, two = np.float32(1), np.float32(2)
    assert ag.kl(one, two).dtype == ag.kl(one, 2.0).dtype == np.float32
    assert ag.kl(np.float64(1), 2).dtype == ag.kl(1.0, 2.0).dtype == ag.kl(np.float64(1), two).dtype == np.float64
    assert ag.sample(np.float16(1), 0, rng=7).dtype == np.float16
    array = np.float32([0.0])
    assert ag.sample(np.float32(0), np.float32(0), rng=7) == ag.sample(array, array, rng=7)[0]


def test_the_old_classs_keywords_are_taken():
    z = np.zeros((2, 2))
    q = Q(parameters=np.zeros((2, 4)), deterministic=False)
    np.testing.assert_array_equal(q.nll(sample=z, dims=[1]), q.nll(z))
