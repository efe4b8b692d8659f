"""Dask arrays: the eager call's bits for any chunks, on any worker, a task a block, later; within a memory bound."""

import operator
import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from cases import CALLS, KEY, SHAPE, WITH_ARRAYS, arrays, as_tuple

import agauss as ag
from agauss import arrays as libraries
from agauss.backends import dask as blocks
from agauss.backends.cpu import backend as loops
from agauss.backends.cpu import threads
from agauss.backends.dask import Blocks
from agauss.random import Key

ROOT = Path(ag.__file__).parent.parent


@pytest.fixture(autouse=True)
def _on_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


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


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("cut", CHUNKS)
def test_values_are_those_of_the_eager_call_for_any_chunks(cut, name):
    found = as_tuple(CALLS[name](ag, cut_up(cut)))
    for lazy, want in zip(found, eager(name), strict=True):
        assert_same(lazy, want, sums_too=cut == "whole")


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


# Blocks for other schedulers


@pytest.mark.parametrize("library", ["numpy", "dask"])
def test_a_block_has_the_noise_of_its_place(library):
    a = arrays()
    mean, logvar = a["mean"], a["logvar"]
    whole = ag.sample(mean, logvar, rng=KEY, bounds="soft")

    def block(place, offset, event_size):
        cut = [v[place] if library == "numpy" else da.from_array(v[place], chunks=2) for v in (mean, logvar)]
        got = ag.sample_block(*cut, key=KEY, offset=offset, event_size=event_size, bounds="soft")
        np.testing.assert_array_equal(np.asarray(got), whole[place])

    block(np.s_[:], 0, 20)
    block(np.s_[4:], 4, 20)
    block(np.s_[2:4], (2, 0, 0), (4, 5))
    block(np.s_[1:, 2:, 3:4], [1, 2, 3], [4, 5])
    block(np.s_[3:3], 3, 20)
    block(np.s_[1:2, :3, ::1], (np.int64(1), 0, 0), (4, 5))


def test_blocks_of_large_arrays_count_modulo_the_contracts_64_bits():
    zeros = np.zeros((6, 7), np.float32)
    for offset in (0, 2**33, 2**61, 2**64 - 6):
        want = ag.sample(zeros, zeros, rng=KEY, index=np.arange(6, dtype=np.uint64) + np.uint64(offset))
        np.testing.assert_array_equal(ag.sample_block(zeros, 0.0, key=KEY, offset=offset, event_size=7), want)
    out = np.empty_like(zeros)
    assert ag.sample_block(zeros, zeros, key=KEY, offset=2**64 - 6, event_size=7, out=out) is out
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("library", ["torch", "array_api_strict", "jax.numpy"])
def test_blocks_of_other_libraries_have_the_same_noise(library):
    xp = pytest.importorskip(library)
    zeros = np.zeros((6, 4, 5), np.float32)
    whole = ag.sample(zeros, zeros, rng=KEY)
    for place, offset, event_size in [
        (np.s_[2:5], 2, 20),
        (np.s_[2:5], (2, 0, 0), (4, 5)),
        (np.s_[1:, 1:3, 2:], (1, 1, 2), (4, 5)),
    ]:
        block = xp.asarray(zeros[place].copy())
        got = ag.sample_block(block, block, key=KEY, offset=offset, event_size=event_size)
        np.testing.assert_array_equal(np.asarray(got), whole[place])


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"event_size": 19}, ValueError, r"event_size must be the 20 elements .*got 19"),
        ({"event_size": (4, 5)}, TypeError, "offset and event_size must both be ints or both be tuples; got 1 and"),
        ({"offset": (1, 0, 0)}, TypeError, "must both be ints or both be tuples"),
        ({"offset": (1, 0), "event_size": (4, 5)}, ValueError, "offset must have 3 entries and event_size 2"),
        ({"offset": (1, 1, 0), "event_size": (4, 5)}, ValueError, r"offset must keep a block .*got \(1, 1, 0\)"),
        ({"offset": -1}, ValueError, "offset must not be negative; got -1"),
        ({"offset": 1.0}, TypeError, "offset must be an int or a tuple of ints; got 1.0"),
        ({"offset": 2**64}, ValueError, r"offset must be under 2\*\*64"),
        ({"key": None}, TypeError, "key must be one that all blocks share.*got None"),
        ({"key": "seed"}, TypeError, "must be .*got str"),
        ({"mean": 0.0, "logvar": 0.0}, ValueError, r"mean must have at least 1 dimension.*got shape \(\)"),
        ({"logvar": np.zeros(3, np.float32)}, ValueError, "logvar must broadcast against mean"),
        ({"out": np.zeros(3, np.float32)}, ValueError, r"out must have shape \(6, 4, 5\)"),
    ],
)
def test_bad_blocks_are_refused(changed, error, says):
    zeros = np.zeros(SHAPE, np.float32)
    with pytest.raises(error, match=says):
        ag.sample_block(**{"mean": zeros, "logvar": zeros, "key": 7, "offset": 1, "event_size": 20, **changed})


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


# Other processes


def finished(*command, timeout, **settings):
    """What a process prints, which must end well in time."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


CLUSTER = """
import dask, numpy as np, dask.array as da, agauss as ag

def threading_layer():
    from agauss.backends.cpu import threads
    return threads.layer()

def main():
    from distributed import Client, LocalCluster
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(50, 8, 30, 31)).astype("float32")
    ids = rng.permutation(50)
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        lazy = da.from_array(parameters, chunks=(20, 3, 30, 31))
        q = ag.DiagonalGaussianDistribution(lazy)
        z, kl, later = dask.compute(*q.sample_and_kl(7), q.sample(8, index=ids))
        g = ag.sample_and_kl_vjp(lazy, cotangent=(1.0, 2.0), rng=7).compute()
        assert len(client.scheduler_info()["workers"]) == 2
        print(set(client.run(threading_layer).values()))
    want = ag.DiagonalGaussianDistribution(parameters)
    assert np.array_equal(z, want.sample(7))
    assert np.array_equal(later, want.sample(8, index=ids))
    assert np.array_equal(g, ag.sample_and_kl_vjp(parameters, cotangent=(1.0, 2.0), rng=7))
    assert np.allclose(kl, want.kl(), rtol=4e-7, atol=0)

if __name__ == "__main__":
    main()
"""


def test_workers_of_a_cluster_compute_the_same_bits_and_start_no_threads(tmp_path):
    """Two processes of two threads each, which compute blocks of 37,200 and more elements: enough for Numba's pool."""
    script = tmp_path / "script.py"
    script.write_text(CLUSTER)
    assert finished(script, timeout=120).strip() == "{'not started'}"


def test_latents_that_do_not_fit_in_memory_do_not_have_to():
    """The peak is the process's own, as the system measures it; the bound and its reason are the example's."""
    example = ROOT / "examples" / "dask_latents.py"
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("dask_latents", {str(example)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import tempfile, pathlib
with tempfile.TemporaryDirectory() as folder:
    module.main(pathlib.Path(folder))
    import dask.array as da, numpy as np, agauss as ag
    latents = [da.from_zarr(folder + "/latents.zarr", component=name)[-3:].compute() for name in ("mean", "logvar")]
    z = da.from_zarr(folder + "/samples.zarr", component="z")[-3:].compute()
    size = module.SHAPE[0]
    ids = range(size - 3, size)
    assert np.array_equal(z, ag.sample(*latents, rng=ag.random.Key(2026), index=ids, bounds=(-30, 20)))
print(module.peak_mb(), module.BOUND_MB, module.LATENTS_MB)
"""
    peak, bound, latents = map(float, finished("-c", script, timeout=120).splitlines()[-1].split())
    assert 50 < peak < bound < latents


# Blocks of other libraries


class OnDevice(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that refuses NumPy, as CuPy's does: it stands in for a device's."""

    def __init__(self, values):
        self.values = values

    shape, dtype, ndim, size = (
        property(operator.attrgetter(f"values.{name}")) for name in ("shape", "dtype", "ndim", "size")
    )

    def __array__(self, *args, **kwargs):
        raise TypeError("an implicit conversion to NumPy")

    def __array_function__(self, function, types, args, kwargs):
        def bare(x):
            return [bare(y) for y in x] if isinstance(x, (list, tuple)) else getattr(x, "values", x)

        return OnDevice(function(*[bare(x) if k == 0 else x for k, x in enumerate(args)], **kwargs))

    def __getitem__(self, place):
        return OnDevice(self.values[place])

    def __getattr__(self, name):
        if name not in ("sum", "reshape", "astype"):
            raise AttributeError(name)
        return lambda *args, **kwargs: OnDevice(np.asarray(getattr(self.values, name)(*args, **kwargs)))


class DeviceBackend:
    """The loops, for these arrays alone."""

    def run(self, work, given, noise=None, outs=None):
        assert all(type(a) is OnDevice for a in given)
        found = loops.run(work, [a.values for a in given], noise, outs)
        return tuple(None if a is None else OnDevice(a) for a in found)


@pytest.fixture
def _device(monkeypatch):
    xp = SimpleNamespace(asarray=OnDevice)
    library = libraries.Library("device", xp, DeviceBackend, fills=True)
    monkeypatch.setitem(libraries._libraries, OnDevice, library)


def on_device(a, chunks):
    lazy = da.from_array(a, chunks=chunks)
    return lazy.map_blocks(OnDevice, dtype=a.dtype, meta=OnDevice(lazy._meta))


@pytest.mark.usefixtures("_device")
def test_blocks_stay_of_their_library():
    """CuPy's own are not to be had without a GPU."""
    a = arrays()
    mean, logvar = (on_device(a[name], (4, 3, 2)) for name in ("mean", "logvar"))
    for lazy, want in [
        (ag.sample(mean, logvar, rng=KEY), ag.sample(a["mean"], a["logvar"], rng=KEY)),
        (ag.sample(mean, 0.5, rng=KEY, index=range(9, 15)), ag.sample(a["mean"], 0.5, rng=KEY, index=range(9, 15))),
        (ag.kl(0.5, logvar, axis=(1, 2)), ag.kl(0.5, a["logvar"], axis=(1, 2))),
        (ag.kl_vjp(mean, logvar, cotangent=2.0)[1], ag.kl_vjp(a["mean"], a["logvar"], cotangent=2.0)[1]),
    ]:
        assert type(lazy._meta) is OnDevice
        assert lazy._meta.dtype == lazy.dtype == want.dtype
        block = lazy.compute()
        assert type(block) is OnDevice
        np.testing.assert_allclose(block.values, want, rtol=2e-7)


@pytest.mark.usefixtures("_device")
def test_blocks_of_two_libraries_are_refused():
    a = arrays()
    with pytest.raises(TypeError, match="blocks of one library"):
        ag.kl(on_device(a["mean"], 3), da.from_array(a["logvar"], chunks=3))


def test_blocks_of_other_libraries_are_refused_at_once():
    masked = da.ma.masked_greater(da.ones((4, 3), chunks=2), 2)
    with pytest.raises(TypeError, match=r"blocks of NumPy or CuPy arrays; got numpy\.ma\.\w*\.?MaskedArray"):
        ag.std(masked)


def test_blocks_that_turn_out_to_be_others_are_refused_when_they_are_met():
    lies = da.ones((4, 3), chunks=2).map_blocks(np.ma.masked_greater, 2, meta=np.empty((0, 0)))
    with pytest.raises(TypeError, match="blocks of NumPy or CuPy arrays; got numpy"):
        ag.std(lies).compute()


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


def test_without_dask_the_error_names_the_extra(tmp_path):
    script = """
import sys
sys.modules["dask.array"] = sys.modules["dask"] = None
try:
    import agauss.integrations.dask
except ImportError as error:
    print(error)
"""
    assert 'pip install "agauss[dask]"' in finished("-c", script, timeout=60)


def test_the_integration_hands_on_the_public_functions():
    from agauss.integrations import dask as agd

    assert all(getattr(agd, name) is getattr(ag, name) for name in agd.__all__)
    assert {"DiagonalGaussianDistribution", "sample_block", "sample", "kl_vjp"} <= set(agd.__all__)


def test_the_backend_is_the_one_for_dask():
    assert isinstance(libraries.library_of(da.ones(3)).backend, Blocks)
