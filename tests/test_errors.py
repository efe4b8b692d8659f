"""Bad input is a TypeError or ValueError that names the argument, the requirement and what came; nothing is changed."""

import inspect
import re

import numpy as np
import pytest
import torch
from cases import OBSERVATIONS, PUBLIC
from oracles import array
from refusals import (
    NOT_ARRAYS,
    OTHER_DTYPES,
    SAID,
    Q,
    arguments,
    assert_refused,
    libraries,
    names,
    ones,
    taking,
)

import agauss as ag


def test_the_table_of_functions_holds_every_one_there_is():
    functions = {name for name in ag.__all__ if inspect.isfunction(getattr(ag, name))}
    assert functions - {"explain", "show_versions", "vjp"} == set(PUBLIC)


@pytest.mark.in_turn(2)
@libraries
@pytest.mark.parametrize("name", PUBLIC)
def test_the_calls_that_the_bad_ones_are_made_of_work(name, library):
    args, options = arguments(name, library)
    getattr(ag, name)(*args, **options)


# What is no array, or of a dtype that is not computed with


@names
def test_what_is_no_array_is_refused_by_name(name):
    function, arrays = PUBLIC[name][:2]
    for position, blamed in enumerate(arrays):
        for bad, came in NOT_ARRAYS.values():
            args, options = arguments(name)
            args[position] = bad
            says = (rf"\b{blamed}\b", "must", "got", came)
            if bad is None and inspect.signature(function).parameters[blamed].default is None:
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
    for name in PUBLIC:
        function, names, options, _ = PUBLIC[name]
        args = [np.ones((2, 4), np.int64) for _ in names]
        first = min(names, key=lambda name: name in OBSERVATIONS)
        assert_refused(function, *args, kinds=TypeError, says=(rf"\b{first}\b", "floating", "got int64"), **options)


mixable = pytest.mark.parametrize("name", [name for name in PUBLIC if len(PUBLIC[name].arguments) > 1])


def blamed_for(arrays, position):
    """The argument that a message names where the one at a position is the odd one, and whether that one comes first.

    The first is the model of the others, so the second is blamed for it. What the Gaussian is asked about comes last.
    """
    order = sorted(arrays, key=lambda name: name in OBSERVATIONS)
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
        assert_refused(q.nll, bad, kinds=TypeError, says=("sample", "must", "got", came))
        assert_refused(q.log_prob, bad, kinds=TypeError, says=("^x", "must", "got", came))


@pytest.mark.parametrize("kind", OTHER_DTYPES)
def test_distributions_of_other_dtypes_are_refused(kind):
    bad, came = OTHER_DTYPES[kind], SAID.get(kind, kind)
    assert_refused(Q, bad, kinds=TypeError, says=("parameters", "floating", "got", came))
    assert_refused(Q.from_moments, bad, kinds=TypeError, says=("moments", "floating", "got", came))
    assert_refused(Q.from_moments, bad, second="std", kinds=TypeError, says=("moments", "floating", "got", came))
    assert_refused(Q.from_mean_logvar, ones(2, 4), bad, kinds=TypeError, says=("logvar", "floating", "got", came))
    assert_refused(ag.DiracDistribution, bad, kinds=TypeError, says=("value", "floating", "got", came))
    for deterministic in (False, True):
        assert_refused(Q(ones(2, 8), deterministic).nll, bad, kinds=TypeError, says=("sample", "floating", "got", came))


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
    with pytest.raises(ValueError, match=r"other .*broadcast.*got.*\(2, 4\).*\(2, 3\)"):
        q.kl(bad_shape)
    with pytest.raises(TypeError, match=r"other .*float32.*got float64: convert one of the two$"):
        q.kl(bad_dtype)
    with pytest.raises(TypeError, match=r"other .*numpy.*got torch"):
        q.kl(bad_library)


@pytest.mark.parametrize("deterministic", [False, True])
def test_an_x_that_does_not_fit_the_distribution_is_refused(deterministic):
    q = Q(ones(2, 8), deterministic)
    for method, name in ((q.nll, "^sample"), (q.log_prob, "^x")):
        assert_refused(method, ones(2, 3), kinds=ValueError, says=(name, "broadcast", "got", r"\(2, 3\)|\(2, 4\)"))
        assert_refused(method, ones(2, 4, dtype=np.float64), kinds=TypeError, says=(name, "dtype", "got", "float"))
        assert_refused(method, torch.ones(2, 4), kinds=TypeError, says=(name, "library", "got", "torch|numpy"))


@pytest.mark.parametrize("second", ["sigma", "", "STD", None, 1, ["std"], b"std"], ids=repr)
def test_an_unknown_second_half_is_refused(second):
    says = ("second", '"logvar", "std", "var", "logstd" or "softplus"', "got", re.escape(repr(second)))
    assert_refused(Q.from_moments, ones(2, 4), second=second, says=says)


@pytest.mark.parametrize(
    ("floor", "second", "kind"),
    [
        (-1e-4, "softplus", ValueError),
        (np.inf, "softplus", ValueError),
        (np.nan, "softplus", ValueError),
        (1e-4, "std", ValueError),
        (None, "softplus", TypeError),
        ("0", "softplus", TypeError),
    ],
)
def test_a_floor_that_cannot_be_is_refused(floor, second, kind):
    says = ("floor", "got", re.escape(repr(floor)) if kind is ValueError else type(floor).__name__)
    assert_refused(Q.from_moments, ones(2, 4), second=second, floor=floor, kinds=kind, says=says)


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
