"""What the checks need of NumPy, PyTorch, JAX and CuPy beyond their arrays' own methods; knows no Gaussian."""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np


class NotApplicable(Exception):
    """Why a check says nothing about this class on these arrays."""


class NumPy:
    """The arrays of NumPy, and what the other libraries have in common with them."""

    name = "numpy"
    has_global_generator = True

    def __init__(self) -> None:
        self.kind: Any = np.ndarray
        self.dtypes: tuple[str, ...] = ("float32", "float64")  # beside float16, which all of them have

    def array(self, values: Any) -> Any:
        """A new array of NumPy's values and dtype."""
        return np.array(values)

    def host(self, x: Any) -> Any:
        """An array's values in NumPy, of the same dtype, to be read at once."""
        return np.asarray(x)

    def edit(self, x: Any) -> bool:
        """Whether writing to an array was allowed."""
        try:
            x[...] = 99
        except (TypeError, ValueError, RuntimeError):
            return False
        return True

    def gradient(self, function: Callable[[Any], Any], x: Any) -> Any:
        """The gradient at x, an array, of a function whose value is a number, by the library's own autograd."""
        raise NotApplicable(f"{self.name} has no autograd")

    def storage(self, x: Any) -> tuple[Any, int]:
        """The memory that an array keeps alive: its address and its size in bytes."""
        while isinstance(x.base, self.kind):
            x = x.base
        return x.__array_interface__["data"][0], x.nbytes

    def elsewhere(self, x: Any) -> Any:
        """An array on a device that is not the library's default one, where there is such a device."""
        return x

    def twins(self, x: Any) -> tuple[Any, Any]:
        """An array on the CPU, and the same on a GPU."""
        raise NotApplicable(f"{self.name} has no GPU")

    def seed(self, seed: int) -> None:
        """Seed the library's global generator."""
        np.random.seed(seed)  # noqa: NPY002

    def source(self, name: str, seed: int) -> Any:
        """What `sample` takes under the name "rng", "generator" or "key"."""
        return np.random.default_rng(seed)

    def next_number(self, source: Any = None) -> Any:
        """The number that a source, by default the global generator, would give next; None of a key."""
        if source is None:
            return np.random.random()  # noqa: NPY002
        return source.random() if isinstance(source, np.random.Generator) else None


class PyTorch(NumPy):
    name = "torch"

    def __init__(self) -> None:
        super().__init__()
        self.torch = import_module("torch")
        self.kind = self.torch.Tensor

    def array(self, values: Any) -> Any:
        return self.torch.from_numpy(np.array(values))

    def host(self, x: Any) -> Any:
        return x.detach().cpu().numpy()

    def gradient(self, function: Callable[[Any], Any], x: Any) -> Any:
        x = x.requires_grad_()
        return self.torch.autograd.grad(function(x), x)[0]

    def storage(self, x: Any) -> tuple[Any, int]:
        storage = x.untyped_storage()
        return storage.data_ptr(), storage.nbytes()

    def elsewhere(self, x: Any) -> Any:
        return x.to("cuda" if self.torch.cuda.is_available() else "meta")

    def twins(self, x: Any) -> tuple[Any, Any]:
        if not self.torch.cuda.is_available():
            raise NotApplicable("PyTorch finds no GPU")
        return x, x.to("cuda")

    def seed(self, seed: int) -> None:
        self.torch.manual_seed(seed)

    def source(self, name: str, seed: int) -> Any:
        return self.torch.Generator().manual_seed(seed) if name == "generator" else super().source(name, seed)

    def next_number(self, source: Any = None) -> Any:
        if source is None or isinstance(source, self.torch.Generator):
            return float(self.torch.rand((), generator=source))
        return super().next_number(source)


class Jax(NumPy):
    name = "jax"
    has_global_generator = False

    def __init__(self) -> None:
        super().__init__()
        self.jax = import_module("jax")
        self.kind = self.jax.Array
        self.dtypes = ("float32", "float64") if self.jax.config.jax_enable_x64 else ("float32",)

    def array(self, values: Any) -> Any:
        return self.jax.numpy.array(values)

    def gradient(self, function: Callable[[Any], Any], x: Any) -> Any:
        return self.jax.grad(function)(x)

    def storage(self, x: Any) -> tuple[Any, int]:
        return x.unsafe_buffer_pointer(), x.nbytes

    def twins(self, x: Any) -> tuple[Any, Any]:
        devices = [device for device in self.jax.devices() if device.platform == "gpu"]
        if not devices:
            raise NotApplicable("JAX finds no GPU")
        return self.jax.device_put(x, self.jax.devices("cpu")[0]), self.jax.device_put(x, devices[0])

    def seed(self, seed: int) -> None:
        raise NotApplicable("JAX has no global generator, and sample takes no rng, generator or key")

    def source(self, name: str, seed: int) -> Any:
        return super().source(name, seed) if name == "generator" else self.jax.random.key(seed)


class CuPy(NumPy):
    name = "cupy"

    def __init__(self) -> None:
        super().__init__()
        self.cupy = import_module("cupy")
        self.kind = self.cupy.ndarray
        self.array(0.0)  # an error without a GPU

    def array(self, values: Any) -> Any:
        return self.cupy.array(values)

    def host(self, x: Any) -> Any:
        return self.cupy.asnumpy(x)  # which takes NumPy's arrays as well: one of the twins

    def storage(self, x: Any) -> tuple[Any, int]:
        while isinstance(x.base, self.kind):
            x = x.base
        return x.data.ptr, x.nbytes

    def twins(self, x: Any) -> tuple[Any, Any]:
        return self.cupy.asnumpy(x), x

    def seed(self, seed: int) -> None:
        self.cupy.random.seed(seed)

    def source(self, name: str, seed: int) -> Any:
        return self.cupy.random.default_rng(seed) if name == "generator" else super().source(name, seed)

    def next_number(self, source: Any = None) -> Any:
        if source is None or isinstance(source, self.cupy.random.Generator):
            return float((self.cupy.random if source is None else source).random(1)[0])
        return super().next_number(source)


LIBRARIES = {library.name: library for library in (NumPy, PyTorch, Jax, CuPy)}


def library_of_class(cls: type) -> str:
    """The library that a class's module has names of: PyTorch, else JAX, else CuPy, else NumPy."""
    values = list(vars(sys.modules[cls.__module__]).values())
    owners = [v.__name__ if isinstance(v, ModuleType) else getattr(v, "__module__", None) for v in values]
    used = {owner.partition(".")[0] for owner in owners if isinstance(owner, str)}
    return next((name for name in (PyTorch.name, Jax.name, CuPy.name) if name in used), NumPy.name)
