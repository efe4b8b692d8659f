"""PyTorch's tensors as NumPy's and CuPy's arrays, and back, without a copy; CuPy on PyTorch's streams and memory."""

from __future__ import annotations  # Tensor is a type to checkers alone

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agauss.arrays import Device, library_of
from agauss.backends.protocol import Array
from agauss.integrations import need

if TYPE_CHECKING:
    from torch import Tensor

torch = need("torch", "torch")


def array_of(tensor: Tensor) -> Array:
    """The tensor's memory as a NumPy or CuPy array."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.is_neg() or tensor._is_zerotensor():
        tensor = tensor.clone()  # the memory of such a view holds other numbers, or none
    half = tensor.dtype is torch.bfloat16
    if half:
        tensor = tensor.view(torch.int16)
    array = cupy().from_dlpack(tensor) if tensor.is_cuda else tensor.numpy()
    return array.view(need("ml_dtypes", "torch").bfloat16) if half else array


def tensor_of(array: Array) -> Tensor:
    """A NumPy array's memory as a tensor, or a CuPy array's that was made inside `on_device_of`."""
    if not isinstance(array, np.ndarray):
        memory = array.data.mem.tensor
        start = (array.data.ptr - memory.data_ptr()) // array.itemsize
        steps = [n // array.itemsize for n in array.strides]
        tensor = memory.new_empty(0, dtype=getattr(torch, array.dtype.name))
        return tensor.set_(memory.untyped_storage(), start, array.shape, steps)
    half = array.dtype.kind == "V"  # ml_dtypes' bfloat16
    tensor = torch.from_numpy(array.view(np.int16) if half else array)
    return tensor.view(torch.bfloat16) if half else tensor


def empty_like(array: Array) -> Array:
    """An array to be filled, in the library's own memory: NumPy's comes in huge pages, unlike PyTorch's."""
    return library_of(array).backend.empty(array.shape, array.dtype, array)  # type: ignore[union-attr]


@lru_cache
def cupy() -> Any:
    return need("cupy", "torch", "cuda13", "cuda12")


class Stream(NamedTuple):
    """PyTorch's stream by the protocol of CUDA streams, which older versions of its own class do not know."""

    address: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


@lru_cache
def allocator(device: Device) -> Callable[[int], Any]:
    """PyTorch's memory for CuPy: one pool for both, so streams and captured graphs are known where they must be."""
    cuda = cupy().cuda

    class Memory(cuda.UnownedMemory):  # type: ignore[misc, name-defined]
        def __init__(self, size: int) -> None:
            self.tensor = torch.empty(size, dtype=torch.uint8, device=device)
            super().__init__(self.tensor.data_ptr(), size, self.tensor, device.index or 0)

    return lambda size: cuda.MemoryPointer(Memory(size), 0)


def on_device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """A context in which CuPy computes where the tensor is, on PyTorch's current stream and in its memory."""
    device = tensor.device
    if device.type == "cpu":
        return nullcontext()
    if device.type != "cuda":
        raise ValueError(f"tensors must be on the CPU or a CUDA device; got {device}: move them there with .to()")
    cuda = cupy().cuda
    with ExitStack() as stack:
        stack.enter_context(torch.cuda.device(device))
        stack.enter_context(cuda.Device(device.index))
        stack.enter_context(cuda.Stream.from_external(Stream(torch.cuda.current_stream(device).cuda_stream)))
        stack.enter_context(cuda.using_allocator(allocator(device)))
        return stack.pop_all()
