"""Bad values of out, index and rng are refused as bad arrays are: by name, with what came; nothing is changed."""

import re

import numpy as np
import pytest
import torch
from oracles import EVERY_LIBRARY, array, host
from refusals import OUT, Q, arguments, assert_refused, libraries, ones, taking, with_axis

import agauss as ag
from agauss.integrations import torch as agt

# out=


@pytest.mark.in_turn(1)
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
        (torch.ones(OUT[name]), "an array of torch"),
        (np.ones(OUT[name], np.float32).tolist(), "list"),
        ("out", "str"),
        (np.ma.masked_array(ones(*OUT[name])), "MaskedArray"),
    ):
        says = ("out", "numpy", "got", came)
        assert_refused(getattr(ag, name), *args, out=out, kinds=TypeError, says=says, **options)
    args = [array("torch", a) for a in args]
    says = ("out", "torch", "got", "an array of numpy")
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


# alpha


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("name", taking("alpha"))
@pytest.mark.parametrize(
    ("alpha", "kind", "came"),
    [
        (-0.5, ValueError, "-0.5"),
        (-np.inf, ValueError, "-inf"),
        (np.nan, ValueError, "nan"),
        (True, TypeError, "bool"),
        ("2", TypeError, "str"),
        (None, TypeError, "NoneType"),
        (1j, TypeError, "complex"),
        (np.ones(3), TypeError, "ndarray"),
    ],
    ids=str,
)
def test_an_alpha_that_is_no_order_is_refused(name, library, alpha, kind, came):
    args, options = arguments(name, library)
    assert_refused(
        getattr(ag, name), *args, kinds=kind, says=("alpha", "must", "got", came), **{**options, "alpha": alpha}
    )
    if library == "torch" and name == "renyi":
        assert_refused(agt.renyi, *args, kinds=kind, says=("alpha", "must", "got", came), alpha=alpha)
