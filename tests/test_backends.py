"""The array-API form on every library that it is for: the results of the NumPy loops, in the library's own arrays, on
its devices and in its dtypes, lazily where the library is lazy, and under jit where it traces."""

from itertools import permutations

import array_api_strict
import dask
import dask.array as da
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from array_libraries import (
    LIBRARIES,
    LIBRARIES_AND_DTYPES,
    TYPES,
    assert_close,
    assert_same_noise,
    by_the_loops,
    given,
    host,
    name_of,
    namespace,
    results,
    the_form,
    to,
)
from cases import CALLS, KEY, PUBLIC, WITH_ARRAYS, arrays, as_tuple
from quick import FEW, nightly_unless, slow_in_jax, slow_unless

import agauss as ag
from agauss.random import Key

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")
# For whose float64 each run has the time.
SOME = ("kl of events", "nll_vjp", "saturated", "sample", "sample_and_kl_vjp")


# Values


@pytest.mark.in_turn(6)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_float32_results_are_those_of_the_loops_in_the_librarys_arrays(library, name):
    for got, want in zip(results(name, library), by_the_loops(name), strict=True):
        assert isinstance(got, TYPES[library])
        if library != "jax" or want.dtype.kind == "f":  # JAX's own integer is int32
            assert name_of(got.dtype) == want.dtype.name
        assert_close(got, want, name)


OTHER_DTYPES = {
    "array_api_strict": ("float64",),
    "torch": ("float64", "float16", "bfloat16"),
    "jax": ("float16", "bfloat16"),
    "dask": ("float64",),
    "numpy by the array API": ("float64", "float16"),
}


@pytest.mark.in_turn(8)
@pytest.mark.parametrize(
    ("library", "dtype", "name"),
    nightly_unless(
        lambda library, dtype, name: dtype != "float64" or name in SOME,
        [(library, dtype, name) for library in LIBRARIES for dtype in OTHER_DTYPES[library] for name in WITH_ARRAYS],
    ),
)
def test_other_dtypes_come_back_as_they_do_from_the_loops(library, dtype, name):
    for got, want in zip(results(name, library, dtype), by_the_loops(name, dtype), strict=True):
        assert isinstance(got, TYPES[library])
        if library != "jax" or want.dtype.kind == "f":
            assert name_of(got.dtype) == want.dtype.name
        assert_close(got, want, name)


# Noise


@pytest.mark.parametrize(
    ("library", "dtype"), slow_unless(lambda library, dtype: library != "jax", LIBRARIES_AND_DTYPES)
)
def test_normals_are_those_of_the_loops(library, dtype):
    want = ag.random.normal(50_000, rng=KEY, dtype=dtype)
    with the_form(library):
        assert_same_noise(ag.random.normal(50_000, rng=KEY, dtype=dtype, xp=namespace(library)), want)


EVERY_ID = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40 + 1, 2**63 - 1, 2**63, 2**64 - 1]


@pytest.mark.parametrize(
    ("library", "dtype", "events"),
    [
        (library, dtype, events)
        for library in LIBRARIES
        for dtype in ("float32", "float64")
        for events in ((7,), (), (1,), (2, 3))
        # JAX compiles a hundred operations for each shape; one must do there.
        if library != "jax" or events == (7,)
        if (library, dtype) != ("jax", "float64")
    ],
)
def test_any_sample_id_picks_the_same_noise(library, dtype, events):
    zeros = np.zeros((len(EVERY_ID), *events), dtype)
    ids = np.array(EVERY_ID, np.uint64)
    want = ag.sample(zeros, zeros, rng=KEY, index=ids)
    with the_form(library):
        given_zeros = to(library, zeros)
        assert_same_noise(ag.sample(given_zeros, given_zeros, rng=KEY, index=ids), want)  # exp(0) is 1 everywhere


@pytest.mark.parametrize("library", slow_in_jax(LIBRARIES))
def test_an_index_may_be_an_array_of_the_library(library):
    zeros, ids = np.zeros((6, 4, 5), np.float32), np.array([3, 1, 4, 1, 5, 9])
    want = ag.sample(zeros, zeros, rng=KEY, index=ids)
    with the_form(library):
        given_zeros = to(library, zeros)
        assert_same_noise(ag.sample(given_zeros, given_zeros, rng=KEY, index=to(library, ids)), want)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_draws_streams_and_folded_keys_are_those_of_the_loops(library):
    zeros = np.zeros((3, 5), np.float32)
    for key in (Key(0), Key(2**64 - 1, 2**32 - 1), KEY.fold_in(3)):
        want = ag.sample(zeros, zeros, rng=key, sample_shape=(2, 3))
        given_zeros = to(library, zeros)
        assert_same_noise(ag.sample(given_zeros, given_zeros, rng=key, sample_shape=(2, 3)), want)


# JAX


JITTED = [name for name in WITH_ARRAYS if "mixed" in name or "vjp" in name]


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("name", JITTED)
def test_operations_work_under_jax_jit(name):
    """Where a conversion to NumPy, or a look at a value, would be an error."""
    found = as_tuple(jax.jit(lambda a: CALLS[name](ag, a))(given("jax")))
    for got, want in zip(found, by_the_loops(name), strict=True):
        assert isinstance(got, jax.Array)
        assert_close(got, want, name)


def test_an_index_may_be_traced():
    zeros = jnp.zeros((6, 4, 5))
    sample = jax.jit(lambda mean, logvar, index: ag.sample(mean, logvar, rng=KEY, index=index))
    for ids in ([3, 1, 4, 1, 5, 9], [0, 1, 2, 3, 4, 2**31 - 1]):
        want = ag.sample(np.zeros((6, 4, 5), np.float32), 0.0, rng=KEY, index=ids)
        assert_same_noise(sample(zeros, zeros, jnp.asarray(ids)), want)


def test_jax_with_64_bits():
    zeros, ids = np.zeros((6, 3)), [0, 1, 2**31, 2**40, 2**62, 5]
    want = ag.sample(zeros, zeros, rng=KEY, index=ids)
    normals = {dtype: ag.random.normal(50_000, rng=KEY, dtype=dtype) for dtype in ("float32", "float64")}
    with jax.enable_x64(True):
        for dtype, values in normals.items():
            assert_same_noise(
                jax.jit(lambda dtype=dtype: ag.random.normal(50_000, rng=KEY, dtype=dtype, xp=jnp))(), values
            )
        sample = jax.jit(lambda z, index: ag.sample(z, z, rng=KEY, index=index))
        assert_same_noise(sample(jnp.asarray(zeros), jnp.asarray(ids)), want)
        mean, logvar = (arrays("float64")[name] for name in ("mean", "logvar"))
        total = ag.kl(jnp.asarray(mean), jnp.asarray(logvar))
        assert total.dtype == jnp.float64
    assert_close(total, ag.kl(mean, logvar))


# Dask


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something was computed")


@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_dask_results_are_lazy(name):
    with dask.config.set(scheduler=refuse_to_compute):
        found = results(name, "dask")
        assert all(isinstance(value, da.Array) for value in found)
        with pytest.raises(AssertionError, match="something was computed"):
            found[0].compute()


def test_dask_normals_are_lazy():
    with dask.config.set(scheduler=refuse_to_compute):
        assert isinstance(ag.random.normal((3, 4), rng=KEY, xp=da), da.Array)


@pytest.mark.parametrize("chunks", [(6, 4, 5), (1, 4, 5), (4, 3, 2), ((1, 2, 3), (1, 3), (5,))])
def test_dask_chunks_change_no_bit_of_a_sample(chunks):
    a = arrays()
    mean, logvar = (da.from_array(a[name], chunks=chunks) for name in ("mean", "logvar"))
    whole = ag.sample(*(da.from_array(a[name], chunks=-1) for name in ("mean", "logvar")), rng=KEY).compute()
    assert ag.sample(mean, logvar, rng=KEY).compute().tobytes() == whole.tobytes()


def test_dask_arrays_of_unknown_shape_are_refused_with_what_to_do():
    x = da.from_array(np.arange(6.0), chunks=2)
    unknown = x[x > 2]
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        ag.kl(unknown, unknown)


# Devices, and nothing by way of NumPy


@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_results_stay_on_their_arrays_device(name):
    """array-api-strict refuses to mix devices, and to hand the values of this one to NumPy."""
    device = array_api_strict.Device("device1")
    a = given("array_api_strict")
    a = {key: value.to_device(device) for key, value in a.items()}
    for got, want in zip(as_tuple(CALLS[name](ag, a)), by_the_loops(name), strict=True):
        assert got.device == device
        assert_close(got.to_device(array_api_strict.Device("CPU_DEVICE")), want, name)


def test_normals_are_made_on_the_device_that_is_asked_for():
    device = array_api_strict.Device("device2")
    x = ag.random.normal((3, 4), rng=KEY, xp=array_api_strict, device=device)
    assert x.device == device
    y = ag.random.normal((3, 4), rng=KEY, xp=torch, device="cpu")
    assert_same_noise(y, ag.random.normal((3, 4), rng=KEY))


@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_operations_look_at_no_value(name):
    """PyTorch's meta device has shapes and dtypes alone: to look at a value, or to copy it to NumPy, is an error."""
    a = {key: value.to("meta") for key, value in given("torch").items()}
    for got, want in zip(as_tuple(CALLS[name](ag, a)), by_the_loops(name), strict=True):
        assert got.device.type == "meta"
        assert tuple(got.shape) == want.shape
        assert name_of(got.dtype) == want.dtype.name


@pytest.mark.in_turn(4)
@pytest.mark.parametrize("name", CALLS)
def test_torch_values_never_pass_through_numpy(name, monkeypatch):
    want, a = by_the_loops(name), {**given("torch"), "xp": torch}

    def refuse(*args, **kwargs):
        raise AssertionError("a tensor went to NumPy")

    with monkeypatch.context() as patch:
        for method in ("__array__", "numpy", "tolist", "item", "__float__", "__bool__"):
            patch.setattr(torch.Tensor, method, refuse)
        found = as_tuple(CALLS[name](ag, a))
    for got, value in zip(found, want, strict=True):
        assert_close(got, value, name)


# Of the calls, those of a function that takes an array to write to, and so does the fused vjp.
WITH_OUT = [
    name
    for name in WITH_ARRAYS
    if PUBLIC[CALLS[name].function].takes("out") and ("vjp" not in name or "parameters" in CALLS[name].names)
]
WRITABLE = ("array_api_strict", "torch", "numpy by the array API")


@pytest.mark.in_turn(6)
@pytest.mark.parametrize("name", WITH_ARRAYS)
@pytest.mark.parametrize("library", WRITABLE)
def test_inputs_are_neither_changed_nor_shared_with_the_results(library, name):
    with the_form(library):
        a = given(library)
        for result in as_tuple(CALLS[name](ag, a)):
            if not isinstance(result, np.generic):
                result[...] = 9
    for key, value in arrays().items():
        np.testing.assert_array_equal(host(a[key]), value)


@pytest.mark.parametrize("library", WRITABLE)
def test_out_is_filled_and_returned(library):
    with the_form(library):
        a = given(library)
        for name, call in CALLS.items():
            if name not in WITH_OUT or name.partition(" ")[0] not in FEW:
                continue
            want = by_the_loops(name)[0]
            out = to(library, np.full(want.shape, 7, want.dtype))
            assert as_tuple(call._replace(options={**call.options, "out": out})(ag, a))[0] is out
            assert_close(out, want, name)


@pytest.mark.parametrize("library", ["jax", "dask"])
def test_out_is_refused_where_arrays_cannot_be_written(library):
    a = given(library)
    with pytest.raises(TypeError, match="out must be None"):
        ag.sample(a["mean"], a["logvar"], rng=KEY, out=a["x"])


# Distributions


@pytest.mark.parametrize("library", LIBRARIES)
def test_distributions_methods_stay_in_their_library(library):
    shapes = {}
    for lib in ("numpy", library):
        with the_form(lib):
            a = given(lib)
            p, x = a["parameters"], a["x"]
            q, other = (
                ag.DiagonalGaussianDistribution(p),
                ag.DiagonalGaussianDistribution(-p),
            )
            point = ag.DiagonalGaussianDistribution(p, deterministic=True)
            moments = ag.DiagonalGaussianDistribution.from_moments(abs(p) + 1, second="std")
            found = [
                q.mean,
                q.logvar,
                q.std,
                q.var,
                q.sample(KEY),
                q.kl(),
                q.kl(other),
                q.nll(x),
                q.log_prob(x),
            ]
            found += [q.entropy(), q.mode(), *q.sample_and_kl(KEY), q.saturated(), moments.kl(), moments.std]
            found += [point.sample(KEY), point.kl(), point.nll(x), point.std, point.entropy(), q.kl(point)]
            found += [ag.DiracDistribution(x).sample(), ag.DiracDistribution(x).mode()]
            shapes[lib] = found
    for got, want in zip(shapes[library], shapes["numpy"], strict=True):
        assert isinstance(got, TYPES[library])
        if library != "jax" or want.dtype.kind == "f":
            assert name_of(got.dtype) == want.dtype.name
        finite = np.isfinite(want)
        np.testing.assert_array_equal(host(got)[~finite], want[~finite])
        assert_close(host(got)[finite], want[finite])


# Mixtures


@pytest.mark.parametrize(
    ("first", "second"), list(permutations(["numpy", "torch", "jax", "dask", "array_api_strict"], 2))
)
def test_arrays_of_two_libraries_are_refused(first, second):
    a, b = given(first), given(second)
    with pytest.raises(TypeError, match=r"of the same library as mean, \w+; got \w+: convert one of the two"):
        ag.kl(a["mean"], b["logvar"])
    with pytest.raises(TypeError, match=rf"cotangent must be an array of \w+ or a number; got an array of {second}"):
        ag.kl_vjp(a["mean"], a["logvar"], cotangent=b["g"], axis=())
    with pytest.raises(TypeError, match="out must be"):
        ag.sample(a["mean"], a["logvar"], rng=KEY, out=b["x"])
    if second != "numpy":
        with pytest.raises(TypeError, match="index must be"):
            ag.sample(a["mean"], a["logvar"], rng=KEY, index=b["index"])


@pytest.mark.parametrize("library", ["torch", "jax", "array_api_strict"])
def test_python_numbers_take_the_arrays_dtype(library):
    a = given(library)
    for got in (ag.kl(a["mean"], 0.25, axis=()), ag.nll(a["x"], 0, 1), ag.normal_kl(0.0, a["logvar"], 1.0, -1)):
        assert isinstance(got, TYPES[library])
        assert name_of(got.dtype) == "float32"
