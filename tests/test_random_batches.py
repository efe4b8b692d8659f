"""Noise that no batch split, index order, thread count, memory layout or shape changes."""

import ml_dtypes
import numba
import numpy as np
import pytest
from noise_by_hand import MIXED, NORMAL_BOUND, normal_by_hand, ulp_from
from oracles import same_bits

import agauss as ag

FLOATS = (np.float32, np.float64)
EVERY_DTYPE = ("float16", "bfloat16", "float32", "float64")


def pair(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    return rng.normal(size=shape).astype(kind), rng.normal(size=shape).astype(kind)


# Events of 1, 3, 5 and 35 elements begin inside blocks of noise, those of 1,023 and 1,030 inside tiles too.
EVENTS = ((), (1,), (3,), (5, 7), (4, 2), (1023,), (2, 5, 103))


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@pytest.mark.parametrize("event", EVENTS)
def test_a_batch_of_ten_is_ten_batches_of_one(event, dtype):
    mean, logvar = pair((10, *event), dtype)
    whole = ag.sample(mean, logvar, rng=MIXED)
    for b in range(10):
        assert same_bits(whole[b : b + 1], ag.sample(mean[b : b + 1], logvar[b : b + 1], rng=MIXED, index=[b]))


@pytest.mark.parametrize("event", EVENTS)
def test_any_split_of_a_batch_gives_its_parts(event):
    mean, logvar = pair((10, *event), "float32")
    whole = ag.sample(mean, logvar, rng=MIXED)
    for cut in range(11):
        for part in (slice(0, cut), slice(cut, 10)):
            ids = np.arange(10)[part]
            assert same_bits(whole[part], ag.sample(mean[part], logvar[part], rng=MIXED, index=ids))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("event", EVENTS)
def test_a_permuted_or_repeated_index_permutes_and_repeats_the_samples(event, dtype):
    mean, logvar = pair((40, *event), dtype)
    whole = ag.sample(mean, logvar, rng=MIXED)
    rng = np.random.default_rng(1)
    for ids in (rng.permutation(40), rng.integers(0, 40, 40), np.arange(40)[::-1]):
        assert same_bits(whole[ids], ag.sample(mean[ids], logvar[ids], rng=MIXED, index=ids))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_an_indexs_dtype_does_not_matter(kind):
    mean, logvar = pair((20, 3), "float32")
    assert same_bits(ag.sample(mean, logvar, rng=1), ag.sample(mean, logvar, rng=1, index=np.arange(20, dtype=kind)))


def test_ids_beyond_int64_are_taken_from_uint64():
    zeros = np.zeros((2, 4), np.float32)
    z = ag.sample(zeros, zeros, rng=MIXED, index=np.array([2**63, 2**64 - 1], np.uint64))
    for row, sample_id in zip(z, (2**63, 2**64 - 1), strict=True):
        for k, value in enumerate(row):
            element = (4 * sample_id + k) % 2**64
            assert ulp_from(value, normal_by_hand(MIXED.seed, MIXED.stream, 0, element, np.float32)) < NORMAL_BOUND


def test_a_strided_index_is_read_in_its_order():
    mean, logvar = pair((20, 3), "float32")
    ids = np.arange(60, dtype=np.int64)[::-3]
    assert same_bits(ag.sample(mean, logvar, rng=1, index=ids), ag.sample(mean, logvar, rng=1, index=ids.copy()))


@pytest.mark.parametrize("event", [(), (3,), (1023,)])
def test_fused_ops_and_gradients_see_the_same_noise(event):
    mean, logvar = pair((10, 1, *event), "float32")
    parameters = np.concatenate([mean, logvar], axis=1)
    ids = np.random.default_rng(2).permutation(10)
    z = ag.sample(mean, logvar, rng=MIXED, index=ids)
    assert same_bits(ag.sample_and_kl(parameters, rng=MIXED, index=ids, bounds=None)[0], z)
    eps = ag.sample(np.zeros_like(mean), np.zeros_like(mean), rng=MIXED, index=ids)
    gradient = ag.sample_vjp(np.zeros_like(mean), np.zeros_like(mean), cotangent=1.0, rng=MIXED, index=ids)[1]
    assert same_bits(2 * gradient, eps)
    both = ag.sample_and_kl_vjp(np.zeros_like(parameters), cotangent=(1.0, 0.0), rng=MIXED, index=ids)
    assert same_bits(2 * both[:, 1:], eps)


@pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="one processor; test_threads.py starts two threads anyway"
)
@pytest.mark.parametrize("shape", [(2, 8, 64, 64), (7, 33, 331), (100_003,), (32768, 1), (3, 33_333)])
@pytest.mark.parametrize("dtype", EVERY_DTYPE)
def test_one_thread_and_two_give_the_same_bits(shape, dtype):
    mean, logvar = pair(shape, dtype)
    ids = np.random.default_rng(3).permutation(shape[0])

    def results():
        indexed = ag.sample(mean, logvar, rng=MIXED, index=ids)
        draws = ag.sample(mean, logvar, rng=MIXED, sample_shape=2)
        return indexed, draws, *ag.sample_vjp(mean, logvar, cotangent=1.0, rng=MIXED)

    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = results()
        numba.set_num_threads(2)
        together = results()
    finally:
        numba.set_num_threads(before)
    for a, b in zip(alone, together, strict=True):
        assert same_bits(a, b)


def test_sample_shape_counts_draws_in_c_order():
    mean, logvar = pair((3, 5), "float32")
    flat = ag.sample(mean, logvar, rng=MIXED, sample_shape=6)
    assert flat.shape == (6, 3, 5)
    assert same_bits(ag.sample(mean, logvar, rng=MIXED, sample_shape=(2, 3)), flat.reshape(2, 3, 3, 5))
    assert same_bits(ag.sample(mean, logvar, rng=MIXED), flat[0])
    assert same_bits(ag.sample(mean, logvar, rng=MIXED, sample_shape=(1, 1))[0, 0], flat[0])


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
def test_a_draw_does_not_depend_on_how_many_follow(dtype):
    mean, logvar = pair((3, 5), dtype)
    many = ag.sample(mean, logvar, rng=MIXED, sample_shape=10)
    for n in range(11):
        assert same_bits(ag.sample(mean, logvar, rng=MIXED, sample_shape=n), many[:n])


def test_draws_differ_in_every_element():
    zeros = np.zeros((3, 1024), np.float32)
    draws = ag.sample(zeros, zeros, rng=MIXED, sample_shape=20)
    assert len({draw.tobytes() for draw in draws}) == 20
    # Two float32 normals are equal with a probability near 2^-24: none of these 3 * 1024 * 19 pairs should be.
    assert (np.diff(draws, axis=0) != 0).all()


def test_more_draws_than_the_counter_holds_are_refused():
    with pytest.raises(ValueError, match="sample_shape must hold at most 4294967295"):
        ag.sample(np.zeros(1), np.zeros(1), rng=1, sample_shape=2**32, out=None)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_hold_the_float32_noise_rounded_once(dtype):
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    for n in (1, 7, 1023, 1_000_000):
        want = ag.random.normal(n, rng=MIXED).astype(kind)
        assert same_bits(ag.random.normal(n, rng=MIXED, dtype=dtype), want)
        assert same_bits(ag.random.normal(n, rng=MIXED, dtype=kind), want)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_samples_are_float32_samples_rounded_once(dtype):
    mean, logvar = pair((9, 1023), dtype)
    wide = ag.sample(mean.astype(np.float32), logvar.astype(np.float32), rng=MIXED)
    assert same_bits(ag.sample(mean, logvar, rng=MIXED), wide.astype(mean.dtype))


def test_float64_noise_is_not_the_float32_noise():
    single, double = ag.random.normal(1000, rng=1), ag.random.normal(1000, rng=1, dtype="float64")
    assert (np.abs(single - double) > 1e-6).mean() > 0.99


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_longer_normal_begins_with_the_shorter_ones_numbers(dtype):
    name = np.dtype(dtype).name
    longest = ag.random.normal(140_001, rng=MIXED, dtype=name)
    sizes = (*range(70), 1023, 1024, 1025, 4095, 4097, 32767, 32768, 32769, 65535, 65537, 70_001, 131_073)
    for n in sizes:
        assert same_bits(ag.random.normal(n, rng=MIXED, dtype=name), longest[:n])


def test_normals_shape_does_not_matter():
    flat = ag.random.normal(2 * 3 * 5 * 7, rng=MIXED)
    for shape in ((2, 3, 5, 7), (6, 35), (210, 1), (1, 1, 210)):
        assert same_bits(ag.random.normal(shape, rng=MIXED), flat.reshape(shape))
    assert same_bits(ag.random.normal((), rng=MIXED), flat[0].reshape(()))
    assert ag.random.normal((3, 0), rng=MIXED).shape == (3, 0)


@pytest.mark.parametrize("shapes", [((10, 1, 7), (1, 5, 1)), ((7,), (10, 5, 1)), ((), (10, 5, 7)), ((10, 5, 7), (1,))])
@pytest.mark.parametrize("dtype", FLOATS)
def test_broadcast_arguments_see_the_noise_of_the_full_shape(shapes, dtype):
    rng = np.random.default_rng(4)
    mean, logvar = (np.asarray(rng.normal(size=shape), dtype) for shape in shapes)
    full = np.broadcast_shapes(*shapes)
    ids = rng.permutation(full[0])
    wide = [np.broadcast_to(a, full).copy() for a in (mean, logvar)]
    for index in (None, ids):
        assert same_bits(ag.sample(mean, logvar, rng=MIXED, index=index), ag.sample(*wide, rng=MIXED, index=index))


def layouts(a):
    """The array's values at other strides."""
    spread = np.zeros([2 * n for n in a.shape], a.dtype)[tuple(slice(None, None, 2) for _ in a.shape)]
    spread[...] = a
    turned = np.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1]
    return spread, turned, np.asfortranarray(a), np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1)


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
def test_strided_arguments_and_out_see_the_same_noise(dtype):
    mean, logvar = pair((6, 35, 11), dtype)
    ids = np.random.default_rng(5).permutation(6)
    for index in (None, ids):
        want = ag.sample(mean, logvar, rng=MIXED, index=index)
        for strided_mean, strided_logvar in zip(layouts(mean), layouts(logvar), strict=True):
            assert same_bits(ag.sample(strided_mean, strided_logvar, rng=MIXED, index=index), want)
        for out in layouts(np.zeros_like(mean)):
            assert ag.sample(mean, logvar, rng=MIXED, index=index, out=out) is out
            assert same_bits(out.copy("C"), want)


def test_normal_fills_an_out_of_any_layout():
    want = ag.random.normal((6, 35, 11), rng=MIXED)
    for out in layouts(np.zeros((6, 35, 11), np.float32)):
        assert ag.random.normal((6, 35, 11), rng=MIXED, out=out) is out
        assert same_bits(out.copy("C"), want)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"shape": -1}, ValueError),
        ({"shape": (2, -3)}, ValueError),
        ({"shape": 2.0}, TypeError),
        ({"shape": 2, "dtype": "int32"}, TypeError),
        ({"shape": 2, "dtype": np.complex64}, TypeError),
        ({"shape": 2, "dtype": "float31"}, TypeError),
        ({"shape": 2, "out": np.zeros(3, np.float32)}, ValueError),
        ({"shape": 2, "out": np.zeros(2)}, TypeError),
    ],
)
def test_normal_refuses_bad_shapes_dtypes_and_outs(arguments, error):
    with pytest.raises(error, match="must"):
        ag.random.normal(rng=1, **arguments)
