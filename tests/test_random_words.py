"""agauss.random.bits and uniform: Philox's words in the order of the elements, the same in every library."""

import numpy as np
import pytest
from oracles import EVERY_LIBRARY, host, numpy_dtype, plain_words, same_bits
from refusals import assert_refused

import agauss as ag

pytestmark = pytest.mark.usefixtures("double_precision_of_jax")
KEY = ag.random.Key(2**40 + 7, stream=3)
NAMESPACES = {"numpy": "numpy", "torch": "torch", "jax": "jax.numpy", "dask": "dask.array"}
libraries = pytest.mark.parametrize("library", EVERY_LIBRARY)


def namespace(library):
    return pytest.importorskip(NAMESPACES.get(library, library))


def true_bits(elements, dtype):
    """By the plain Philox of the oracles, as docs/noise.md numbers the words."""
    elements = np.asarray(elements, np.uint64)
    per_block = np.uint64(4 if dtype == "uint32" else 2)
    block, place = elements // per_block, (elements % per_block).astype(np.int64)
    low, half = np.uint64(2**32 - 1), np.uint64(32)
    counter = block & low, block >> half, np.zeros_like(block), np.full_like(block, KEY.stream)
    words = plain_words(counter, (np.uint64(KEY.seed) & low, np.uint64(KEY.seed) >> half))
    if dtype == "uint32":
        return np.choose(place, words).astype(np.uint32)
    return np.choose(place, [words[0] | words[1] << half, words[2] | words[3] << half])


def test_the_10000th_word_is_that_of_the_cpp_standard():
    """[rand.predef] of C++26: philox4x32's default seed is 20111115, and its 10,000th value 1955073260."""
    assert ag.random.bits(10_000, rng=20111115)[-1] == 1955073260


@libraries
@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 0)])
def test_bits_are_the_words_in_the_elements_order(library, dtype, shape):
    got = ag.random.bits(shape, rng=KEY, dtype=dtype, xp=namespace(library))
    assert same_bits(host(got), true_bits(np.arange(np.prod(shape, dtype=int)).reshape(shape), dtype))


@libraries
@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_ids_choose_the_words_of_their_samples(library, dtype):
    ids = np.array([5, 2**40 + 3, 0, 5], np.uint64)
    got = ag.random.bits((4, 3), rng=KEY, dtype=dtype, index=ids, xp=namespace(library))
    assert same_bits(host(got), true_bits(ids[:, None] * np.uint64(3) + np.arange(3, dtype=np.uint64), dtype))


def test_ids_choose_the_normals_of_their_samples():
    whole = ag.random.normal((6, 3), rng=KEY)
    assert same_bits(ag.random.normal((2, 3), rng=KEY, index=[4, 1]), whole[[4, 1]])


HALVES = [(library, dtype) for library in ("numpy", "torch", "jax") for dtype in ("float16", "bfloat16")]


@pytest.mark.parametrize(
    ("library", "dtype"),
    [*HALVES, *((library, dtype) for library in EVERY_LIBRARY for dtype in ("float32", "float64"))],
)
def test_uniform_numbers_are_the_words_leading_bits(library, dtype):
    xp = namespace(library)
    digits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}[dtype]
    width = 64 if dtype == "float64" else 32
    words = true_bits(np.arange(2000), f"uint{width}") >> np.uint64(width - digits)
    got = host(ag.random.uniform(2000, rng=KEY, dtype=dtype, xp=xp))
    assert same_bits(got, (words.astype(np.float64) * 2.0**-digits).astype(numpy_dtype(dtype)))


def test_uniform_numbers_fill_the_unit_interval_evenly():
    """Of n numbers each of 50 bins holds n / 50, with a standard error of sqrt(n / 50 * 49 / 50)."""
    n = 200_000
    for dtype in ("float32", "float64"):
        numbers = ag.random.uniform(n, rng=KEY, dtype=dtype)
        assert numbers.min() >= 0
        assert numbers.max() < 1
        counts = np.bincount((numbers * 50).astype(int), minlength=50)
        assert np.abs(counts - n / 50).max() < 5 * np.sqrt(n / 50 * 49 / 50)  # passed by one in 30,000 keys


def test_dask_blocks_hold_the_words_of_their_place():
    import dask
    import dask.array as da

    with dask.config.set({"array.chunk-size": "64B"}):
        ids = np.arange(9, dtype=np.uint64)[::-1] * np.uint64(11)
        made = ag.random.bits((9, 5), rng=KEY, index=ids, xp=da)
        assert max(made.numblocks) > 1
        assert same_bits(host(made), ag.random.bits((9, 5), rng=KEY, index=ids))
        assert same_bits(host(ag.random.uniform((9, 5), rng=KEY, xp=da)), ag.random.uniform((9, 5), rng=KEY))


@pytest.mark.parametrize(
    ("call", "arguments", "says"),
    [
        (ag.random.bits, {"shape": 3, "rng": 0, "dtype": "int32"}, ("dtype", "uint32 or uint64", "int32")),
        (ag.random.bits, {"shape": 3, "rng": 0, "dtype": np.float32}, ("dtype", "uint32 or uint64", "float32")),
        (ag.random.bits, {"shape": -3, "rng": 0}, ("shape", "negative", "-3")),
        (ag.random.bits, {"shape": 3, "rng": "a"}, ("rng", "str")),
        (ag.random.uniform, {"shape": 3, "rng": 0, "dtype": "int32"}, ("dtype", "float32", "int32")),
        (ag.random.uniform, {"shape": (3, 2), "rng": 0, "index": [1, 2]}, ("index", r"\(3,\)", r"\(2,\)")),
        (ag.random.normal, {"shape": (3, 2), "rng": 0, "index": [1, -2, 3]}, ("index", "negative", "-2")),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_does_not_fit_is_refused(call, arguments, says):
    assert_refused(call, says=says, **arguments)
