"""PyTorch's tensors on CUDA: the way to CuPy and back, with CuPy's own classes over the host's memory."""

import sys
from types import SimpleNamespace

import cuda_shim
import numpy as np
import pytest
from cuda_devices import HostRuntime, over

from agauss import arrays
from agauss.backends.cuda.backend import Backend

torch = pytest.importorskip("torch")
from agauss.integrations import torch as agt  # noqa: E402
from agauss.integrations import torch_memory as memory  # noqa: E402
from agauss.integrations.torch_operators import UNSAFE_IN_GRAPHS  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed")


@pytest.fixture
def contexts(cupy, monkeypatch):
    """What `on_device_of` enters, and leaves; all but the memory is a stand-in."""
    told = []

    class Exiting:
        def __init__(self, device):
            self.name = f"device {device}"

        def __enter__(self):
            told.append(f"+{self.name}")

        def __exit__(self, *_):
            told.append(f"-{self.name}")

    stream = cupy.cuda.Stream
    monkeypatch.setattr(torch.cuda, "device", Exiting)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=4096))
    monkeypatch.setattr(cupy.cuda, "Device", Exiting)
    monkeypatch.setattr(stream, "__enter__", lambda self: told.append(f"+stream {self.ptr}"))
    monkeypatch.setattr(stream, "__exit__", lambda self, *_: told.append(f"-stream {self.ptr}"))
    allocator = memory.allocator(CPU)
    monkeypatch.setattr(memory, "allocator", lambda device: allocator)
    return told


THERE = SimpleNamespace(device=torch.device("cuda:1"))
ENTERED = ["+device cuda:1", "+device 1", "+stream 4096"]
LEFT = ["-stream 4096", "-device 1", "-device cuda:1"]


def test_cupy_computes_where_the_tensor_is_on_pytorchs_stream_and_in_its_memory(cupy, contexts):
    with memory.on_device_of(THERE):
        assert contexts == ENTERED
        made = cupy.empty((3, 4), np.float32)
    assert contexts == ENTERED + LEFT
    assert made.data.ptr == made.data.mem.tensor.data_ptr()


def test_what_was_entered_is_left_where_the_stream_cannot_be(cupy, contexts, monkeypatch):
    def broken(stream):
        raise RuntimeError("no stream")

    monkeypatch.setattr(cupy.cuda.Stream, "from_external", broken)
    with pytest.raises(RuntimeError, match="no stream"):
        memory.on_device_of(THERE)
    assert contexts == ENTERED[:2] + LEFT[1:]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64"])
def test_results_are_tensors_in_pytorchs_own_memory(cupy, dtype):
    """So record_stream and captured graphs know them, and they are no views, which could not be changed in place."""
    own = np.dtype(getattr(pytest.importorskip("ml_dtypes"), dtype, dtype))
    with cupy.cuda.using_allocator(memory.allocator(CPU)):
        arrays = cupy.empty((3, 4), own), cupy.empty((), own), cupy.empty((0, 4), own)
    for a in (*arrays, arrays[0].T[1:]):
        tensor = memory.tensor_of(a)
        assert (tensor.dtype, tensor.shape) == (getattr(torch, dtype), a.shape)
        assert tensor.data_ptr() == a.data.ptr
        assert tensor.stride() == tuple(n // a.itemsize for n in a.strides)
        assert not tensor._is_view()
        assert tensor.untyped_storage().data_ptr() == a.data.mem.tensor.untyped_storage().data_ptr()


class TensorRuntime(HostRuntime):
    """Results in PyTorch's memory."""

    def empty(self, shape, dtype, like):
        import cupy

        return cupy.empty(shape, dtype)


@pytest.mark.skipif(cuda_shim.COMPILER is None, reason="no g++ to run the kernels on the CPU with")
def test_an_operator_and_its_gradient_by_the_kernels(cupy, monkeypatch):
    library = arrays.library_of(over(np.zeros(1)))
    p = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 8, 20)).astype(np.float32))

    def step():
        leaf = p.clone().requires_grad_()
        z, kl = agt.sample_and_kl(leaf, rng=7)
        (z.sum() + kl.sum()).backward()
        return z.detach(), kl.detach(), leaf.grad

    expected = step()
    monkeypatch.setattr(library, "backend", Backend(TensorRuntime()), raising=False)
    monkeypatch.setattr(memory, "on_device_of", lambda tensor: cupy.cuda.using_allocator(memory.allocator(CPU)))
    monkeypatch.setattr(memory, "array_of", lambda tensor: over(tensor.detach().contiguous().numpy()))
    for found, exact in zip(step(), expected, strict=True):
        assert torch.equal(found, exact)
    assert library.backend.runtime.launches


def test_what_brings_cupy_is_advised(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    memory.cupy.cache_clear()
    with pytest.raises(ImportError, match=r'torch needs cupy: pip install "agauss\[cuda13\]" or "agauss\[cuda12\]"'):
        memory.cupy()


@pytest.mark.skipif(not hasattr(torch.Tag, "cudagraph_unsafe"), reason="this PyTorch has no such tag")
def test_tags_are_a_sequence_as_pytorch_before_2_13_wants_them():
    assert list(UNSAFE_IN_GRAPHS["tags"]) == [torch.Tag.cudagraph_unsafe]


@pytest.mark.skipif(not hasattr(torch.Tag, "cudagraph_unsafe"), reason="this PyTorch has no such tag")
@pytest.mark.parametrize("name", ["kl", "sample", "sample_vjp"])
def test_compiled_functions_keep_operators_out_of_cuda_graphs(name):
    assert torch.Tag.cudagraph_unsafe in getattr(torch.ops.agauss, name).default.tags
