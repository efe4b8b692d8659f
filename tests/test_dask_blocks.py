"""Blocks: sample_block() for other schedulers than Dask's, and Dask's arrays of other libraries' blocks."""

import operator
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
from cases import KEY, SHAPE, arrays
from quick import nightly_unless

import agauss as ag
from agauss import arrays as libraries
from agauss.backends.cpu import backend as loops

pytestmark = pytest.mark.usefixtures("dask_on_this_thread")


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


@pytest.mark.parametrize(
    "library", nightly_unless(lambda library: library == "torch", ["torch", "array_api_strict", "jax.numpy"])
)
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
