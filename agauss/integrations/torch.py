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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import agauss
from agauss import ops
from agauss.arrays import floating
from agauss.backends.protocol import Shape
from agauss.integrations import need
from agauss.integrations.torch_calls import as_tensors, axes_of, bounds_of, call, key_tensor, slices_of
from agauss.integrations.torch_operators import OPERATORS, key_in
from agauss.keys import Key
from agauss.options import DEFAULT_LIMITS, flag_of
from agauss.typing import Axis, Bounds, Index, Number, Rng

torch = need("torch", "torch")
if TYPE_CHECKING:
    from torch import Generator, Tensor

DiracDistribution = agauss.DiracDistribution
STATE = ("_parts", "_split", "_parameters", "_shape", "_deterministic", "_bounds", "_event_axes")  # of a distribution


# The functions


def _on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """An agauss function on tensors, with its signature but for `out`; written out, for speed and exact errors."""
    name, signature = function.__name__, inspect.signature(function)
    signature = signature.replace(parameters=[p for p in signature.parameters.values() if p.name != "out"])
    tensors = OPERATORS[name].tensors
    options = ", ".join(f"{other}={other}" for other in signature.parameters if other not in tensors)
    taken = inspect.Signature([p.replace(annotation=p.empty) for p in signature.parameters.values()])
    source = f"def {name}{taken}: return call({name!r}, ({', '.join(tensors)},), {options})"
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
    mean, logvar = as_tensors(("mean", "logvar"), (mean, logvar))
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
    return call(
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

    __slots__ = ("_parameters", "_parts", "_split")
    _parameters: Tensor | None
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
        (parameters,) = as_tensors(("parameters",), (parameters,))
        floating("parameters", parameters.dtype)
        shape = tuple(parameters.shape)
        first, second = slices_of(axis, shape, "parameters")
        place = axis % len(shape)
        shape = (*shape[:place], shape[place] // 2, *shape[place + 1 :])
        self._set(first, second, shape, deterministic, bounds, event_axes)
        self._parameters, self._split = parameters, axis

    @classmethod
    def from_mean_logvar(cls, mean: Any, logvar: Any, *args: Any, **kwargs: Any) -> Self:
        """``agauss.DiagonalGaussianDistribution.from_mean_logvar``; autocast may have mixed the dtypes."""
        return super().from_mean_logvar(*as_tensors(("mean", "logvar"), (mean, logvar)), *args, **kwargs)

    def _set(
        self, mean: Tensor, logvar: Tensor, shape: Shape, deterministic: bool, bounds: Bounds, event_axes: Axis
    ) -> None:
        self._parameters, self._split = None, None
        self._parts, self._shape = (mean, logvar), shape
        self._deterministic = flag_of(deterministic)
        self._bounds = bounds_of(bounds)
        axes = range(1, len(shape)) if event_axes is None else axes_of(event_axes, len(shape), "event_axes")
        self._event_axes = tuple([axis - len(shape) for axis in axes])

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in STATE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    @property
    def parameters(self) -> Tensor | None:
        """The tensor that this was made from; None where it was made from a mean and a log-variance."""
        return self._parameters

    # Views take PyTorch as long as a small operation, and most calls have no need of them.

    @property
    def _mean(self) -> Tensor:
        return self._parts[0] if self._parameters is None else self._parameters[self._parts[0]]

    @property
    def _logvar(self) -> Tensor:
        return self._parts[1] if self._parameters is None else self._parameters[self._parts[1]]

    def _of(self, name: str, before: Sequence[Any] = (), after: Sequence[Any] = (), **options: Any) -> Any:
        """An operator on the parameters as they are, so that its gradient is theirs in one piece."""
        own = (self._mean, self._logvar) if self._parameters is None else (self._parameters, None)
        return call(name, (*before, *own, *after), split=self._split, bounds=self._bounds, **options)

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
            return self._sample_by_each(generators, "rng" if generator is None else "generator")
        if self._deterministic:
            key_tensor(rng, generator, draw=False)
            return super().sample(index=index, sample_shape=sample_shape)
        return self._of("sample", rng=rng, generator=generator, index=index, sample_shape=sample_shape)

    def _sample_by_each(self, generators: Sequence[Generator], name: str) -> Tensor:
        """A generator for each sample, as diffusers has it."""
        if len(generators) != self._shape[0]:
            raise ValueError(
                f"{name} must be one generator, or one for each of {self._shape[0]} samples; got {len(generators)}"
            )
        if self._deterministic or not generators:
            for generator in generators:
                key_tensor(generator, None, draw=False)
            return self.mode()
        mean, logvar = (torch.broadcast_to(a, self._shape) for a in (self._mean, self._logvar))
        each = [
            sample(mean[k : k + 1], logvar[k : k + 1], rng=generator, bounds=self._bounds)
            for k, generator in enumerate(generators)
        ]
        return torch.cat(each)

    def kl(self, other: agauss.DiagonalGaussianDistribution | None = None) -> Tensor:
        """``agauss.DiagonalGaussianDistribution.kl``, differentiable."""
        if other is not None or self._deterministic:
            return super().kl(other)
        return self._of("kl", after=(None, None), axis=self._event_axes)

    def nll(self, sample: Tensor | Number, dims: Axis = None) -> Tensor:
        """``agauss.DiagonalGaussianDistribution.nll``, differentiable."""
        return super().nll(sample, dims)

    def _nll(self, x: Tensor | Number, axis: Axis) -> Tensor:
        if self._deterministic:
            return super()._nll(x, axis)
        return self._of("nll", before=(x,), axis=axis)

    def log_prob(self, x: Tensor | Number) -> Tensor:
        """``agauss.DiagonalGaussianDistribution.log_prob``, differentiable."""
        if self._deterministic:
            return super().log_prob(x)
        return self._of("log_prob", before=(x,), axis=self._event_axes)

    def sample_and_kl(  # type: ignore[override]
        self,
        rng: Rng | Generator = None,
        *,
        generator: Generator | None = None,
        index: Tensor | Index | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``sample`` and ``kl`` in one pass over the parameters."""
        if self._deterministic:
            key_tensor(rng, generator, draw=False)
            return super().sample(index=index), self.kl()
        z, kl = self._of("sample_and_kl", rng=rng, generator=generator, index=index, axis=self._event_axes)
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
            drawn = key_tensor(rng, None)
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
