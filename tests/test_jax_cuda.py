"""JAX on a CUDA device: compiled code launches the CUDA kernels itself, and gets NumPy's bits.

On a GPU where there is one. Without one, JAX's CPU makes the calls, and the shim runs what they launch.
"""

import ctypes
import hashlib
import os
from functools import cache, partial

import cuda_shim
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cuda_devices import shim
from jax.interpreters import mlir
from jax_calls import D, assert_same

import agauss as ag
from agauss.backends.cpu import xla, xla_frame
from agauss.backends.jax import cuda, primitive
from agauss.integrations import jax as agj

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # of a GPU's memory, which others share
P = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
M, V = P[:, :3], P[:, 3:]
ON_THE_SHIM = "agauss_pass_on_the_shim"
STREAM = 7  # of the shim, for a call on JAX's CPU has none
WORD = ctypes.c_void_p


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", WORD),
        ("attributes", WORD),
        ("attributes_count", ctypes.c_uint),
    )


LAUNCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Config), WORD, ctypes.POINTER(WORD), WORD)
SET = ctypes.CFUNCTYPE(ctypes.c_int, WORD, ctypes.c_uint, ctypes.c_size_t, WORD)
FUNCTION = ctypes.CFUNCTYPE(WORD, WORD)


def copy_of_struct(address):
    """Of one that begins with its own size, as XLA's do."""
    size = ctypes.c_size_t.from_address(address).value
    return ctypes.create_string_buffer(ctypes.string_at(address, size), size)


class Driver:
    """CUDA's driver on the CPU, and XLA's frames with a stream."""

    def __init__(self):
        self.kernels, self.status = [], 0
        self.functions = LAUNCH(self.launch), SET(self.set)
        self.stream, self.handler = FUNCTION(self.stream_get), FUNCTION(self.called)
        self.handle = FUNCTION(xla.handler())

    def kernel(self, text, capability):
        """What cuda._loaded returns; the handle is a number from 1 on."""
        self.kernels += cuda_shim.compile([text])
        return f"shim-{len(self.kernels)}-{hashlib.sha256(text.encode()).hexdigest()}", len(self.kernels)

    def launch(self, config, kernel, arguments, extra):
        given = config[0]
        (x, *ys), (i, *js) = given.grid, given.block
        assert (ys, js, given.shared, given.stream, extra) == ([1, 1], [1, 1], 0, STREAM, None)
        assert (given.attributes, given.attributes_count) == (None, 0)
        kernel = self.kernels[kernel - 1]
        words = np.ctypeslib.as_array((ctypes.c_int64 * (kernel.work_size // 8)).from_address(arguments[0]))
        cuda_shim.launch(kernel, x, i, words.copy())
        return self.status

    def set(self, address, value, count, stream):
        assert stream == STREAM
        np.ctypeslib.as_array((ctypes.c_uint * count).from_address(address))[...] = value
        return 0

    def stream_get(self, arguments):
        ctypes.c_int64.from_address(arguments + 24).value = STREAM

    def called(self, frame):
        """What XLA calls: the handler, with a frame whose function of streams is this one's."""
        own = copy_of_struct(frame)
        at = ctypes.c_int64.from_buffer(own, xla_frame.FRAME_API)
        if at.value:
            api = copy_of_struct(at.value)
            at.value = ctypes.addressof(api)
            ctypes.c_int64.from_buffer(api, xla_frame.API_STREAM_GET).value = ctypes.cast(self.stream, WORD).value
        return self.handle(ctypes.addressof(own))


@cache
def known_to_xla():
    """A process's one driver, for XLA takes one handler of a name."""
    made = Driver()
    xla.on_devices(*[ctypes.cast(f, WORD).value for f in made.functions])
    capsule = jax.ffi.pycapsule(ctypes.cast(made.handler, WORD).value)
    jax.ffi.register_ffi_target(ON_THE_SHIM, capsule, platform="cpu", api_version=1)
    return made


def test_without_a_device_there_is_no_kernel():
    assert primitive.registered("cuda") == (jax.default_backend() == "gpu")


def test_where_no_kernel_can_be_compiled_there_is_no_call(monkeypatch):
    """So that the form is taken, and no user of JAX alone sees an error."""
    monkeypatch.setattr(cuda, "_device", lambda: (60, 2))
    monkeypatch.setattr(cuda.driver, "address_of", lambda name: 1)
    monkeypatch.setattr(xla, "on_devices", lambda *functions: None)
    with pytest.raises(RuntimeError, match=r"compute capability 7\.0 or higher"):
        cuda.echo()


@pytest.fixture(scope="module", params=["shim", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    """The shim's driver, with which JAX's CPU has been made a CUDA device; None for a GPU."""
    if request.param == "gpu":
        try:
            jax.local_devices(backend="cuda")
        except RuntimeError as error:
            pytest.skip(f"no JAX with a CUDA device: {str(error).partition(chr(10))[0]}")
        assert primitive.registered("cuda")
        yield None
        return
    shim()  # or skip
    made, patch = known_to_xla(), pytest.MonkeyPatch()
    patch.setattr(cuda, "_device", lambda: (90, 2))
    patch.setattr(cuda, "_loaded", made.kernel)
    patch.setattr(primitive, "TARGET", ON_THE_SHIM)
    patch.setattr(primitive, "registered", lambda platform: True)
    _lowered_as("cuda")
    yield made
    patch.undo()
    _lowered_as("cpu")


def _lowered_as(platform):
    """Have JAX's CPU compile passes as those of a platform."""
    rule = partial(primitive._lowered, platform=platform)
    mlir.register_lowering(primitive.pass_p, rule, platform="cpu", cacheable=False)
    cuda._kernel.cache_clear()
    primitive.compiled.cache_clear()
    jax.clear_caches()


def launches(function, *args):
    """How many calls of the handler are in the program that is compiled of a function."""
    return jax.jit(function).lower(*args).compile().as_text().count(f'custom_call_target="{primitive.TARGET}"')


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_values_and_gradients_have_numpys_bits(device, wrap):
    want = ag.sample_and_kl(P, rng=7)
    assert_same(wrap(lambda p, key: agj.sample_and_kl(p, rng=key))(P, jax.random.key(7)), want)
    cotangent = tuple(np.random.default_rng(1).normal(size=v.shape).astype(v.dtype) for v in want)
    _, pull = jax.vjp(wrap(lambda p: agj.sample_and_kl(p, rng=7)), P)
    assert_same(pull(cotangent)[0], ag.sample_and_kl_vjp(P, cotangent=cotangent, rng=7))
    assert_same(wrap(lambda p: D(p, bounds=(-1, 1)).kl())(P), ag.DiagonalGaussianDistribution(P, bounds=(-1, 1)).kl())


def test_each_pass_is_one_launch_in_compiled_code(device):
    assert launches(lambda p: agj.sample_and_kl(p, rng=7), P) == 1
    assert launches(jax.grad(lambda p: agj.sample_and_kl(p, rng=7)[1].sum()), P) == 1
    assert launches(lambda m, v: agj.kl(m, v) + agj.kl(v, m), M, V) == 2


def test_wide_narrow_and_long_arrays_have_numpys_bits(device):
    long = np.random.default_rng(0).normal(size=(3, 140_001)).astype(np.float32)  # sums that blocks share
    kl = jax.jit(lambda a: agj.kl(a, a, axis=1))
    for a in (long, long[:, :1000].astype(jnp.bfloat16), long[:, :1000].astype(np.float16), long[:, :5], long[:, :0]):
        for _ in range(2):  # the counter of blocks is 0 again
            assert_same(kl(a), ag.kl(np.asarray(a), np.asarray(a), axis=1))
    with jax.enable_x64(True):
        wide = long[:, :700].astype(np.float64)
        assert_same(kl(wide), ag.kl(wide, wide, axis=1))


def test_slices_are_read_where_they_lie(device):
    """Rows of whole vectors, but at addresses that are no multiples of 16 bytes."""
    a = np.random.default_rng(0).normal(size=(3, 44)).astype(np.float32)
    kl = jax.jit(lambda a: agj.kl(a[:, 1:21], a[:, 21:41], axis=1))
    assert_same(kl(a), ag.kl(a[:, 1:21], a[:, 21:41], axis=1))


def test_keys_and_ids_may_be_traced_and_mapped(device):
    keys = jax.random.split(jax.random.key(0), 5)
    each = jax.vmap(lambda m, key: agj.sample(m, 0.0, rng=key))
    own = [agj.key_of(key) for key in keys]
    # Each of 64 bytes, and of 84, so that not each begins at a multiple of 16; numbers; and one for all keys.
    for means in (P[:, :4, :4], M, M[:, 0, 0], M[:1]):
        here = own[: len(means)]
        want = np.stack([ag.sample(m, 0.0, rng=key) for m, key in zip(means, here, strict=True)])
        assert launches(each, means, keys[: len(means)]) == 1
        assert_same(jax.jit(each)(means, keys[: len(means)]), want)
    both = jax.vmap(lambda p, key: agj.sample_and_kl(p, rng=key))
    wanted = [ag.sample_and_kl(p[None], rng=key) for p, key in zip(P, own, strict=True)]
    assert_same(jax.jit(both)(P[:, None], keys), [np.stack(values) for values in zip(*wanted, strict=True)])
    nested = jax.vmap(jax.vmap(lambda v, key: agj.sample(0.0, v, rng=key), (0, None)), (None, 0))
    wanted = np.stack([np.stack([ag.sample(0.0 * v, v, rng=key) for v in V]) for key in own])
    assert launches(nested, V, keys) == 1
    assert_same(jax.jit(nested)(V, keys), wanted)
    words = np.stack([np.arange(5), np.arange(5)], axis=1).astype(np.uint32)
    ids = np.arange(5, dtype=np.uint64) * np.uint64(2**32 + 1)
    assert_same(jax.jit(lambda m, i: agj.sample(m, 0.0, rng=7, index=i))(M, words), ag.sample(M, 0.0, rng=7, index=ids))


@pytest.mark.parametrize("device", ["shim"], indirect=True)
def test_a_launch_that_the_driver_refuses_is_an_error(device):
    kl = jax.jit(lambda m, v: agj.kl(m, v))
    kl(M, V).block_until_ready()
    device.status = 1
    try:
        with pytest.raises(Exception, match="CUDA refuses to launch a kernel of agauss"):
            kl(M, V).block_until_ready()
    finally:
        device.status = 0
    assert_same(kl(M, V), ag.kl(M, V))


@pytest.mark.parametrize("device", ["shim"], indirect=True)
def test_the_trial_call_launches_a_kernel(device, monkeypatch):
    """By it, it is known whether kernels can be launched."""
    monkeypatch.setattr(xla, "on_devices", lambda *functions: None)
    monkeypatch.setattr(cuda.driver, "address_of", lambda name: 1)
    call = jax.ffi.ffi_call(primitive.TARGET, jax.ShapeDtypeStruct((2,), np.float32))
    assert list(jax.jit(partial(call, work=cuda.echo()))(np.arange(1, 5, dtype=np.float32))) == [1, 2]
