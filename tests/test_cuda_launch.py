"""The launch of the CUDA kernels: the grid, whole vectors, and a GPU's large arrays, devices and streams."""

import numpy as np
import pytest
from cuda_devices import Q, ShimRuntime, agree, assert_same, gpu, normal
from quick import nightly_unless

import agauss as ag
from agauss.arrays import NUMPY
from agauss.backends.cuda.backend import Backend
from agauss.backends.strides import row_major


@pytest.mark.parametrize(("processors", "order"), [(1, "ascending"), (3, "descending"), (50, 11), (2, 12)])
def test_neither_the_grid_nor_the_order_of_threads_changes_a_bit(shim, processors, order):
    runtime = ShimRuntime(processors, order)
    runtime.kernels = shim.runtime.kernels
    arrays = [normal(shape) for shape in ((2, 2 * 70001), (300, 2 * 9), (40, 2 * 600), (20, 2 * 100), (600, 2 * 520))]
    expected = [[*Q(p).sample_and_kl(rng=1), Q(p).sample(rng=1), Q(p).kl()] for p in arrays]
    loops, NUMPY.backend = NUMPY.backend, Backend(runtime)
    try:
        found = [[*Q(p).sample_and_kl(rng=1), Q(p).sample(rng=1), Q(p).kl()] for p in arrays]
    finally:
        NUMPY.backend = loops
    for a, b in zip(found, expected, strict=True):
        assert_same(a, b)
    assert {spec.loop for spec in runtime.launches} == {"map", "short_rows", "row_reduce"}


def test_each_operation_is_one_launch(shim):
    p = normal((4, 32, 3, 6, 9), "float16")
    z, gradient = np.empty_like(p[:, :16]), np.empty_like(p)
    calls = (
        lambda: Q(p).kl(),
        lambda: Q(p).sample(rng=1),
        lambda: ag.sample_and_kl(p, rng=1, out=z),
        lambda: ag.sample_and_kl_vjp(p, cotangent=(z, 1.0), rng=1, out=gradient),
    )
    for call in calls:
        shim.runtime.launches.clear()
        with shim.kernels():
            call()
        assert len(shim.runtime.launches) == 1


class Again(ShimRuntime):
    """Ids are read where they are, and the last launch can be made again, as a CUDA graph would."""

    def ids(self, index, like):
        return index

    def launch(self, *launch):
        self.last = launch
        super().launch(*launch)


def test_ids_are_read_as_the_kernel_runs(shim):
    """So what is captured in a CUDA graph draws other noise once they are changed in place."""
    runtime, loops = Again(), NUMPY.backend
    runtime.kernels = shim.runtime.kernels
    p, ids = normal((3, 8, 20)), np.array([5, 6, 7])
    z = np.empty_like(p[:, :4])
    NUMPY.backend = Backend(runtime)
    try:
        ag.sample_and_kl(p, rng=7, index=ids, out=z)
    finally:
        NUMPY.backend = loops
    assert_same([z], [ag.sample_and_kl(p, rng=7, index=[5, 6, 7])[0]])
    ids += 10
    runtime.launch(*runtime.last)
    assert_same([z], [ag.sample_and_kl(p, rng=7, index=[15, 16, 17])[0]])


class WithoutScratch(ShimRuntime):
    def scratch(self, shape, dtype):
        raise AssertionError("a temporary was made")


def test_the_halves_of_an_array_are_written_in_place(shim):
    """They lie between each other in memory, but have no byte in common."""
    runtime, loops = WithoutScratch(), NUMPY.backend
    runtime.kernels = shim.runtime.kernels
    p = normal((3, 8, 20))
    expected = ag.sample_and_kl_vjp(p, cotangent=(1.0, 1.0), rng=7)
    NUMPY.backend = Backend(runtime)
    try:
        ag.sample_and_kl_vjp(p, cotangent=(1.0, 1.0), rng=7, out=p)
        with pytest.raises(AssertionError, match="temporary"):
            ag.sample(p[:, :4], p[:, 4:], rng=7, out=p[:, 2:6])
    finally:
        NUMPY.backend = loops
    assert_same([p], [expected])


class Grids(ShimRuntime):
    """Notes the grids, and launches nothing."""

    def launch(self, spec, blocks, threads, words):
        self.launches.append((blocks, threads))


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((1, 32, 13, 60, 90), (18 * 32, 32)),  # 18 chunks in 32 parts of 2 tiles, which a warp sums at once
        ((3, 32, 13, 60, 90), (3 * 18 * 16, 64)),
        ((8, 32, 13, 60, 90), (8 * 18 * 8, 128)),
        ((256, 8, 64, 64), (256 * 2, 128)),
        ((8192, 8, 64, 64), (8192, 256)),
        ((100000, 8, 64, 64), (132 * 120, 256)),
    ],
    ids=str,
)
def test_a_small_batch_is_spread_over_the_device(shape, grid):
    runtime = Grids(processors=132)
    loops, NUMPY.backend = NUMPY.backend, Backend(runtime)
    try:
        Q(np.lib.stride_tricks.as_strided(np.zeros(1, np.float16), shape, [2 * n for n in row_major(shape)])).kl()
    finally:
        NUMPY.backend = loops
    assert runtime.launches == [grid]


@pytest.mark.parametrize("dtype", nightly_unless(lambda dtype: dtype == "float32", ["float16", "float32", "float64"]))
def test_channels_may_come_last(device, dtype):
    """The inputs are read element by element then, but the noise and the sample are made by whole blocks."""
    p = normal((3, 5, 7, 8), dtype).transpose(0, 3, 1, 2)
    if device.name == "shim":
        device.runtime.launches.clear()
    agree(device, lambda p: [*Q(p).sample_and_kl(rng=2), Q(p).sample(rng=2)], p)
    if device.name == "shim":
        first = device.runtime.launches[0]
        assert (first.noise_step, first.outputs[0][1]) == (1, 1)


def test_halves_of_parameters_are_read_by_whole_vectors(shim):
    shim.runtime.launches.clear()
    p = normal((4, 8, 16, 16))
    assert p.ctypes.data % 16 == 0
    with shim.kernels():
        Q(p).kl(), Q(p).sample(rng=1), ag.sample_and_kl_vjp(p, cotangent=(1.0, 1.0), rng=1)
    assert all(spec.whole for spec in shim.runtime.launches)


# On a GPU alone


@pytest.mark.gpu
def test_more_than_2_to_the_31_elements():
    device = gpu()
    xp = device.xp
    if xp.cuda.runtime.memGetInfo()[0] < 40e9:
        pytest.skip("less than 40 GB of free memory on the device")
    rows, columns = 2**21 + 1, 1025
    a = xp.zeros((rows, columns), np.float16)
    z = ag.sample(a, xp.float16(0) * a[:1, :1], rng=1)
    expected = ag.sample(np.zeros((2, columns), np.float16), 0.0, rng=1, index=[rows - 2, rows - 1])
    assert_same([device.host(z[-2:])], [expected])
    assert np.float32(ag.kl(a + xp.float16(1), a).get()) == np.float32(0.5 * rows * columns)
    flat_z = ag.sample(a.reshape(-1), 0.0, rng=1)
    assert bool((flat_z.reshape(a.shape)[-1] == z[-1]).all())


@pytest.mark.gpu
def test_a_second_device():
    device = gpu()
    xp = device.xp
    if xp.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one device only")
    p = normal((4, 300))
    with xp.cuda.Device(1):
        a = xp.asarray(p)
    z, kl = ag.sample_and_kl(a, rng=1)
    assert z.device.id == kl.device.id == 1
    assert_same([xp.asnumpy(z), xp.asnumpy(kl)], ag.sample_and_kl(p, rng=1))


@pytest.mark.gpu
def test_the_current_stream():
    device = gpu()
    xp = device.xp
    p = normal((64, 2**16))
    stream = xp.cuda.Stream(non_blocking=True)
    with stream:
        a = xp.asarray(p)
        kl = ag.kl(a[:, : 2**15], a[:, 2**15 :], axis=1)
        stream.synchronize()
        assert_same([xp.asnumpy(kl)], [ag.kl(p[:, : 2**15], p[:, 2**15 :], axis=1)])
