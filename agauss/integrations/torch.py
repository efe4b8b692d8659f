"""PyTorch: agauss's functions and its distribution on tensors, differentiable.

Tensors go without a copy to the Numba loops, or on CUDA to the kernels, through operators that PyTorch knows
(`torch.ops.agauss`), each with its gradient. So autograd, torch.compile, autocast and torch.func.vmap take them. Second
derivatives are PyTorch's own, of the gradients in the array-API form.

>>> import torch
>>> from agauss.integrations import torch as agt
>>> mean = torch.tensor([3.0], requires_grad=True)
>>> agt.kl(mean, torch.zeros(1)).backward()
>>> mean.grad
tensor([3.])
"""

from __future__ import annotations  # Tensor is a type to checkers alone

import inspect
import re
import sys
from collections.abc import Callable, Container, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import agauss
from agauss import ops
from agauss import options as checks
from agauss.arrays import NUMPY, floating, is_number
from agauss.backends.protocol import Shape
from agauss.integrations import need
from agauss.integrations.torch_operators import KINDS, OPERATORS, Options, is_eager, key_in
from agauss.keys import Key, as_key
from agauss.options import BOUND_KINDS, DEFAULT_LIMITS, bin_of, check_index, flag_of, order_of, sizes_of
from agauss.typing import Axis, Bounds, Index, Number, Rng

torch = need("torch", "torch")
if TYPE_CHECKING:
    from torch import Generator, Tensor

DiracDistribution = agauss.DiracDistribution
STATE = ("_parts", "_split", "parameters", "_shape", "deterministic", "bounds", "event_axes")  # of a distribution


def _seen_through(check: Callable[..., Any]) -> Callable[..., Any]:
    """A check that remembers what passed it, but where torch.compile looks on, which does not see into its memory."""
    plain = inspect.unwrap(check)
    return lambda *args: plain(*args) if torch.compiler.is_compiling() else check(*args)


axes_of = _seen_through(checks.axes_of)
bounds_of = _seen_through(checks.bounds_of)
slices_of = _seen_through(checks.slices_of)


# Arguments as tensors


def _call(name: str, tensors: Sequence[Tensor | Number | None], split: int | None = None, **given: Any) -> Any:
    """An operator's value, of what an agauss function is given."""
    operator, option = OPERATORS[name], given.get
    if not operator.noisy and _are_plain(operator.tensors, tensors, operator.optional):
        return operator.at_once(tensors, split, given)  # type: ignore[arg-type]
    tensors = _as_tensors(operator.tensors, tensors, operator.optional)
    rank = max([t.dim() for t in tensors if t is not None])
    options = Options(
        split,
        list(axes_of(option("axis", ()), rank)),
        _flat_bounds(option("bounds"), "bounds"),
        _flat_bounds(option("bounds2"), "bounds2"),
        _key(option("rng"), option("generator")) if operator.noisy else None,
        _ids(option("index"), tensors),
        list(sizes_of(option("sample_shape", ()), "sample_shape")),
        _checked_parameters([option(name) for name in operator.parameters], operator.parameters),
    )
    return operator(tensors, options)


def _checked_parameters(values: list[Any], names: tuple[str, ...]) -> list[float]:
    """An operation's parameters as numbers, which is what an operator takes."""
    if names == ("alpha",):
        return [order_of(*values)]
    return list(bin_of(*values)) if names == ("width", "low", "high") else [float(value) for value in values]


def _flat_bounds(bounds: Bounds, name: str) -> list[float]:
    found = bounds_of(bounds, name)
    return [] if found is None else [found[0], found[1], float(BOUND_KINDS.index(found[2]))]


def _as_tensors(
    names: Sequence[str], values: Sequence[Tensor | Number | None], optional: Container[str] = ()
) -> list[Any]:
    """Tensors of one dtype and device: numbers take those of the others, and autocast may have mixed the dtypes."""
    for name, value in zip(names, values, strict=True):
        if not (isinstance(value, torch.Tensor) or (name in optional if value is None else is_number(value))):
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


def _are_plain(names: Sequence[str], values: Sequence[Any], optional: Container[str]) -> bool:
    """Whether these are dense tensors on the CPU, of one dtype and without gradients, and nobody looks on. Most calls
    are of such tensors, and for small ones each further look would take as long as the work."""
    if torch.compiler.is_compiling() or not is_eager():
        return False
    dtype, graded = None, torch.is_grad_enabled()
    for name, value in zip(names, values, strict=True):
        if value is None and name in optional:
            continue
        if value.__class__ not in KINDS or not value.is_cpu or value.layout is not torch.strided:
            return False
        if (graded and value.requires_grad) or value.dtype is not (dtype or value.dtype):
            return False
        dtype = value.dtype
    return dtype is not None


def _autocast(device_type: str) -> bool:
    return bool(torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type))


def _ids(index: Tensor | Index | None, tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Sample ids as a tensor, checked where that stops no device: what comes as a tensor is left to the operator."""
    if index is None or isinstance(index, torch.Tensor):
        return index
    if torch.compiler.is_compiling():  # it sees through no check of an array
        if isinstance(index, (list, tuple, range)) and any(n < 0 for n in index):
            raise ValueError(f"index must not be negative; got {index!r}")
        return torch.as_tensor(list(index) if isinstance(index, range) else index, device="cpu")
    shape = tuple(torch.broadcast_shapes(*[t.shape for t in tensors if t is not None]))
    return torch.from_numpy(check_index(index, NUMPY, shape).astype(np.uint64, order="C"))


def _key(rng: Any, generator: Any, draw: bool = True) -> Tensor | None:
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
    key = (
        _of_tensor(rng)
        if isinstance(rng, torch.Tensor) and rng.ndim
        else as_key(rng, draw=draw, also="a torch.Generator, ")
    )
    seed = key.seed - 2**64 if key.seed >= 2**63 else key.seed
    return torch.tensor([seed, key.stream], dtype=torch.int64, device="cpu")


def _of_tensor(rng: Any) -> Key:
    """The key that one of torch.func._random stands for, a seed and an offset: the seed, with the offset folded in."""
    if rng.dtype != torch.uint64 or rng.shape != (2,):
        raise TypeError(
            "rng must be, where it is a tensor, one key of torch.func._random, of torch.uint64 and shape (2,); got "
            f"{rng.dtype} and {tuple(rng.shape)}"
        )
    seed, offset = rng.tolist()
    return Key(seed).fold_in(offset) if offset else Key(seed)


# The functions


def _on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """An agauss function on tensors, with its signature but for `out`; written out, for speed and exact errors."""
    name, signature = function.__name__, inspect.signature(function)
    signature = signature.replace(parameters=[p for p in signature.parameters.values() if p.name != "out"])
    tensors = OPERATORS[name].tensors
    options = ", ".join(f"{other}={other}" for other in signature.parameters if other not in tensors)
    taken = inspect.Signature([p.replace(annotation=p.empty) for p in signature.parameters.values()])
    source = f"def {name}{taken}: return _call({name!r}, ({', '.join(tensors)},), {options})"
    made: dict[str, Any] = {}
    exec(compile(source, f"<{__name__}.{name}>", "exec"), globals(), made)
    found = made[name]
    found.__signature__, found.__doc__ = signature, _doc_on_tensors(function)
    return found


def _doc_on_tensors(function: Callable[..., Any]) -> str:
    """agauss's own docstring, without `out`, and without examples, which are of arrays."""
    own = (inspect.getdoc(function) or "").partition("\nExamples\n")[0]
    own = re.sub(r"^out : .*\n?(    .*\n?)*", "", own, flags=re.MULTILINE).rstrip()
    ending = ", differentiable" if function in ops.VJPS else ""
    return f"``agauss.{function.__name__}`` of tensors{ending}.\n\n{own}"


def mode(mean: Tensor, logvar: Tensor) -> Tensor:
    """``agauss.mode`` of tensors, differentiable."""
    mean, logvar = _as_tensors(("mean", "logvar"), (mean, logvar))
    return torch.broadcast_tensors(mean, logvar)[0].clone()


def sample(
    mean: Tensor | Number,
    logvar: Tensor | Number,
    *,
    rng: Rng | Generator = None,
    generator: Generator | None = None,
    index: Tensor | Index | None = None,
    sample_shape: int | Sequence[int] = (),
    bounds: Bounds = None,
) -> Tensor:
    """``agauss.sample`` of tensors, differentiable.

    ``generator``, a torch.Generator, draws a key in place of ``rng``, which may be one too; with neither, the key comes
    from PyTorch's default generator, so that ``torch.manual_seed`` decides it. A key of ``torch.func._random`` is the
    seed that it was made of, with its offset folded in where it is not 0. What is on a CUDA device is waited for.

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
    parameters: Tensor,
    *,
    rng: Rng | Generator = None,
    generator: Generator | None = None,
    axis: int = 1,
    index: Tensor | Index | None = None,
    bounds: Bounds = DEFAULT_LIMITS,
) -> tuple[Tensor, Tensor]:
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


# mode is a copy, which PyTorch itself makes faster than any operator; the others take a torch.Generator.
BY_HAND = {"mode": mode, "sample": sample, "sample_and_kl": sample_and_kl}
FUNCTIONS = {name: BY_HAND.get(name) or _on_tensors(function) for name, function in ops.FUNCTIONS.items()}
globals().update(FUNCTIONS)


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

    __slots__ = ("_parts", "_split", "parameters")
    parameters: Tensor | None
    _split: int | None
    _parts: (
        tuple[Tensor, Tensor] | tuple[Any, Any]
    )  # the mean and the log-variance, or where in the parameters they are
    _ops = sys.modules[__name__]

    def __init__(
        self,
        parameters: Tensor,
        deterministic: bool = False,
        *,
        axis: int = 1,
        bounds: Bounds = DEFAULT_LIMITS,
        event_axes: int | Sequence[int] | None = None,
    ) -> None:
        (parameters,) = _as_tensors(("parameters",), (parameters,))
        floating("parameters", parameters.dtype)
        shape = tuple(parameters.shape)
        first, second = slices_of(axis, shape, "parameters")
        place = axis % len(shape)
        shape = (*shape[:place], shape[place] // 2, *shape[place + 1 :])
        self._set(first, second, shape, deterministic, bounds, event_axes)
        self.parameters, self._split = parameters, axis

    @classmethod
    def from_mean_logvar(cls, mean: Any, logvar: Any, *args: Any, **kwargs: Any) -> Self:
        """``agauss.DiagonalGaussianDistribution.from_mean_logvar``; autocast may have mixed the dtypes."""
        return super().from_mean_logvar(*_as_tensors(("mean", "logvar"), (mean, logvar)), *args, **kwargs)

    def _set(
        self, mean: Tensor, logvar: Tensor, shape: Shape, deterministic: bool, bounds: Bounds, event_axes: Axis
    ) -> None:
        self.parameters, self._split = None, None
        self._parts, self._shape = (mean, logvar), shape
        self.deterministic = flag_of(deterministic)
        self.bounds = bounds_of(bounds)
        axes = range(1, len(shape)) if event_axes is None else axes_of(event_axes, len(shape), "event_axes")
        self.event_axes = tuple([axis - len(shape) for axis in axes])

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in STATE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    # Views take PyTorch as long as a small operation, and most calls have no need of them.

    @property
    def _mean(self) -> Tensor:
        return self._parts[0] if self.parameters is None else self.parameters[self._parts[0]]

    @property
    def _logvar(self) -> Tensor:
        return self._parts[1] if self.parameters is None else self.parameters[self._parts[1]]

    def _of(self, name: str, before: Sequence[Any] = (), after: Sequence[Any] = (), **options: Any) -> Any:
        """An operator on the parameters as they are, so that its gradient is theirs in one piece."""
        own = (self._mean, self._logvar) if self.parameters is None else (self.parameters, None)
        return _call(name, (*before, *own, *after), split=self._split, bounds=self.bounds, **options)

    def sample(  # type: ignore[override]  # no out=, for the result is differentiable
        self,
        rng: Rng | Generator | Sequence[Generator] = None,
        *,
        generator: Generator | Sequence[Generator] | None = None,
        index: Tensor | Index | None = None,
        sample_shape: int | Sequence[int] = (),
    ) -> Tensor:
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

    def _sample_by_each(self, generators: Sequence[Generator]) -> Tensor:
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

    def kl(self, other: agauss.DiagonalGaussianDistribution | None = None) -> Tensor:
        """``agauss.DiagonalGaussianDistribution.kl``, differentiable."""
        if other is not None or self.deterministic:
            return super().kl(other)
        return self._of("kl", after=(None, None), axis=self.event_axes)

    def nll(self, sample: Tensor | Number, dims: Axis = None) -> Tensor:
        """``agauss.DiagonalGaussianDistribution.nll``, differentiable."""
        if self.deterministic:
            return super().nll(sample, dims)
        return self._of("nll", before=(sample,), axis=self.event_axes if dims is None else dims)

    def log_prob(self, x: Tensor | Number) -> Tensor:
        """``agauss.DiagonalGaussianDistribution.log_prob``, differentiable."""
        if self.deterministic:
            return super().log_prob(x)
        return self._of("log_prob", before=(x,), axis=self.event_axes)

    def sample_and_kl(  # type: ignore[override]
        self,
        rng: Rng | Generator = None,
        *,
        generator: Generator | None = None,
        index: Tensor | Index | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``sample`` and ``kl`` in one pass over the parameters."""
        if self.deterministic:
            _key(rng, generator, draw=False)
            return super().sample(index=index), self.kl()
        z, kl = self._of("sample_and_kl", rng=rng, generator=generator, index=index, axis=self.event_axes)
        return z, kl


class MultivariateNormal(agauss.MultivariateNormal):
    """``agauss.MultivariateNormal`` of tensors, whose ``sample`` takes a torch.Generator as ``rng`` too.

    Without ``rng`` its key comes from PyTorch's default generator. It runs in the array-API form, which PyTorch
    differentiates.

    Examples
    --------
    >>> import torch
    >>> from agauss.integrations.torch import MultivariateNormal
    >>> mean = torch.zeros(2, 3, requires_grad=True)
    >>> z = MultivariateNormal(mean, torch.eye(3)).sample(torch.Generator().manual_seed(0))
    >>> z.sum().backward()
    >>> mean.grad
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """

    __slots__ = ()

    def _noise(self, rng: Any, index: Any, sample_shape: int | Sequence[int]) -> Any:
        if not isinstance(rng, Key):
            drawn = _key(rng, None)
            assert drawn is not None  # as it is where it was to be drawn
            rng = key_in(drawn)
        return super()._noise(rng, index, sample_shape)


_names = sorted([*FUNCTIONS, "DiagonalGaussianDistribution", "DiracDistribution", "MultivariateNormal"])
if TYPE_CHECKING:  # type checkers see agauss's own signatures
    from agauss.ops.divergences import *  # noqa: F403
    from agauss.ops.likelihoods import *  # noqa: F403
    from agauss.ops.moments import *  # noqa: F403
else:
    __all__ = _names


def __dir__() -> list[str]:
    return _names
