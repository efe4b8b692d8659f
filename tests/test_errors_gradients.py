"""Bad bounds, cotangents and sample shapes are refused as bad arrays are: by name, with what came."""

import re

import numpy as np
import pytest
import torch
from cases import PUBLIC
from oracles import array
from refusals import FUSED_VJPS, VJPS, Q, arguments, assert_refused, libraries, ones, taking, value_shape

import agauss as ag

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
    getattr(ag, name)(*args, cotangent=1.0, **options)  # a plan without out, which must serve no empty one
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
    assert_refused(
        ag.random.normal, 3, rng=0, xp="numpy", kinds=TypeError, says=("xp", "must", "'numpy': ", "xp=numpy")
    )
    assert_refused(ag.random.normal, 3, rng=0, xp=3, kinds=TypeError, says=("xp", "must", "got 3$"))
