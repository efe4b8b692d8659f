"""What only a GPU can tell: streams and threads at once, graphs that are launched again, memory that runs out or comes
from elsewhere. test_cuda_kernels.py compares the kernels' bits, test_cuda_launch.py those of 2^31 elements."""

import threading

import numpy as np
import pytest
from cuda_devices import Gpu
from oracles import same_bits

import agauss as ag

pytestmark = pytest.mark.gpu
Q = ag.DiagonalGaussianDistribution
SHAPE = (4, 16, 64, 80)  # rows of 40,960, whose sums are split among blocks and end at a counter


@pytest.fixture(scope="module")
def xp():
    try:
        import cupy

        cupy.zeros(1)
    except Exception as error:
        pytest.skip(f"no CuPy with a CUDA device: {str(error).partition(chr(10))[0]}")
    return Gpu().xp


def parameters(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def step(p):
    """A step forward and back."""
    z, kl = ag.sample_and_kl(p, rng=7)
    return z, kl, Q(p).kl(), ag.sample_and_kl_vjp(p, cotangent=(z, kl), rng=7)


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert same_bits(a.get(), b)


# Streams and threads


def test_two_streams_at_once(xp):
    """Their launches take turns at the counters, and neither waits for the other."""
    arrays = [parameters(seed) for seed in (0, 1)]
    there, streams = [xp.asarray(p) for p in arrays], [xp.cuda.Stream(non_blocking=True) for _ in arrays]
    xp.cuda.Device().synchronize()
    found = [[], []]
    for _ in range(50):
        for stream, p, results in zip(streams, there, found, strict=True):
            with stream:
                results.append(step(p))
    for stream in streams:
        stream.synchronize()
    for results, p in zip(found, arrays, strict=True):
        expected = step(p)
        for each in results:
            assert_same(each, expected)


def test_two_threads_with_a_stream_each(xp):
    arrays = [parameters(seed) for seed in (0, 1)]
    there = [xp.asarray(p) for p in arrays]
    xp.cuda.Device().synchronize()
    found, start = {}, threading.Barrier(2)

    def work(k):
        start.wait()
        with xp.cuda.Stream(non_blocking=True) as stream:
            found[k] = [step(there[k]) for _ in range(50)]
            stream.synchronize()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, p in enumerate(arrays):
        expected = step(p)
        for each in found[k]:
            assert_same(each, expected)


def test_a_dask_array_of_cupy_blocks_on_four_threads(xp):
    da = pytest.importorskip("dask.array")
    p = parameters(shape=(64, 8, 32, 32))
    blocks = da.from_array(xp.asarray(p), chunks=(7, -1, -1, -1), asarray=False)
    z, kl = ag.sample_and_kl(blocks, rng=7)
    z, kl = da.compute(z, kl, scheduler="threads", num_workers=4)
    assert_same((z, kl), ag.sample_and_kl(p, rng=7))


# Graphs


def test_a_graph_of_cupys_is_launched_again(xp):
    """What other launches do to the pool and to the counters meanwhile is nothing to it."""
    p, others = parameters(), xp.asarray(parameters(5))
    there, stream = xp.asarray(p), xp.cuda.Stream(non_blocking=True)
    xp.cuda.Device().synchronize()
    with stream:
        step(there)  # loads the kernels
        stream.begin_capture()
        z, kl = ag.sample_and_kl(there, rng=7)
        plain = Q(there).kl()
        graph = stream.end_capture()
        for seed in (1, 2, 3):
            p = parameters(seed)
            there.set(p)
            for array in (z, kl, plain):
                array.fill(xp.nan)
            step(others)
            xp.full(2**20, xp.nan, xp.float64)  # whoever has the pool's free blocks now
            graph.launch(stream)
            stream.synchronize()
            assert_same((z, kl, plain), step(p)[:3])


def test_a_graph_reads_the_ids_at_each_launch(xp):
    """So a graph whose ids are changed in between draws other noise."""
    there, ids = xp.asarray(parameters()), xp.arange(len(parameters()), dtype=xp.int64)
    z, d_z = xp.empty_like(there[:, :8]), xp.ones_like(there[:, :8])
    gradient, d_kl = xp.empty_like(there), xp.ones(len(ids), xp.float32)

    def work():
        kl = ag.sample_and_kl(there, rng=7, index=ids, out=z)[1]
        ag.sample_and_kl_vjp(there, cotangent=(d_z, d_kl), rng=7, index=ids, out=gradient)
        return kl

    stream = xp.cuda.Stream(non_blocking=True)
    xp.cuda.Device().synchronize()
    with stream:
        work()
        stream.begin_capture()
        kl = work()
        graph = stream.end_capture()
        for first in (0, 4, 400):
            graph.launch(stream)
            stream.synchronize()
            options = {"rng": 7, "index": np.arange(first, first + len(ids))}
            assert_same((z, kl), ag.sample_and_kl(parameters(), **options))
            expected = ag.sample_and_kl_vjp(parameters(), cotangent=(d_z.get(), d_kl.get()), **options)
            assert_same((gradient,), (expected,))
            ids += 4 if first == 0 else 396


def test_a_kernel_that_is_not_loaded_is_not_captured(xp):
    stream = xp.cuda.Stream(non_blocking=True)
    a = xp.zeros((2, 3, 5, 7, 11), np.float16)[:, ::2, :, ::3]  # strides of its own
    with stream:
        stream.begin_capture()
        try:
            with pytest.raises(RuntimeError, match="must be loaded before a CUDA graph captures it"):
                ag.var(a)
        finally:
            stream.end_capture()


def test_a_graph_of_pytorchs_is_launched_again(xp):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device for PyTorch")
    from agauss.integrations import torch as agt

    p = torch.from_numpy(parameters()).cuda()
    agt.sample_and_kl(p, rng=7)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        z, kl = agt.sample_and_kl(p, rng=7)
    for seed in (1, 2, 3):
        p.copy_(torch.from_numpy(parameters(seed)))
        z.fill_(torch.nan)
        graph.replay()
        for found, expected in zip((z, kl), ag.sample_and_kl(parameters(seed), rng=7), strict=True):
            assert same_bits(found.cpu().numpy(), expected)


# PyTorch's memory


def test_results_are_recorded_on_streams(xp):
    """A block that another stream reads is not given away: only PyTorch's own allocator knows how."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device for PyTorch")
    from agauss.integrations import torch as agt

    p = torch.from_numpy(parameters()).cuda()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    z = agt.sample_and_kl(p, rng=7)[0]
    assert torch.cuda.memory_stats()["allocation.all.allocated"] > before
    reader = torch.cuda.Stream()
    reader.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(reader):
        torch.cuda._sleep(10**8)
        copy = z.clone()
    z.record_stream(reader)
    place = z.data_ptr()
    del z
    assert torch.empty_like(copy).data_ptr() != place
    reader.synchronize()
    assert same_bits(copy.cpu().numpy(), ag.sample_and_kl(parameters(), rng=7)[0])


# Memory


def test_memory_that_runs_out_is_told_and_leaves_all_as_it_was(xp):
    """In a pool of its own, for in one that others have used there may be room."""
    p, pool = parameters(), xp.cuda.MemoryPool()
    expected = step(p)
    with xp.cuda.using_allocator(pool.malloc):
        there = xp.asarray(p)
        assert_same(step(there), expected)
        pool.free_all_blocks()
        pool.set_limit(size=pool.total_bytes() + 2**20)
        with pytest.raises(xp.cuda.memory.OutOfMemoryError):
            step(there)
        pool.set_limit(size=0)
        assert_same(step(there), expected)


def managed(xp):
    return xp.cuda.MemoryPool(xp.cuda.malloc_managed).malloc


def in_stream_order(xp):
    return xp.cuda.MemoryAsyncPool().malloc


def rmm(xp):
    return pytest.importorskip("rmm.allocators.cupy", reason="RMM is not installed").rmm_cupy_allocator


@pytest.mark.parametrize("allocator", [managed, in_stream_order, rmm], ids=lambda f: f.__name__)
def test_other_allocators(xp, allocator):
    p = parameters()
    with xp.cuda.using_allocator(allocator(xp)):
        assert_same(step(xp.asarray(p)), step(p))


# Subnormal numbers


def test_a_copy_keeps_subnormal_numbers(xp):
    p = np.full((2, 4), 1e-42, np.float32)
    assert same_bits(ag.DiagonalGaussianDistribution(xp.asarray(p), deterministic=True).sample().get(), p[:, :2])
