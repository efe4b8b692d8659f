"""agauss's functions as PyTorch's operators, torch.ops.agauss, with their derivatives; knows no formula.

Each operation of the table has one, and its vjp another. Whoever looks on decides the way: autograd alone passes by
PyTorch's dispatcher; torch.compile, autocast and the like see the operator; torch.func and forward-mode AD see the
array-API form.
"""

from __future__ import annotations  # Tensor is a type to checkers alone

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from agauss import ops
from agauss.arrays import library_of
from agauss.integrations import need
from agauss.integrations import torch_memory as memory
from agauss.keys import Key
from agauss.maths.noise import MASK32
from agauss.operations import OPERATIONS, Operation, Result
from agauss.options import BOUND_KINDS, halves

if TYPE_CHECKING:
    from torch import Tensor

torch = need("torch", "torch")
forward_ad = need("torch.autograd.forward_ad", "torch")

KINDS = (torch.Tensor, torch.nn.Parameter)
for _kind in KINDS:
    library_of(_kind(torch.empty(0)))  # known from here on, for torch.compile would stumble over finding out
MASK64 = 2**64 - 1
Tensors = Sequence["Tensor | None"]
# A graph would draw the same noise at every launch, as the key is read when the kernel is launched, not when it runs.
UNSAFE_IN_GRAPHS = {"tags": (torch.Tag.cudagraph_unsafe,)} if hasattr(torch.Tag, "cudagraph_unsafe") else {}
HALF = (torch.float16, torch.bfloat16)


class Options(NamedTuple):
    """What follows the tensors in every operator, flat, as PyTorch's schemas want it."""

    split: int | None  # the axis along which the mean's tensor holds the log-variance too, if it does
    axis: Sequence[int]
    bounds: Sequence[float]  # low, high and the number of the kind, where there are any
    bounds2: Sequence[float]
    key: Tensor | None  # seed and stream: a tensor, for a compiled function draws anew in each call
    index: Any  # a tensor, or None
    sample_shape: Sequence[int]
    parameters: Sequence[float]  # those of the operation

    def given_to(self, function: Callable[..., Any], traced: bool = False) -> dict[str, Any]:
        """Those that an agauss function takes, as it takes them; where traced, without a look at a tensor's values."""
        found: dict[str, Any] = {
            "axis": tuple(self.axis),
            "bounds": _bounds_of(self.bounds),
            "bounds2": _bounds_of(self.bounds2),
            "rng": None if self.key is None else _traced_key_of(self.key) if traced else key_in(self.key),
            "index": self.index if traced or self.index is None else memory.array_of(self.index),
            "sample_shape": tuple(self.sample_shape),
            **dict(zip(PARAMETERS.get(function.__name__.removesuffix("_vjp"), ()), self.parameters, strict=True)),
        }
        return {name: found[name] for name in _parameters(function) if name in found}


SCHEMA = (
    "int? split, int[] axis, float[] bounds, float[] bounds2, Tensor? key, Tensor? index, SymInt[] sample_shape, "
    "float[] parameters"
)
# As agauss's functions name them.
OPTIONS = ("axis", "bounds", "bounds2", "rng", "index", "sample_shape")
PARAMETERS = {op.function: op.parameters for op in OPERATIONS.values() if op.parameters}


@lru_cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _bounds_of(bounds: Sequence[float]) -> tuple[float, float, str] | None:
    return (bounds[0], bounds[1], BOUND_KINDS[int(bounds[2])]) if bounds else None


def key_in(key: Tensor) -> Key:
    """The key that a tensor of a seed and a stream holds."""
    seed, stream = key.tolist()
    return Key(seed & MASK64, stream & MASK32)


def _traced_key_of(key: Tensor) -> Key:
    seed, stream = key.unbind(-1)
    return Key.of_words(seed & MASK32, (seed >> 32) & MASK32, stream & MASK32)


class Operator:
    """An operation and its vjp as the operators `name` and `name_vjp` of torch.ops.agauss."""

    def __init__(self, operation: Operation, function: Callable[..., Any], vjp: Any) -> None:
        self.name, self.function, self.vjp = operation.function, function, vjp
        self.kinds, self.noisy = tuple(operation.results.values()), operation.noisy
        taken = inspect.signature(function).parameters.values()
        self.tensors = tuple(p.name for p in taken if p.kind is p.POSITIONAL_OR_KEYWORD)
        self.parameters = operation.parameters
        unknown = {p.name for p in taken} - {*self.tensors, *self.parameters, *OPTIONS, "out"}
        if unknown:
            raise TypeError(f"{self.name} must have a place in Options for {', '.join(sorted(unknown))}")
        self.mean = self.tensors.index("mean") if "mean" in self.tensors else 0
        # With parameters in the mean's place there is no log-variance; kl may have no second Gaussian.
        self.optional = {p.name for p in taken if p.default is not p.empty} & {*self.tensors}
        if "mean" in self.tensors:
            self.optional.add("logvar")
        given = ", ".join(f"Tensor{'?' if name in self.optional else ''} {name}" for name in self.tensors)
        results = ", ".join("Tensor" for _ in self.kinds)
        self.forward = self._operator(self.name, f"({given}, {SCHEMA}) -> ({results})", self._forward, self._like)
        if vjp is None:
            return
        cotangents = ", ".join(f"Tensor g{k}" for k in range(len(self.kinds)))
        self.backward = self._operator(
            f"{self.name}_vjp", f"({given}, {cotangents}, {SCHEMA}) -> Tensor[]", self._backward, self._gradients_like
        )
        self.forward.register_autograd(self._pull, setup_context=_remember)
        self.backward.register_autograd(self._pull_again, setup_context=_remember)

    def __call__(self, tensors: Tensors, options: Options) -> Any:
        """The values, with the derivatives that whoever looks on can take."""
        if is_watched() and self.vjp is not None:
            transformed = _transformed if torch._C._are_functorch_transforms_active() else _apart
            return transformed(self.name, *tensors, *options)
        if torch.is_grad_enabled() and any([t is not None and t.requires_grad for t in tensors]) and _eager(tensors):  # noqa: C419, for speed
            return Eager.apply(self, *tensors, *options)
        return self.value(tensors, options)

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

    def _primals(self, tensors: Tensors, split: int | None) -> list[Any]:
        """The arguments of agauss's function: parameters in the mean's place are taken apart."""
        found = list(tensors)
        if split is not None:
            found[self.mean : self.mean + 2] = halves(found[self.mean], split)
        return found

    def _forward(self, *args: Any) -> Any:
        tensors, _, options = self._parted(args)
        with memory.on_device_of(tensors[0]):
            return self.at_once(tensors, options.split, options.given_to(self.function))

    def at_once(self, tensors: Tensors, split: int | None, given: dict[str, Any]) -> Any:
        """The values, from what agauss's function is given beside the tensors' memory."""
        primals = self._primals([None if t is None else memory.array_of(t) for t in tensors], split)
        value = self.function(*primals, **given)
        return tuple(memory.tensor_of(v) for v in value) if len(self.kinds) > 1 else memory.tensor_of(value)

    def value(self, tensors: Tensors, options: Options) -> Any:
        """The values, by whatever can compute them; autograd sees those of the operator alone."""
        if torch._C._are_functorch_transforms_active():
            return self.plain(tensors, options)
        return (self._forward if _eager(tensors) else self.forward)(*tensors, *options)

    def plain(self, tensors: Tensors, options: Options) -> Any:
        """agauss's function in the array-API form, every step of which PyTorch knows."""
        return self.function(*self._primals(tensors, options.split), **options.given_to(self.function, traced=True))

    def plain_vjp(self, tensors: Tensors, cotangents: Tensors, options: Options) -> tuple[Any, ...]:
        """The gradients of the tensors that there are, in the array-API form."""
        primals, cotangent = self._primals(tensors, options.split), tuple(cotangents)
        options_of_vjp = options.given_to(self.vjp, traced=True)
        found = list(self.vjp(*primals, cotangent=cotangent if len(cotangent) > 1 else cotangent[0], **options_of_vjp))
        if options.split is not None:
            found[self.mean : self.mean + 2] = [torch.cat(found[self.mean : self.mean + 2], dim=options.split)]
        return tuple(found)

    def plain_jvp(self, tensors: Tensors, tangents: Tensors, options: Options) -> Any:
        """The values' tangents: the vjp is linear in its cotangents, and this its transpose."""
        zeros = [torch.zeros_like(v) for v in _as_tuple(self._like(*tensors, *options))]
        _, transposed = torch.func.vjp(lambda *g: self.plain_vjp(tensors, g, options), *zeros)
        found = transposed(tuple([v for t, v in zip(tensors, tangents, strict=True) if t is not None]))
        return found if len(self.kinds) > 1 else found[0]

    def plain_second_vjp(
        self, tensors: Tensors, cotangents: Tensors, options: Options, gradients: Tensors
    ) -> tuple[Any, ...]:
        """What the vjp's own vjp gives by tensors and cotangents that there are. torch.func.vjp takes each for a
        variable of its own, though some may be one tensor, or made of each other."""
        given = [t for t in tensors if t is not None]

        def vjp(*variables: Tensor) -> tuple[Tensor, ...]:
            own = iter(variables)
            primals = [None if t is None else next(own) for t in tensors]
            return self.plain_vjp(primals, tuple(own), options)

        value, pull = torch.func.vjp(vjp, *given, *cotangents)
        weights = [torch.zeros_like(v) if g is None else g for v, g in zip(value, gradients, strict=True)]
        return tuple(pull(tuple(weights)))

    def _like(self, *args: Any) -> Any:
        """Empty tensors of the shapes and dtypes that _forward gives."""
        tensors, _, options = self._parted(args)
        given = [t for t in self._primals(tensors, options.split) if t is not None]
        shape, dtype = torch.broadcast_shapes(*[t.shape for t in given]), given[0].dtype
        axes = [axis % len(shape) for axis in options.axis]
        wide = torch.float32 if dtype in HALF else dtype
        kept = [n for place, n in enumerate(shape) if place not in axes]
        kinds = {
            Result.SUM: (kept, wide),
            Result.COUNT: (kept, torch.int64),
            Result.WIDE: (shape, wide),
            Result.OWN: ([*options.sample_shape, *shape], dtype),
        }
        made = [tensors[0].new_empty(kinds[kind][0], dtype=kinds[kind][1]) for kind in self.kinds]
        return tuple(made) if len(made) > 1 else made[0]

    def _backward(self, *args: Any) -> list[Tensor]:
        tensors, cotangents, options = self._parted(args)
        with memory.on_device_of(tensors[0]):
            given = [None if t is None else memory.array_of(t) for t in tensors]
            gradients = [None if a is None else memory.empty_like(a) for a in given]
            outs = [out for out in self._primals(gradients, options.split) if out is not None]
            pulled = tuple(memory.array_of(g) for g in cotangents)
            cotangent = pulled if len(self.kinds) > 1 else pulled[0]
            self.vjp(*self._primals(given, options.split), cotangent=cotangent, out=outs, **options.given_to(self.vjp))
            return [memory.tensor_of(g) for g in gradients if g is not None]

    def _gradients_like(self, *args: Any) -> list[Tensor]:
        tensors, _, _ = self._parted(args)
        return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in tensors if t is not None]

    def _pull(self, ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        tensors, _, options = self._parted(_remembered(ctx))
        args = (*tensors, *gradients, *options)
        if is_watched():
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

    def _pull_again(self, ctx: Any, gradients: Tensors) -> tuple[Any, ...]:
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
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        return None, *ctx.operator._pull(ctx, *gradients)


class EagerGradient(torch.autograd.Function):  # type: ignore[misc, name-defined]
    """The gradient of an operator, with its own gradient."""

    @staticmethod
    def forward(ctx: Any, operator: Operator, *args: Any) -> tuple[Any, ...]:
        ctx.operator = operator
        _remember(ctx, args)
        return tuple(operator._backward(*args))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        return None, *(g if isinstance(g, torch.Tensor) else None for g in ctx.operator._pull_again(ctx, gradients))


class Watched(torch.autograd.Function):  # type: ignore[misc, name-defined]
    """An operator under torch.func, batched gradients or forward-mode AD, with derivatives in the array-API form."""

    generate_vmap_rule = True

    @staticmethod
    def forward(call: Call, *args: Any) -> Any:
        return call.operator.value(*call.parted(args))

    @staticmethod
    def setup_context(ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        ctx.call, *args = inputs
        ctx.save_for_backward(*args)
        ctx.save_for_forward(*args)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
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

    def parted(self, args: Sequence[Any]) -> tuple[Tensors, Options]:
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


@torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]  # torch.compile does not see into a jvp
def _transformed(name: str, *args: Any) -> Any:
    operator = OPERATORS[name]
    tensors, _, options = operator._parted(args)
    return Watched.apply(Call(operator, options), *tensors, options.key, options.index)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # compiled code takes no tangents of forward_ad
def _apart(name: str, *args: Any) -> Any:
    return _transformed(name, *args)


def is_eager() -> bool:
    """Whether operations are computed as they are called, and no mode sees them."""
    return not (torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() or torch.jit.is_tracing())


def _eager(tensors: Tensors) -> bool:
    """Whether none but autograd looks on, so that PyTorch's dispatcher can be passed by: it takes longer than a small
    tensor."""
    return is_eager() and all([t is None or (type(t) in KINDS and t.device.type != "meta") for t in tensors])  # noqa: C419


def is_watched() -> bool:
    """Whether torch.func, batched gradients or forward-mode AD look on."""
    return bool(torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0)


def _has_tangents(args: Sequence[Any]) -> bool:
    return any(forward_ad.unpack_dual(a, level=0).tangent is not None for a in args if isinstance(a, torch.Tensor))


def _batched(gradients: Tensors) -> bool:
    """Whether autograd's own vmap has batched gradients, as for is_grads_batched=True."""
    return any([g is not None and torch._C._functorch.is_legacy_batchedtensor(g) for g in gradients])  # noqa: C419


class Expanding(torch.overrides.TorchFunctionMode):  # type: ignore[misc, name-defined]
    """expand in place of broadcast_to, for which autograd's own vmap has no rule."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0].expand(args[1]) if func is torch.broadcast_to else func(*args, **(kwargs or {}))


def _as_tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


# The functions of a mean and a log-variance, which one tensor of parameters may hold.
PARTED = {ops.sample_and_kl: (ops.sample_and_kl_of, ops.sample_and_kl_of_vjp)}


def _operator_of(operation: Operation) -> Operator:
    function = ops.FUNCTIONS[operation.function]
    return Operator(operation, *PARTED.get(function, (function, ops.VJPS.get(function))))


_rows = {row.function: row for row in OPERATIONS.values() if row.function in ops.FUNCTIONS}  # kl is of two
OPERATORS = {name: _operator_of(row) for name, row in _rows.items()}
