"""Dask arrays: the eager call's bits for any chunks, a task a block, later."""

import threading
from functools import cache

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from cases import CALLS, KEY, SHAPE, WITH_ARRAYS, arrays, as_tuple

import agauss as ag
from agauss import arrays as libraries
from agauss.backends import dask as blocks
from agauss.backends.cpu import threads
from agauss.backends.dask import Blocks
from agauss.random import Key

pytestmark = pytest.mark.usefixtures("dask_on_this_thread")


# How an axis of an extent is cut, by the axis counted from the last one, and the name of the array.
CHUNKS = {
    "whole": lambda n, axis, name: (n,),
    "single elements": lambda n, axis, name: (1,) * n,
    "batches": lambda n, axis, name: (2,) * (n // 2) + (1,) * (n % 2) if axis == -3 else (n,),
    "events": lambda n, axis, name: (n,) if axis == -3 or n == 1 else (1, n - 1),
    "ragged": lambda n, axis, name: {4: (1, 3), 5: (2, 2, 1), 6: (1, 3, 2), 8: (3, 1, 4)}.get(n, (n,)),
    "each its own": lambda n, axis, name: (cut := 1 + (len(name) + axis) % n, n - cut)[: 1 + (cut < n)],
}


def chunked(a, cut, name="mean"):
    return da.from_array(a, chunks=tuple(CHUNKS[cut](n, axis - a.ndim, name) for axis, n in enumerate(a.shape)))


def cut_up(cut, dtype="float32"):
    return {"xp": da, **{name: chunked(a, cut, name) for name, a in arrays(dtype).items()}}


@cache
def eager(name, dtype="float32"):
    return as_tuple(CALLS[name](ag, arrays(dtype)))


def assert_same(lazy, want, *, sums_too=False):
    """Bits of elements. Sums over blocks are added up in float64, and rounded once more than the eager call's: an eps
    of the terms, which for gradients are of either sign and up to 20 times as large as their sum."""
    assert isinstance(lazy, da.Array)
    got = np.asarray(lazy.compute())
    assert lazy.dtype == got.dtype == want.dtype
    assert lazy.shape == got.shape == want.shape
    if sums_too or want.size >= np.prod(SHAPE) or want.dtype.kind in "iu":
        np.testing.assert_array_equal(got, want)
    else:
        unit = np.finfo(want.dtype).eps
        np.testing.assert_allclose(got, want, rtol=2 * unit, atol=20 * unit)


# Values


@pytest.mark.in_turn(6)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("cut", CHUNKS)
def test_values_are_those_of_the_eager_call_for_any_chunks(cut, name):
    found = as_tuple(CALLS[name](ag, cut_up(cut)))
    for lazy, want in zip(found, eager(name), strict=True):
        assert_same(lazy, want, sums_too=cut == "whole")


@pytest.mark.in_turn(6)
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_other_dtypes_too(name, dtype):
    for lazy, want in zip(as_tuple(CALLS[name](ag, cut_up("ragged", dtype))), eager(name, dtype), strict=True):
        if want.dtype == ml_dtypes.bfloat16 and want.size < np.prod(SHAPE):
            np.testing.assert_allclose(lazy.compute().astype(float), want.astype(float), rtol=2**-7, atol=20 * 2**-7)
        else:
            assert_same(lazy, want)


@pytest.mark.parametrize("cut", CHUNKS)
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2), (1, 2)])
def test_large_sums_are_right_for_any_chunks(cut, axis):
    rng = np.random.default_rng(3)
    mean, logvar = (rng.normal(size=(60, 40, 500)).astype("float32") for _ in range(2))
    sizes = {"single elements": (30, 20, 250), "batches": (7, -1, -1), "events": (-1, 11, 77), "ragged": (13, 7, 499)}
    lazy = ag.kl(*(da.from_array(a, chunks=sizes.get(cut, -1)) for a in (mean, logvar)), axis=axis)
    truth = ag.kl(mean.astype(float), logvar.astype(float), axis=axis)
    np.testing.assert_allclose(lazy.compute(), truth, rtol=1e-6)
    np.testing.assert_allclose(lazy.compute(), ag.kl(mean, logvar, axis=axis), rtol=4 * np.finfo("float32").eps)


def test_blocks_are_added_up_in_float64_and_rounded_once():
    mean, logvar = np.random.default_rng(4).normal(size=(2, 50, 300)).astype("float32")
    elements = ag.kl(mean, logvar, axis=())
    lazy = ag.kl(*(da.from_array(a, chunks=(50, 1)) for a in (mean, logvar)), axis=1)
    np.testing.assert_array_equal(lazy.compute(), elements.sum(axis=1, dtype=np.float64).astype(np.float32))


@pytest.mark.parametrize("cut", ["single elements", "events", "ragged"])
@pytest.mark.parametrize("lazily", [False, True])
def test_sample_ids_go_with_their_blocks(cut, lazily):
    a = arrays()
    ids = np.array([5, 4, 2**64 - 1, 0, 2**33, 5], np.uint64)
    given = da.from_array(ids, chunks=4) if lazily else ids
    mean, logvar = (chunked(a[name], cut) for name in ("mean", "logvar"))
    assert_same(ag.sample(mean, logvar, rng=KEY, index=given), ag.sample(a["mean"], a["logvar"], rng=KEY, index=ids))
    row, column = da.from_array(a["logvar row"], chunks=2), da.from_array(a["mean column"], chunks=3)
    want = ag.sample_vjp(a["mean column"], a["logvar row"], cotangent=a["g own"], rng=KEY, index=ids)
    found = ag.sample_vjp(column, row, cotangent=chunked(a["g own"], cut), rng=KEY, index=given)
    for lazy, value in zip(found, want, strict=True):
        assert_same(lazy, value)


def test_a_tasks_ids_are_its_blocks_own(monkeypatch):
    """The index is not sent whole with each task."""
    seen = []
    of_block = blocks._of_block
    monkeypatch.setattr(blocks, "_of_block", lambda *args, **kw: (seen.append((args, kw)), of_block(*args, **kw))[1])
    z = da.zeros((1000, 3), chunks=(10, 3))
    ag.sample(z, z, rng=KEY, index=np.arange(1000)).compute()
    ids = sorted(args[-1].tolist() for args, _ in seen)
    assert ids == [list(range(first, first + 10)) for first in range(0, 1000, 10)]
    assert all(kw["noise"].index is None for _, kw in seen)


def test_extents_of_zero_and_arrays_without_dimensions():
    for shape, chunks in [((0, 3), 2), ((4, 0), 3), ((), ())]:
        empty = np.zeros(shape, np.float32)
        lazy = da.from_array(empty, chunks=chunks)
        assert_same(ag.sample(lazy, lazy, rng=KEY), ag.sample(empty, empty, rng=KEY), sums_too=True)
        assert_same(ag.kl(lazy, lazy), ag.kl(empty, empty))
    value = da.from_array(np.arange(6.0), chunks=2).sum()  # whose block is a NumPy scalar
    assert ag.std(value).compute() == np.exp(7.5)


def test_numbers_broadcast_over_chunks():
    assert_same(ag.sample(da.zeros((5, 3), chunks=2), 0.5, rng=KEY), ag.sample(np.zeros((5, 3)), 0.5, rng=KEY))
    assert_same(ag.normal_kl(1.0, da.ones((5, 3), chunks=2), 0, 2), ag.normal_kl(1.0, np.ones((5, 3)), 0, 2))


def test_normals_have_chunks_of_dasks_choice():
    with dask.config.set({"array.chunk-size": "1 kiB"}):
        noise = ag.random.normal((30, 50), rng=KEY, xp=da)
    assert noise.npartitions > 4
    np.testing.assert_array_equal(noise.compute(), ag.random.normal((30, 50), rng=KEY))


def test_infinities_give_no_warning_wherever_they_are_added_up():
    mean = np.array([[0, np.inf, 1e30, np.nan], [1e25, 1e25, 1e25, 1]], np.float32)
    lazy = da.from_array(mean, chunks=1)
    for axis in (None, 0, 1):
        np.testing.assert_array_equal(ag.kl(lazy, 0.0, axis=axis).compute(), ag.kl(mean, 0.0, axis=axis))
    signed = np.array([np.inf, -np.inf, 1], np.float32)
    assert np.isnan(ag.entropy(da.from_array(signed, chunks=1)).compute())
    assert ag.kl(da.full((4, 9), 1e19, chunks=1, dtype="float32"), 0.0).compute() == np.inf  # rounded from float64


@pytest.mark.parametrize("cut", ["whole", "ragged", "each its own"])
def test_the_distribution_takes_dask_arrays(cut):
    a = arrays()
    want = ag.DiagonalGaussianDistribution(a["parameters"])
    q = ag.DiagonalGaussianDistribution(chunked(a["parameters"], cut, "parameters"))
    x = chunked(a["x"], cut, "x")
    for lazy, value in zip(
        [q.sample(KEY), *q.sample_and_kl(KEY), q.std, q.mode(), q.nll(x), q.log_prob(x), q.entropy(), q.kl(q)],
        [
            *(want.sample(KEY), *want.sample_and_kl(KEY), want.std, want.mode()),
            *(want.nll(a["x"]), want.log_prob(a["x"]), want.entropy(), want.kl(want)),
        ],
        strict=True,
    ):
        assert_same(lazy, value)
    np.testing.assert_array_equal(q.sample(KEY)[1:5, 2].compute(), want.sample(KEY)[1:5, 2])
    np.testing.assert_array_equal(q.sample_and_kl(KEY)[1][2:4].compute(), want.kl()[2:4])


# Laziness, tasks and threads


@pytest.fixture
def calls(monkeypatch):
    """The names of the threads on which blocks were computed, one entry for each."""
    made, of_block = [], blocks._of_block

    def counted(*args, **kwargs):
        made.append(threading.current_thread().name)
        return of_block(*args, **kwargs)

    monkeypatch.setattr(blocks, "_of_block", counted)
    return made


@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_computed_before_it_is_asked_for(name, calls):
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        found = as_tuple(CALLS[name](ag, cut_up("ragged")))
        assert all(isinstance(value, da.Array) for value in found)
        assert calls == []
        with pytest.raises(AssertionError, match="something was computed"):
            found[0].compute()


def tasks_of(value):
    """How many tasks it takes to compute an array."""
    (optimised,) = dask.optimize(value)
    return len(dict(optimised.__dask_graph__()))


def test_each_block_is_one_task(calls):
    mean = da.ones((40, 6, 8), chunks=(5, 3, 2), dtype="float32")
    assert mean.npartitions == 64
    assert tasks_of(ag.std(mean)) == 64  # its input's making included
    assert tasks_of(ag.sample(mean, mean + 1, rng=KEY)) == 64
    ag.sample(mean, mean, rng=KEY).compute()
    assert len(calls) == 64


def test_results_of_one_pass_are_of_one_task_for_each_block(calls):
    mean = da.ones((40, 6, 8), chunks=(5, 3, 2), dtype="float32")
    q = ag.DiagonalGaussianDistribution.from_mean_logvar(mean, mean)
    dask.compute(*q.sample_and_kl(KEY))
    assert len(calls) == 64
    dask.compute(*ag.kl_vjp(mean, mean, cotangent=1.0))
    assert len(calls) == 2 * 64


def test_the_same_call_is_the_same_graph():
    """So that what is computed once can be found again; another key is another graph."""
    mean = da.ones((4, 6), chunks=2)
    first, second, other = (ag.sample(mean, mean, rng=rng) for rng in (Key(1), Key(1), Key(2)))
    assert first.name == second.name != other.name


LARGE = (64, 4096)


@pytest.fixture
def parallel(monkeypatch):
    """The names of the threads that had the pool."""
    had, run = [], threads._run_parallel

    def spied(*args):
        had.append(threading.current_thread().name)
        return run(*args)

    monkeypatch.setattr(threads, "_run_parallel", spied)
    return had


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_blocks_are_computed_on_the_threads_that_dask_gives(scheduler, calls, parallel):
    mean = da.ones(LARGE, chunks=(32, 4096), dtype="float32")
    with dask.config.set(scheduler=scheduler, num_workers=2):
        z, total = dask.compute(ag.sample(mean, mean, rng=KEY), ag.kl(mean, mean, axis=1))
    assert len(calls) == 4
    assert parallel == []
    ones = np.ones(LARGE, np.float32)
    np.testing.assert_array_equal(z, ag.sample(ones, ones, rng=KEY))
    np.testing.assert_array_equal(total, ag.kl(ones, ones, axis=1))
    assert parallel == [threading.current_thread().name] * 2


def test_a_thread_alone_leaves_the_others_as_they_are(parallel):
    ones = np.ones(LARGE, np.float32)
    with threads.alone(), threads.alone():
        pass
    with threads.alone():
        with threads.alone():
            ag.std(ones)
        ag.std(ones)
        assert parallel == []
        other = threading.Thread(target=ag.std, args=(ones,), name="other")
        other.start()
        other.join()
        assert parallel == ["other"]
    with pytest.raises(ValueError, match="inside"), threads.alone():
        raise ValueError("inside")
    ag.std(ones)
    assert parallel == ["other", threading.current_thread().name]


# Bad input


def unknown(rank=1):
    x = da.from_array(np.arange(6.0), chunks=2)
    return x[x > 2] if rank == 1 else da.ones((6, 4), chunks=2)[x > 2]


@pytest.mark.parametrize(
    "call",
    [
        lambda: ag.entropy(unknown()),
        lambda: ag.entropy_vjp(unknown(), cotangent=1.0),
        lambda: ag.std(unknown()),
        lambda: ag.kl(unknown(), unknown()),
        lambda: ag.kl(unknown(), 0.0, axis=()),
        lambda: ag.sample(unknown(), 0.0, rng=KEY),
        lambda: ag.sample(unknown(2), unknown(2), rng=KEY, index=[1, 2, 3]),
        lambda: ag.sample_block(unknown(2), 0.0, key=KEY, offset=0, event_size=4),
        lambda: ag.sample_and_kl(unknown(2), rng=KEY),
        lambda: ag.kl_vjp(unknown(), 0.0, cotangent=unknown(), axis=()),
        lambda: ag.sample(da.ones((3, 2)), 0.0, rng=KEY, index=(unknown() * 1).astype(int)),
        lambda: ag.saturated(unknown()),
        lambda: ag.DiagonalGaussianDistribution(unknown(2)).kl(),
        lambda: ag.DiagonalGaussianDistribution(unknown(2).T, axis=0).kl(),
    ],
)
def test_unknown_chunk_sizes_are_refused_with_what_to_do(call):
    with pytest.raises(ValueError, match=r"compute_chunk_sizes\(\)"):
        call()


def test_mixed_libraries_are_refused_with_what_to_do():
    with pytest.raises(TypeError, match="logvar must be of the same library as mean, dask; got numpy"):
        ag.kl(da.ones(3), np.ones(3))


# The integration


def test_the_integration_hands_on_the_public_functions():
    from agauss.integrations import dask as agd

    assert all(getattr(agd, name) is getattr(ag, name) for name in agd.__all__)
    assert {"DiagonalGaussianDistribution", "sample_block", "sample", "kl_vjp"} <= set(agd.__all__)


def test_the_backend_is_the_one_for_dask():
    assert isinstance(libraries.library_of(da.ones(3)).backend, Blocks)
