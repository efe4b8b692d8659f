"""PyTorch: agauss's functions and its distribution on tensors, differentiable; knows no formula.

Tensors go without a copy to the Numba loops, or on CUDA to the kernels, through operators that PyTorch knows
(`torch.ops.agauss`), each with its gradient. So autograd, torch.compile, autocast and torch.func.vmap take them. Second
derivatives are PyTorch's own, of the gradients in the array-API form.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import lru_cache, reduce
from typing import Any, NamedTuple, Self

import numpy as np

import agauss
from agauss import ops
from agauss import options as checks
from agauss.arrays import NUMPY, floating, is_number, library_of
from agauss.integrations import need
from agauss.keys import Key, as_key
from agauss.maths.noise import MASK32
from agauss.options import BOUND_KINDS, DEFAULT_LIMITS, check_index, flag_of, halves, sizes_of

torch = need("torch", "torch")
forward_ad = need("torch.autograd.forward_ad", "torch")

__all__ = [
    "DiagonalGaussianDistribution",
    "DiracDistribution",
    "clamp",
    "entropy",
    "kl",
    "log_prob",
    "mode",
    "nll",
    "normal_kl",
    "sample",
    "sample_and_kl",
    "saturated",
    "std",
    "var",
]
DiracDistribution = agauss.DiracDistribution
# Without their memory, which torch.compile does not see into.
axes_of: Any = inspect.unwrap(checks.axes_of)
bounds_of: Any = inspect.unwrap(checks.bounds_of)
slices_of: Any = inspect.unwrap(checks.slices_of)
KINDS = (torch.Tensor, torch.nn.Parameter)
for _kind in KINDS:
    library_of(_kind(torch.empty(0)))  # known from here on, for torch.compile would stumble over finding out
Axis = int | Sequence[int] | None
MASK64 = 2**64 - 1
# A graph would draw the same noise at every launch, as the key is read when the kernel is launched, not when it runs.
UNSAFE_IN_GRAPHS = {"tags": torch.Tag.cudagraph_unsafe} if hasattr(torch.Tag, "cudagraph_unsafe") else {}
HALF = (torch.float16, torch.bfloat16)


def __dir__() -> list[str]:
    return __all__


# What the operators have in common


class Options(NamedTuple):
    """What follows the tensors in every operator, flat, as PyTorch's schemas want it."""

    split: int | None  # the axis along which the mean's tensor holds the log-variance too, if it does
    axis: Sequence[int]
    bounds: Sequence[float]  # low, high and the number of the kind, where there are any
    bounds2: Sequence[float]
    key: Any  # seed and stream: a tensor, for a compiled function draws anew in each call
    index: Any
    sample_shape: Sequence[int]

    def given_to(self, function: Callable[..., Any], traced: bool = False) -> dict[str, Any]:
        """Those that an agauss function takes, as it takes them; where traced, without a look at a tensor's values."""
        found: dict[str, Any] = {
            "axis": tuple(self.axis),
            "bounds": _bounds_of(self.bounds),
            "bounds2": _bounds_of(self.bounds2),
            "rng": None if self.key is None else _traced_key_of(self.key) if traced else _key_of(self.key),
            "index": self.index if traced or self.index is None else _array(self.index),
            "sample_shape": tuple(self.sample_shape),
        }
        return {name: found[name] for name in _parameters(function) if name in found}


SCHEMA = "int? split, int[] axis, float[] bounds, float[] bounds2, Tensor? key, Tensor? index, SymInt[] sample_shape"


@lru_cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _bounds_of(bounds: Sequence[float]) -> tuple[float, float, str] | None:
    return (bounds[0], bounds[1], BOUND_KINDS[int(bounds[2])]) if bounds else None


def _key_of(key: Any) -> Key:
    seed, stream = key.tolist()
    return Key(seed & MASK64, stream & MASK32)


def _traced_key_of(key: Any) -> Key:
    seed, stream = key.unbind(-1)
    return Key.of_words(seed & MASK32, (seed >> 32) & MASK32, stream & MASK32)


def _array(tensor: Any) -> Any:
    """The tensor's memory as a NumPy or CuPy array."""
    tensor = tensor.detach()
    if tensor.is_neg() or tensor._is_zerotensor():
        tensor = tensor.clone()  # the memory of such a view holds other numbers, or none
    half = tensor.dtype is torch.bfloat16
    if half:
        tensor = tensor.view(torch.int16)
    array = _cupy().from_dlpack(tensor) if tensor.is_cuda else tensor.numpy()
    return array.view(need("ml_dtypes", "torch").bfloat16) if half else array


def _tensor(array: Any) -> Any:
    """A NumPy array's memory as a tensor, or a CuPy array's that was made inside `_where`."""
    if not isinstance(array, np.ndarray):
        memory = array.data.mem.tensor
        start = (array.data.ptr - memory.data_ptr()) // array.itemsize
        steps = [n // array.itemsize for n in array.strides]
        tensor = memory.new_empty(0, dtype=getattr(torch, array.dtype.name))
        return tensor.set_(memory.untyped_storage(), start, array.shape, steps)
    half = array.dtype.kind == "V"  # ml_dtypes' bfloat16
    tensor = torch.from_numpy(array.view(np.int16) if half else array)
    return tensor.view(torch.bfloat16) if half else tensor


def _empty_like(array: Any) -> Any:
    """An array to be filled, in the library's own memory: NumPy's comes in huge pages, unlike PyTorch's."""
    return library_of(array).backend.empty(array.shape, array.dtype, array)  # type: ignore[union-attr]


@lru_cache
def _cupy() -> Any:
    return need("cupy", "torch", "cuda13", "cuda12")


class Stream(NamedTuple):
    """PyTorch's stream by the protocol of CUDA streams, which older versions of its own class do not know."""

    address: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


@lru_cache
def _allocator(device: Any) -> Callable[[int], Any]:
    """PyTorch's memory for CuPy: one pool for both, so streams and captured graphs are known where they must be."""
    cuda = _cupy().cuda

    class Memory(cuda.UnownedMemory):  # type: ignore[misc, name-defined]
        def __init__(self, size: int) -> None:
            self.tensor = torch.empty(size, dtype=torch.uint8, device=device)
            super().__init__(self.tensor.data_ptr(), size, self.tensor, device.index or 0)

    return lambda size: cuda.MemoryPointer(Memory(size), 0)


def _where(tensor: Any) -> AbstractContextManager[Any]:
    """A context in which CuPy computes where the tensor is, on PyTorch's current stream and in its memory."""
    device = tensor.device
    if device.type == "cpu":
        return nullcontext()
    if device.type != "cuda":
        raise ValueError(f"tensors must be on the CPU or a CUDA device; got {device}: move them there with .to()")
    cuda = _cupy().cuda
    with ExitStack() as stack:
        stack.enter_context(torch.cuda.device(device))
        stack.enter_context(cuda.Device(device.index))
        stack.enter_context(cuda.Stream.from_external(Stream(torch.cuda.current_stream(device).cuda_stream)))
        stack.enter_context(cuda.using_allocator(_allocator(device)))
        return stack.pop_all()


# The operators


class Operator:
    """One of agauss's functions and its vjp as the operators `name` and `name_vjp` of torch.ops.agauss."""

    def __init__(self, name: str, tensors: Sequence[str], values: Sequence[str], function: Any, vjp: Any) -> None:
        self.tensors, self.values, self.function, self.vjp = tensors, values, function, vjp
        self.mean = tensors.index("mean") if "mean" in tensors else 0
        # With parameters in the mean's place there is no log-variance; kl may have no second Gaussian.
        given = ", ".join(f"Tensor{'' if n == 'x' or k == self.mean else '?'} {n}" for k, n in enumerate(tensors))
        results = ", ".join("Tensor" for _ in values)
        self.forward = self._operator(name, f"({given}, {SCHEMA}) -> ({results})", self._forward, self._like)
        if vjp is None:
            return
        cotangents = ", ".join(f"Tensor g{k}" for k in range(len(values)))
        self.backward = self._operator(
            f"{name}_vjp", f"({given}, {cotangents}, {SCHEMA}) -> Tensor[]", self._backward, self._gradients_like
        )
        self.forward.register_autograd(self._pull, setup_context=_remember)
        self.backward.register_autograd(self._pull_again, setup_context=_remember)

    @staticmethod
    def _operator(name: str, schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> Any:
        def checked(*args: Any) -> Any:
            if forward_ad._current_level >= 0 and torch._C._is_fwd_grad_enabled() and _has_tangents(args):
                raise NotImplementedError(
                    f"torch.ops.agauss.{name} takes no tensors with tangents; agauss.integrations.torch's functions do"
                )
            return run(*args)

        made = torch.library.custom_op(f"agauss::{name}", checked, mutates_args=(), schema=schema, **UNSAFE_IN_GRAPHS)
        made.register_fake(fake)
        return made

    def _parted(self, args: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Options]:
        """An operator's arguments as tensors, cotangents and options."""
        n, first = len(self.tensors), len(args) - len(Options._fields)
        return args[:n], args[n:first], Options(*args[first:])

    def _primals(self, tensors: Sequence[Any], options: Options) -> list[Any]:
        """The arguments of agauss's function: parameters in the mean's place are taken apart."""
        found = list(tensors)
        if options.split is not None:
            found[self.mean : self.mean + 2] = halves(found[self.mean], options.split)
        return found

    def _forward(self, *args: Any) -> Any:
        tensors, _, options = self._parted(args)
        with _where(tensors[0]):
            primals = self._primals([None if t is None else _array(t) for t in tensors], options)
            value = self.function(*primals, **options.given_to(self.function))
            return tuple(_tensor(v) for v in value) if len(self.values) > 1 else _tensor(value)

    def value(self, tensors: Sequence[Any], options: Options) -> Any:
        """The values, by whatever can compute them; autograd sees those of the operator alone."""
        if torch._C._are_functorch_transforms_active():
            return self.plain(tensors, options)
        return (self._forward if _eager(tensors) else self.forward)(*tensors, *options)

    def plain(self, tensors: Sequence[Any], options: Options) -> Any:
        """agauss's function in the array-API form, every step of which PyTorch knows."""
        return self.function(*self._primals(tensors, options), **options.given_to(self.function, traced=True))

    def plain_vjp(self, tensors: Sequence[Any], cotangents: Sequence[Any], options: Options) -> tuple[Any, ...]:
        """The gradients by the tensors that there are, in the array-API form."""
        primals, cotangent = self._primals(tensors, options), tuple(cotangents)
        options_of_vjp = options.given_to(self.vjp, traced=True)
        found = list(self.vjp(*primals, cotangent=cotangent if len(cotangent) > 1 else cotangent[0], **options_of_vjp))
        if options.split is not None:
            found[self.mean : self.mean + 2] = [torch.cat(found[self.mean : self.mean + 2], dim=options.split)]
        return tuple(found)

    def plain_jvp(self, tensors: Sequence[Any], tangents: Sequence[Any], options: Options) -> Any:
        """The values' tangents: the vjp is linear in its cotangents, and this its transpose."""
        zeros = [torch.zeros_like(v) for v in _as_tuple(self._like(*tensors, *options))]
        _, transposed = torch.func.vjp(lambda *g: self.plain_vjp(tensors, g, options), *zeros)
        found = transposed(tuple([v for t, v in zip(tensors, tangents, strict=True) if t is not None]))
        return found if len(self.values) > 1 else found[0]

    def plain_second_vjp(
        self, tensors: Sequence[Any], cotangents: Sequence[Any], options: Options, gradients: Sequence[Any]
    ) -> tuple[Any, ...]:
        """What the vjp's own vjp gives by tensors and cotangents that there are. torch.func.vjp takes each for a
        variable of its own, though some may be one tensor, or made of each other."""
        given = [t for t in tensors if t is not None]

        def vjp(*variables: Any) -> tuple[Any, ...]:
            own = iter(variables)
            primals = [None if t is None else next(own) for t in tensors]
            return self.plain_vjp(primals, tuple(own), options)

        value, pull = torch.func.vjp(vjp, *given, *cotangents)
        weights = [torch.zeros_like(v) if g is None else g for v, g in zip(value, gradients, strict=True)]
        return tuple(pull(tuple(weights)))

    def _like(self, *args: Any) -> Any:
        """Empty tensors of the shapes and dtypes that _forward gives."""
        tensors, _, options = self._parted(args)
        given = [t for t in self._primals(tensors, options) if t is not None]
        shape, dtype = torch.broadcast_shapes(*[t.shape for t in given]), given[0].dtype
        axes = [axis % len(shape) for axis in options.axis]
        wide = torch.float32 if dtype in HALF else dtype
        kept = [n for place, n in enumerate(shape) if place not in axes]
        kinds = {
            "sum": (kept, wide),
            "count": (kept, torch.int64),
            "wide": (shape, wide),
            "own": ([*options.sample_shape, *shape], dtype),
        }
        made = [tensors[0].new_empty(kinds[kind][0], dtype=kinds[kind][1]) for kind in self.values]
        return tuple(made) if len(made) > 1 else made[0]

    def _backward(self, *args: Any) -> list[Any]:
        tensors, cotangents, options = self._parted(args)
        with _where(tensors[0]):
            given = [None if t is None else _array(t) for t in tensors]
            gradients = [None if a is None else _empty_like(a) for a in given]
            outs = [out for out in self._primals(gradients, options) if out is not None]
            pulled = tuple(_array(g) for g in cotangents)
            cotangent = pulled if len(self.values) > 1 else pulled[0]
            self.vjp(*self._primals(given, options), cotangent=cotangent, out=outs, **options.given_to(self.vjp))
            return [_tensor(g) for g in gradients if g is not None]

    def _gradients_like(self, *args: Any) -> list[Any]:
        tensors, _, _ = self._parted(args)
        return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in tensors if t is not None]

    def _pull(self, ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        tensors, _, options = self._parted(_remembered(ctx))
        args = (*tensors, *gradients, *options)
        if _watched():
            found = iter(self.plain_vjp(tensors, gradients, options))
        elif _batched(gradients):
            with Expanding():
                found = iter(self.plain_vjp(tensors, gradients, options))
        elif not _eager((*tensors, *gradients)):
            found = iter(self.backward(*args))
        elif torch.is_grad_enabled():
            found = iter(EagerGradient.apply(self, *args))
        else:
            found = iter(self._backward(*args))
        return (*(None if t is None else next(found) for t in tensors), *(None for _ in options))

    def _pull_again(self, ctx: Any, gradients: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of a gradient: PyTorch's own, of the vjp in the array-API form."""
        tensors, cotangents, options = self._parted(_remembered(ctx))
        with Expanding() if _batched(gradients) else nullcontext():
            found = iter(self.plain_second_vjp(tensors, cotangents, options, gradients))
        # PyTorch takes a list without entries for one of tensors here, and wants a list.
        nothing: list[Any] = [[] if isinstance(option, (list, tuple)) and not option else None for option in options]
        return (*(None if t is None else next(found) for t in (*tensors, *cotangents)), *nothing)


class Eager(torch.autograd.Function):  # type: ignore[misc, name-defined]
    """An operator with its gradient, without PyTorch's dispatcher."""

    @staticmethod
    def forward(ctx: Any, operator: Operator, *args: Any) -> Any:
        ctx.operator = operator
        _remember(ctx, args)
        return operator._forward(*args)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        return None, *ctx.operator._pull(ctx, *gradients)


class EagerGradient(torch.autograd.Function):  # type: ignore[misc, name-defined]
    """The gradient of an operator, with its own gradient."""

    @staticmethod
    def forward(ctx: Any, operator: Operator, *args: Any) -> tuple[Any, ...]:
        ctx.operator = operator
        _remember(ctx, args)
        return tuple(operator._backward(*args))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        return None, *(g if isinstance(g, torch.Tensor) else None for g in ctx.operator._pull_again(ctx, gradients))


class Watched(torch.autograd.Function):  # type: ignore[misc, name-defined]
    """An operator under torch.func, batched gradients or forward-mode AD, with derivatives in the array-API form."""

    generate_vmap_rule = True

    @staticmethod
    def forward(call: "Call", *args: Any) -> Any:
        return call.operator.value(*call.parted(args))

    @staticmethod
    def setup_context(ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        ctx.call, *args = inputs
        ctx.save_for_backward(*args)
        ctx.save_for_forward(*args)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        tensors, options = ctx.call.parted(ctx.saved_tensors)
        found = iter(ctx.call.operator.plain_vjp(tensors, gradients, options))
        return (None, *(None if t is None else next(found) for t in tensors), None, None)

    @staticmethod
    def jvp(ctx: Any, _: Any, *tangents: Any) -> Any:
        # PyTorch turns forward mode off here, and so would lose the tangents of a transform around this one.
        with forward_ad._set_fwd_grad_enabled(True):
            saved = [None if t is None else forward_ad.unpack_dual(t, level=0).primal for t in ctx.saved_tensors]
            tensors, options = ctx.call.parted(saved)
            return ctx.call.operator.plain_jvp(tensors, tangents[: len(tensors)], options)


class Call:
    """An operator and its options, for PyTorch in one piece: it would look for tensors in a tuple."""

    def __init__(self, operator: Operator, options: Options) -> None:
        self.operator, self.options = operator, options._replace(key=None, index=None)

    def parted(self, args: Sequence[Any]) -> tuple[Sequence[Any], Options]:
        """The operator's tensors, and its options with the key and the index that follow those."""
        *tensors, key, index = args
        return tensors, self.options._replace(key=key, index=index)


def _remember(ctx: Any, inputs: Sequence[Any], output: Any = None) -> None:
    """Keep what a gradient needs: the arguments alone."""
    ctx.tensors = [k for k, a in enumerate(inputs) if isinstance(a, torch.Tensor)]
    ctx.save_for_backward(*(inputs[k] for k in ctx.tensors))
    ctx.others = [None if isinstance(a, torch.Tensor) else a for a in inputs]


def _remembered(ctx: Any) -> list[Any]:
    args = list(ctx.others)
    for place, tensor in zip(ctx.tensors, ctx.saved_tensors, strict=True):
        args[place] = tensor
    return args


OPERATORS = {
    name: Operator(name, tensors, values, function, vjp)
    for name, tensors, values, function, vjp in (
        ("kl", ("mean", "logvar", "mean2", "logvar2"), ("sum",), ops.kl, ops.kl_vjp),
        ("nll", ("x", "mean", "logvar"), ("sum",), ops.nll, ops.nll_vjp),
        ("log_prob", ("x", "mean", "logvar"), ("sum",), ops.log_prob, ops.log_prob_vjp),
        ("entropy", ("logvar",), ("sum",), ops.entropy, ops.entropy_vjp),
        ("std", ("logvar",), ("wide",), ops.std, ops.std_vjp),
        ("var", ("logvar",), ("wide",), ops.var, ops.var_vjp),
        ("clamp", ("logvar",), ("own",), ops.clamp, ops.clamp_vjp),
        ("saturated", ("logvar",), ("count",), ops.saturated, None),
        ("sample", ("mean", "logvar"), ("own",), ops.sample, ops.sample_vjp),
        ("sample_and_kl", ("mean", "logvar"), ("own", "sum"), ops.sample_and_kl_of, ops.sample_and_kl_of_vjp),
    )
}


# The functions


def _call(
    name: str,
    tensors: Sequence[Any],
    *,
    split: int | None = None,
    axis: Axis = (),
    bounds: Any = None,
    bounds2: Any = None,
    rng: Any = None,
    generator: Any = None,
    index: Any = None,
    sample_shape: int | Sequence[int] = (),
) -> Any:
    operator = OPERATORS[name]
    tensors = _as_tensors(operator.tensors, tensors)
    rank = max([t.dim() for t in tensors if t is not None])
    options = Options(
        split,
        list(axes_of(axis, rank)),
        _flat_bounds(bounds, "bounds"),
        _flat_bounds(bounds2, "bounds2"),
        _key(rng, generator) if name in ("sample", "sample_and_kl") else None,
        _ids(index, tensors),
        list(sizes_of(sample_shape, "sample_shape")),
    )
    if _watched() and operator.vjp is not None:
        transformed = _transformed if torch._C._are_functorch_transforms_active() else _apart
        return transformed(name, *tensors, *options)
    if torch.is_grad_enabled() and any([t is not None and t.requires_grad for t in tensors]) and _eager(tensors):  # noqa: C419, for speed
        return Eager.apply(operator, *tensors, *options)
    return operator.value(tensors, options)


@torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]  # torch.compile does not see into a jvp
def _transformed(name: str, *args: Any) -> Any:
    operator = OPERATORS[name]
    tensors, _, options = operator._parted(args)
    return Watched.apply(Call(operator, options), *tensors, options.key, options.index)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # compiled code takes no tangents of forward_ad
def _apart(name: str, *args: Any) -> Any:
    return _transformed(name, *args)


def _eager(tensors: Sequence[Any]) -> bool:
    """Whether none but autograd looks on, so that PyTorch's dispatcher can be passed by: it takes longer than a small
    tensor."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch.jit.is_tracing()
        or any([t is not None and (type(t) not in KINDS or t.device.type == "meta") for t in tensors])  # noqa: C419
    )


def _watched() -> bool:
    """Whether torch.func, batched gradients or forward-mode AD look on."""
    return bool(torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0)


def _has_tangents(args: Sequence[Any]) -> bool:
    return any(forward_ad.unpack_dual(a, level=0).tangent is not None for a in args if isinstance(a, torch.Tensor))


def _batched(gradients: Sequence[Any]) -> bool:
    """Whether autograd's own vmap has batched gradients, as for is_grads_batched=True."""
    return any([g is not None and torch._C._functorch.is_legacy_batchedtensor(g) for g in gradients])  # noqa: C419


class Expanding(torch.overrides.TorchFunctionMode):  # type: ignore[misc, name-defined]
    """expand in place of broadcast_to, for which autograd's own vmap has no rule."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0].expand(args[1]) if func is torch.broadcast_to else func(*args, **(kwargs or {}))


def _as_tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


def _flat_bounds(bounds: Any, name: str) -> list[float]:
    found = bounds_of(bounds, name)
    return [] if found is None else [found[0], found[1], float(BOUND_KINDS.index(found[2]))]


def _as_tensors(names: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """Tensors of one dtype and device: numbers take those of the others, and autocast may have mixed the dtypes."""
    for name, value in zip(names, values, strict=True):
        if not (value is None or isinstance(value, torch.Tensor) or is_number(value)):
            raise TypeError(
                f"{name} must be a torch.Tensor or a real number; got {type(value).__name__} "
                "(torch.from_numpy and torch.from_dlpack make tensors of other arrays)"
            )
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    first = tensors[0] if tensors else torch.empty((), dtype=torch.float64)
    for name, value in zip(names, values, strict=True):
        if isinstance(value, torch.Tensor) and value.device != first.device:
            raise ValueError(f"{name} must be on the device of the others, {first.device}; got {value.device}")
        if isinstance(value, torch.Tensor) and value.layout is not torch.strided:
            raise TypeError(f"{name} must be a dense tensor; got {value.layout}: use .to_dense()")
    dtype = first.dtype
    if any([t.dtype != dtype for t in tensors]) and _autocast(first.device.type):  # noqa: C419, for speed
        dtype = reduce(torch.promote_types, [t.dtype for t in tensors])
        values = [v.to(dtype) if isinstance(v, torch.Tensor) else v for v in values]
    return [torch.full((), v, dtype=dtype, device=first.device) if is_number(v) else v for v in values]


def _autocast(device_type: str) -> bool:
    return bool(torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type))


def _ids(index: Any, tensors: Sequence[Any]) -> Any:
    """Sample ids as a tensor, checked where that stops no device: what comes as a tensor is left to the operator."""
    if index is None or isinstance(index, torch.Tensor):
        return index
    if torch.compiler.is_compiling():  # it sees through no check of an array
        if isinstance(index, (list, tuple, range)) and any(n < 0 for n in index):
            raise ValueError(f"index must not be negative; got {index!r}")
        return torch.as_tensor(list(index) if isinstance(index, range) else index, device="cpu")
    shape = tuple(torch.broadcast_shapes(*[t.shape for t in tensors if t is not None]))
    return torch.from_numpy(check_index(index, NUMPY, shape).astype(np.uint64, order="C"))


def _key(rng: Any, generator: Any, draw: bool = True) -> Any:
    """Seed and stream as a tensor: of `rng`, or drawn from a torch.Generator, by default PyTorch's own. Without `draw`
    both are only checked, and no generator is advanced."""
    if isinstance(rng, torch.Generator):
        rng, generator = generator, rng
    if rng is not None and generator is not None:
        raise TypeError("rng and generator must not both be given")
    if rng is None:
        if not (generator is None or isinstance(generator, torch.Generator)):
            raise TypeError(f"generator must be a torch.Generator; got {type(generator).__name__}")
        if not draw:
            return None
        device = "cpu" if generator is None else generator.device
        return torch.randint(-(2**63), 2**63 - 1, (2,), generator=generator, device=device, dtype=torch.int64).cpu()
    if type(rng) is int and 0 <= rng < 2**63:  # without a look inside, so that a step that is compiled serves them all
        return torch.tensor([rng, 0], dtype=torch.int64, device="cpu")
    key = as_key(rng, draw=draw)
    seed = key.seed - 2**64 if key.seed >= 2**63 else key.seed
    return torch.tensor([seed, key.stream], dtype=torch.int64, device="cpu")


def kl(
    mean: Any,
    logvar: Any,
    mean2: Any = None,
    logvar2: Any = None,
    *,
    axis: Axis = None,
    bounds: Any = None,
    bounds2: Any = None,
) -> Any:
    """``agauss.kl`` of tensors, differentiable.

    Examples
    --------
    >>> import torch
    >>> from agauss.integrations import torch as agt
    >>> mean = torch.tensor([3.0], requires_grad=True)
    >>> agt.kl(mean, torch.zeros(1)).backward()
    >>> mean.grad
    tensor([3.])
    """
    return _call("kl", (mean, logvar, mean2, logvar2), axis=axis, bounds=bounds, bounds2=bounds2)


def normal_kl(mean1: Any, logvar1: Any, mean2: Any, logvar2: Any) -> Any:
    """``agauss.normal_kl`` of tensors, differentiable."""
    return _call("kl", (mean1, logvar1, mean2, logvar2))


def nll(x: Any, mean: Any, logvar: Any, *, axis: Axis = None, bounds: Any = None) -> Any:
    """``agauss.nll`` of tensors, differentiable."""
    return _call("nll", (x, mean, logvar), axis=axis, bounds=bounds)


def log_prob(x: Any, mean: Any, logvar: Any, *, axis: Axis = None, bounds: Any = None) -> Any:
    """``agauss.log_prob`` of tensors, differentiable."""
    return _call("log_prob", (x, mean, logvar), axis=axis, bounds=bounds)


def entropy(logvar: Any, *, axis: Axis = None, bounds: Any = None) -> Any:
    """``agauss.entropy`` of a tensor, differentiable."""
    return _call("entropy", (logvar,), axis=axis, bounds=bounds)


def std(logvar: Any, *, bounds: Any = None) -> Any:
    """``agauss.std`` of a tensor, differentiable."""
    return _call("std", (logvar,), bounds=bounds)


def var(logvar: Any, *, bounds: Any = None) -> Any:
    """``agauss.var`` of a tensor, differentiable."""
    return _call("var", (logvar,), bounds=bounds)


def clamp(logvar: Any, *, bounds: Any) -> Any:
    """``agauss.clamp`` of a tensor, differentiable."""
    return _call("clamp", (logvar,), bounds=bounds)


def mode(mean: Any, logvar: Any) -> Any:
    """``agauss.mode`` of tensors, differentiable."""
    mean, logvar = _as_tensors(("mean", "logvar"), (mean, logvar))
    return torch.broadcast_tensors(mean, logvar)[0].clone()


def saturated(logvar: Any, *, bounds: Any = DEFAULT_LIMITS, axis: Axis = None) -> Any:
    """``agauss.saturated`` of a tensor."""
    return _call("saturated", (logvar,), axis=axis, bounds=bounds)


def sample(
    mean: Any,
    logvar: Any,
    *,
    rng: Any = None,
    generator: Any = None,
    index: Any = None,
    sample_shape: int | Sequence[int] = (),
    bounds: Any = None,
) -> Any:
    """``agauss.sample`` of tensors, differentiable.

    ``generator``, a torch.Generator, draws a key in place of ``rng``, which may be one too; with neither, the key comes
    from PyTorch's default generator, so that ``torch.manual_seed`` decides it. A generator on a CUDA device is waited
    for.

    Examples
    --------
    >>> import torch
    >>> from agauss.integrations import torch as agt
    >>> zeros = torch.zeros(3)
    >>> bool((agt.sample(zeros, zeros, rng=7) == torch.from_numpy(agt.agauss.random.normal(3, rng=7))).all())
    True
    """
    return _call(
        "sample",
        (mean, logvar),
        rng=rng,
        generator=generator,
        index=index,
        sample_shape=sample_shape,
        bounds=bounds,
    )


def sample_and_kl(
    parameters: Any,
    *,
    rng: Any = None,
    generator: Any = None,
    axis: int = 1,
    index: Any = None,
    bounds: Any = DEFAULT_LIMITS,
) -> tuple[Any, Any]:
    """``agauss.sample_and_kl`` of a tensor, differentiable; ``generator`` as in ``sample``.

    Examples
    --------
    >>> import torch
    >>> from agauss.integrations import torch as agt
    >>> z, kl = agt.sample_and_kl(torch.zeros(2, 8, 4), rng=7)
    >>> z.shape, kl
    (torch.Size([2, 4, 4]), tensor([0., 0.]))
    """
    q = DiagonalGaussianDistribution(parameters, axis=axis, bounds=bounds)
    return q.sample_and_kl(rng, generator=generator, index=index)


# The distribution


class DiagonalGaussianDistribution(agauss.DiagonalGaussianDistribution):
    """``agauss.DiagonalGaussianDistribution`` of tensors, differentiable: in place of diffusers' and CogVideo's class.

    ``sample`` takes a torch.Generator, or a list of them, one for each sample, where they do.

    Examples
    --------
    >>> import torch
    >>> from agauss.integrations.torch import DiagonalGaussianDistribution
    >>> moments = torch.zeros(2, 8, 4, 4, requires_grad=True)
    >>> posterior = DiagonalGaussianDistribution(moments)
    >>> z = posterior.sample(torch.Generator().manual_seed(0))
    >>> (z.sum() + posterior.kl().mean()).backward()
    >>> z.shape, moments.grad.shape
    (torch.Size([2, 4, 4, 4]), torch.Size([2, 8, 4, 4]))
    """

    __slots__ = ("_split", "parameters")
    parameters: Any
    _split: int | None
    _ops = sys.modules[__name__]

    def __init__(
        self,
        parameters: Any,
        deterministic: bool = False,
        *,
        axis: int = 1,
        bounds: Any = DEFAULT_LIMITS,
        event_axes: int | Sequence[int] | None = None,
    ) -> None:
        (parameters,) = _as_tensors(("parameters",), (parameters,))
        floating("parameters", parameters.dtype)
        mean, logvar = (parameters[half] for half in slices_of(axis, tuple(parameters.shape), "parameters"))
        self._set(mean, logvar, tuple(mean.shape), deterministic, bounds, event_axes)
        self.parameters, self._split = parameters, axis

    @classmethod
    def from_mean_logvar(cls, mean: Any, logvar: Any, *args: Any, **kwargs: Any) -> Self:
        """``agauss.DiagonalGaussianDistribution.from_mean_logvar``; autocast may have mixed the dtypes."""
        return super().from_mean_logvar(*_as_tensors(("mean", "logvar"), (mean, logvar)), *args, **kwargs)

    def _set(
        self, mean: Any, logvar: Any, shape: tuple[int, ...], deterministic: bool, bounds: Any, event_axes: Any
    ) -> None:
        self.parameters, self._split = None, None
        self._mean, self._logvar, self._shape = mean, logvar, shape
        self.deterministic = flag_of(deterministic)
        self.bounds = bounds_of(bounds)
        axes = range(1, len(shape)) if event_axes is None else axes_of(event_axes, len(shape), "event_axes")
        self.event_axes = tuple([axis - len(shape) for axis in axes])

    def _of(self, name: str, before: Sequence[Any] = (), after: Sequence[Any] = (), **options: Any) -> Any:
        """An operator on the parameters as they are, so that its gradient is theirs in one piece."""
        own = (self._mean, self._logvar) if self.parameters is None else (self.parameters, None)
        return _call(name, (*before, *own, *after), split=self._split, bounds=self.bounds, **options)

    def sample(  # type: ignore[override]  # no out=, for the result is differentiable
        self, rng: Any = None, *, generator: Any = None, index: Any = None, sample_shape: int | Sequence[int] = ()
    ) -> Any:
        """Draw by reparameterisation; see ``sample``. Where deterministic, the mean, and no noise is drawn."""
        generators = rng if generator is None else generator
        if isinstance(generators, (list, tuple)):
            if index is not None or sample_shape != () or (rng is not None and generator is not None):
                raise TypeError("rng, index and sample_shape must not be given beside a list of generators")
            return self._sample_by_each(generators)
        if self.deterministic:
            _key(rng, generator, draw=False)
            return super().sample(index=index, sample_shape=sample_shape)
        return self._of("sample", rng=rng, generator=generator, index=index, sample_shape=sample_shape)

    def _sample_by_each(self, generators: Sequence[Any]) -> Any:
        """A generator for each sample, as diffusers has it."""
        if len(generators) != self._shape[0]:
            raise ValueError(
                f"generator must be one, or one for each of {self._shape[0]} samples; got {len(generators)}"
            )
        if self.deterministic or not generators:
            for generator in generators:
                _key(generator, None, draw=False)
            return self.mode()
        mean, logvar = (torch.broadcast_to(a, self._shape) for a in (self._mean, self._logvar))
        each = [
            sample(mean[k : k + 1], logvar[k : k + 1], rng=generator, bounds=self.bounds)
            for k, generator in enumerate(generators)
        ]
        return torch.cat(each)

    def kl(self, other: agauss.DiagonalGaussianDistribution | None = None) -> Any:
        """``agauss.DiagonalGaussianDistribution.kl``, differentiable."""
        if other is not None or self.deterministic:
            return super().kl(other)
        return self._of("kl", after=(None, None), axis=self.event_axes)

    def nll(self, x: Any, dims: int | Sequence[int] | None = None) -> Any:
        """``agauss.DiagonalGaussianDistribution.nll``, differentiable."""
        if self.deterministic:
            return super().nll(x, dims)
        return self._of("nll", before=(x,), axis=self.event_axes if dims is None else dims)

    def log_prob(self, x: Any) -> Any:
        """``agauss.DiagonalGaussianDistribution.log_prob``, differentiable."""
        if self.deterministic:
            return super().log_prob(x)
        return self._of("log_prob", before=(x,), axis=self.event_axes)

    def sample_and_kl(  # type: ignore[override]
        self, rng: Any = None, *, generator: Any = None, index: Any = None
    ) -> tuple[Any, Any]:
        """``sample`` and ``kl`` in one pass over the parameters."""
        if self.deterministic:
            _key(rng, generator, draw=False)
            return super().sample(index=index), self.kl()
        z, kl = self._of("sample_and_kl", rng=rng, generator=generator, index=index, axis=self.event_axes)
        return z, kl
