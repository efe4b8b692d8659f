"""DiagonalGaussianDistribution and DiracDistribution: value objects over arrays, each method one call into ops."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Sequence
from typing import Any, Generic, Literal, Self

from agauss import ops
from agauss.arrays import NUMPY, Namespace, Operands, dtype_name, floating, is_number, library_of, operands
from agauss.backends.protocol import DType, Shape
from agauss.execution import check_out
from agauss.keys import as_key
from agauss.options import (
    DEFAULT_LIMITS,
    axes_of,
    bounds_of,
    check_index,
    flag_of,
    halves,
    sizes_of,
)
from agauss.remembered import remembered
from agauss.typing import Array, Axis, Bounds, Index, Kind, Number, Rng

_DEFAULT = bounds_of(DEFAULT_LIMITS)
SECONDS = ("logvar", "std", "var", "logstd", "softplus")  # what the second half of stored moments may hold


class DiagonalGaussianDistribution(Generic[Array]):
    """The Gaussian with a mean and a log-variance for each latent element, as a VAE's encoder gives it.

    Parameters
    ----------
    parameters : array, shape (B, 2C, ...)
        mean, then log-variance, along ``axis``; of any rank from 2.
    deterministic : bool
        A point mass at the mean, which draws no noise. std, var, kl, nll and log_prob are 0, and the entropy is -inf.
    axis : int
        Where mean and log-variance are halves: 1 where channels come first, -1 where they are last.
    bounds : None, "hard", "soft", "straight-through", (low, high) or (low, high, kind)
        What the log-variance passes through whenever it is used; see ``agauss.clamp``.
    event_axes : int or tuple of ints, optional
        The axes of mean that ``kl``, ``nll``, ``log_prob`` and ``entropy`` sum over: all but the first by default.

    Attributes
    ----------
    mean, logvar : array
        Of the distribution's shape. The log-variance is within its bounds.
    std, var : array
        exp(logvar / 2) and exp(logvar), float32 or wider; 0 where deterministic.
    shape : tuple of ints
        That of mean, and of one sample of the batch.
    dtype : dtype
        That of mean, logvar and samples.
    deterministic : bool
    bounds : None or (low, high, kind)
    event_axes : tuple of ints
        Counted from the end: -1 is the last.

    Raises
    ------
    TypeError, ValueError
        For anything but a floating array, fewer than two dimensions, and an odd extent along ``axis``.

    Notes
    -----
    By default the log-variance is bounded, and sums are over each sample, as in the classes of CogVideo and diffusers.
    The functions ``agauss.kl`` and the like do neither unless told to. ``rng`` is optional here, and required there.

    No attribute can be set. The parameters are all that is held. ``mean`` and the log-variance are views of them, and
    std and var are computed when asked for. With NumPy the views are read-only; with other libraries editing them edits
    the parameters.

    For gradients call the functions: ``sample_and_kl_vjp`` of the parameters, or ``kl_vjp`` and the like of their two
    halves with the same ``bounds``. ``logvar`` is within its bounds already, and has lost what lies beyond them.

    Tensors of PyTorch have a class of their own in ``agauss.integrations.torch``, and arrays of JAX in
    ``agauss.integrations.jax``.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> q = ag.DiagonalGaussianDistribution(np.zeros((2, 8, 4, 4), np.float32))
    >>> q.sample(rng=7).shape, q.kl()
    ((2, 4, 4, 4), array([0., 0.], dtype=float32))
    """

    __slots__ = ("_bounds", "_deterministic", "_event_axes", "_logvar", "_mean", "_shape")
    _ops: Any = ops  # what computes; another framework's functions in a class for it

    def __init__(
        self,
        parameters: Array,
        deterministic: bool = False,
        *,
        axis: int = 1,
        bounds: Bounds = DEFAULT_LIMITS,
        event_axes: int | Sequence[int] | None = None,
    ) -> None:
        mean, logvar = halves(parameters, axis)
        self._set(mean, logvar, tuple(mean.shape), deterministic, bounds, event_axes)

    @classmethod
    def from_mean_logvar(
        cls,
        mean: Array | Number,
        logvar: Array | Number,
        deterministic: bool = False,
        *,
        bounds: Bounds = DEFAULT_LIMITS,
        event_axes: int | Sequence[int] | None = None,
    ) -> Self:
        """From a mean and a log-variance of their own, which broadcast against each other.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.DiagonalGaussianDistribution.from_mean_logvar(np.zeros((2, 3)), 0.0).kl()
        array([0., 0.])
        """
        given = operands(("mean", "logvar"), (mean, logvar))
        if not given.shape:
            raise ValueError("mean must have at least 1 dimension; got shape ()")
        self = cls.__new__(cls)
        self._set(given.arrays[0], given.arrays[1], given.shape, deterministic, bounds, event_axes)
        return self

    @classmethod
    def from_moments(
        cls,
        moments: Array,
        deterministic: bool = False,
        *,
        axis: int = 1,
        second: Literal["logvar", "std", "var", "logstd", "softplus"] = "logvar",
        floor: Number = 0.0,
        bounds: Bounds = DEFAULT_LIMITS,
        event_axes: int | Sequence[int] | None = None,
    ) -> Self:
        """From stored moments, whose second half holds what ``second`` says.

        "logvar", "std" and "var" are themselves, and "logstd" is half the log-variance. Of "softplus", the std is
        ``log(1 + exp(second half)) + floor``. Stable Audio's autoencoder stores that, with a floor of 1e-4.

        A std or var of 0 is a log-variance of -inf, which the lower bound replaces. A negative one gives NaN. ``floor``
        is for "softplus" alone; it is not negative.

        References
        ----------
        Evans, Parker, Carr, Zukowski, Taylor and Pons, "Stable Audio Open", 2024, and its autoencoder's source.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> q = ag.DiagonalGaussianDistribution.from_moments(np.array([[1.0, 2.0]]), second="std")
        >>> q.mean, q.std
        (array([[1.]]), array([[2.]]))
        >>> q = ag.DiagonalGaussianDistribution.from_moments(np.array([[1.0, 0.0]]), second="softplus", floor=1e-4)
        >>> q.std.round(4)
        array([[0.6932]])
        """
        if not isinstance(second, str) or second not in SECONDS:
            names = ", ".join(f'"{name}"' for name in SECONDS[:-1])
            raise ValueError(f'second must be {names} or "{SECONDS[-1]}"; got {second!r}')
        if not is_number(floor):
            raise TypeError(f"floor must be a real number; got {type(floor).__name__}")
        if not (floor == 0 or (second == "softplus" and 0 < floor < float("inf"))):
            raise ValueError(f'floor must be finite and at least 0, and 0 but for second="softplus"; got {floor!r}')
        mean, spread = halves(moments, axis, "moments")
        if second != "logvar":
            spread = _logvar_of(spread, second, float(floor))
        return cls.from_mean_logvar(mean, spread, deterministic, bounds=bounds, event_axes=event_axes)

    def _set(
        self, mean: Array, logvar: Array, shape: Shape, deterministic: bool, bounds: Bounds, event_axes: Axis
    ) -> None:
        self._mean, self._logvar, self._shape = mean, logvar, shape
        self._deterministic = flag_of(deterministic)
        self._bounds = _DEFAULT if bounds is DEFAULT_LIMITS else bounds_of(bounds)
        self._event_axes = _event_axes(event_axes, len(shape))

    @property
    def shape(self) -> Shape:
        """The shape of mean, and of one sample of the batch."""
        return self._shape

    @property
    def dtype(self) -> DType:
        """The dtype of the parameters, of mean, logvar and samples; std and var, and all sums, are float32 or wider."""
        return self._mean.dtype

    @property
    def mean(self) -> Array:
        """The mean: a view of the parameters, read-only with NumPy."""
        return self._view(self._mean)

    @property
    def logvar(self) -> Array:
        """The log-variance within its bounds, of the parameters' dtype; a view of them where there are no bounds."""
        if self._bounds is None:
            return self._view(self._logvar)
        return self._view(self._ops.clamp(self._logvar, bounds=self._bounds))

    @property
    def std(self) -> Array:
        """exp(logvar / 2), float32 or wider; 0 where deterministic."""
        if self._deterministic:
            return _full(self._given(), self._shape, 0.0)
        return self._view(self._ops.std(self._logvar, bounds=self._bounds))

    @property
    def var(self) -> Array:
        """exp(logvar), float32 or wider; 0 where deterministic."""
        if self._deterministic:
            return _full(self._given(), self._shape, 0.0)
        return self._view(self._ops.var(self._logvar, bounds=self._bounds))

    @property
    def deterministic(self) -> bool:
        """Whether this is a point mass at the mean."""
        return self._deterministic

    @property
    def bounds(self) -> tuple[float, float, Kind] | None:
        """What the log-variance passes through: None, or (low, high, kind)."""
        return self._bounds

    @property
    def event_axes(self) -> Shape:
        """The axes that are summed over, counted from the end."""
        return self._event_axes

    def sample(
        self, rng: Rng = None, *, index: Index = None, sample_shape: int | Sequence[int] = (), out: Array | None = None
    ) -> Array:
        """Draw by reparameterisation; see ``agauss.sample``. Where deterministic, the mean, and no noise is drawn.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.DiagonalGaussianDistribution(np.zeros((2, 6))).sample(rng=7, sample_shape=5).shape
        (5, 2, 3)
        """
        if not self._deterministic:
            return self._ops.sample(
                self._mean, self._logvar, rng=rng, index=index, sample_shape=sample_shape, bounds=self._bounds, out=out
            )
        given, shape = self._given(), sizes_of(sample_shape, "sample_shape") + self._shape
        _checked_only(rng, index, given)
        if out is None:
            return given.library.copy(self._mean, shape)
        check_out(out, given.library, shape, given.dtype)
        return given.library.deliver(self._mean, out)

    def kl(self, other: DiagonalGaussianDistribution[Array] | None = None) -> Array:
        """KL divergence from another distribution, or from the standard normal, summed over the event axes: shape (B,).

        0 where deterministic. To a deterministic one inf, or 0 where both are the same point; see ``agauss.kl``.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> q = ag.DiagonalGaussianDistribution(np.ones((2, 4)))
        >>> q.kl(q)
        array([0., 0.])
        """
        if other is None:
            if self._deterministic:
                return self._summed(self._given(), self._event_axes, 0.0)
            return self._ops.kl(self._mean, self._logvar, axis=self._event_axes, bounds=self._bounds)
        if not isinstance(other, DiagonalGaussianDistribution):
            kind = f"{type(other).__module__}.{type(other).__qualname__}".removeprefix("builtins.")
            raise TypeError(f"other must be None or a DiagonalGaussianDistribution of agauss; got {kind}")
        if self._deterministic and not other.deterministic:
            return self._summed(operands(("mean", "other"), (self._mean, other._mean)), self._event_axes, 0.0)
        # A point has a log-variance of -inf, which no bound may lift.
        mine, bounds = (-float("inf"), None) if self._deterministic else (self._logvar, self._bounds)
        others, bounds2 = (-float("inf"), None) if other.deterministic else (other._logvar, other.bounds)
        try:
            return self._ops.kl(
                self._mean, mine, other._mean, others, axis=self._event_axes, bounds=bounds, bounds2=bounds2
            )
        except (TypeError, ValueError) as error:
            raise renamed(error, mean2="other", logvar2="other") from None

    def nll(self, sample: Array | Number, dims: int | Sequence[int] | None = None) -> Array:
        """Negative log-likelihood of a sample, summed over ``dims``, the event axes by default; see ``agauss.nll``.

        The sample may have leading axes of its own, as from ``sample_shape``. They are kept. 0 where deterministic.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> q = ag.DiagonalGaussianDistribution(np.zeros((2, 4)))
        >>> q.nll(q.sample(rng=7, sample_shape=5)).shape
        (5, 2)
        """
        try:
            return self._nll(sample, self._event_axes if dims is None else dims)
        except (TypeError, ValueError) as error:
            raise renamed(error, x="sample", axis="dims") from None

    def _nll(self, x: Array | Number, axis: Axis) -> Array:
        if self._deterministic:
            return self._summed(operands(("x", "mean"), (x, self._mean)), axis, 0.0)
        return self._ops.nll(x, self._mean, self._logvar, axis=axis, bounds=self._bounds)

    def log_prob(self, x: Array | Number) -> Array:
        """Log-density at x, summed over the event axes: ``-nll(x)``.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.DiagonalGaussianDistribution(np.zeros((1, 4))).log_prob(np.zeros((1, 2)))
        array([-1.83787707])
        """
        if self._deterministic:
            return self._nll(x, self._event_axes)
        return self._ops.log_prob(x, self._mean, self._logvar, axis=self._event_axes, bounds=self._bounds)

    def entropy(self) -> Array:
        """Differential entropy, summed over the event axes: shape (B,). -inf where deterministic.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.DiagonalGaussianDistribution(np.zeros((1, 4))).entropy()
        array([2.83787707])
        """
        if self._deterministic:
            return self._summed(self._given(), self._event_axes, -float("inf"))
        return self._ops.entropy(self._view(self._logvar), axis=self._event_axes, bounds=self._bounds)

    def mode(self) -> Array:
        """The most likely value, the mean, as a new array.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.DiagonalGaussianDistribution(np.ones((1, 4))).mode()
        array([[1., 1.]])
        """
        return self._ops.mode(self._mean, self._logvar)

    def sample_and_kl(self, rng: Rng = None, *, index: Index = None, out: Array | None = None) -> tuple[Array, Array]:
        """``sample`` and ``kl`` in one pass over the parameters; see ``agauss.sample_and_kl``.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> q = ag.DiagonalGaussianDistribution(np.ones((2, 4)))
        >>> z, kl = q.sample_and_kl(rng=7)
        >>> bool((z == q.sample(rng=7)).all() and (kl == q.kl()).all())
        True
        """
        if self._deterministic:
            return self.sample(rng, index=index, out=out), self.kl()
        return self._ops.sample_and_kl_of(
            self._mean, self._logvar, rng=rng, axis=self._event_axes, index=index, bounds=self._bounds, out=out
        )

    def saturated(self) -> Array:
        """How many of each sample's log-variances are outside the bounds: shape (B,), int64; see ``agauss.saturated``.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.DiagonalGaussianDistribution(np.array([[0.0, 99.0]])).saturated()
        array([1])
        """
        return self._ops.saturated(self._view(self._logvar), bounds=self._bounds, axis=self._event_axes)

    def __repr__(self) -> str:
        if not hasattr(self._mean, "dtype"):  # a pytree's leaves may be anything
            return f"{type(self).__name__}(mean={self._mean!r}, logvar={self._logvar!r})"
        library = library_of(self._mean)
        extra = ", deterministic=True" if self._deterministic else ""
        return (
            f"{type(self).__name__}(shape={self._shape}, dtype={dtype_name(self.dtype)}, "
            f"library={library.name if library else None}, bounds={self._bounds}, event_axes={self._event_axes}{extra})"
        )

    def _given(self) -> Operands:
        return operands(("mean", "logvar"), (self._mean, self._logvar))

    def _view(self, a: Any) -> Any:
        """`a` at the distribution's shape, not to be written."""
        library = library_of(self._mean)
        if tuple(a.shape) != self._shape:
            a = library.xp.broadcast_to(a, self._shape)  # type: ignore[union-attr]
        if library is NUMPY:
            a = a.view()
            a.flags.writeable = False
        return a

    def _summed(self, given: Operands, axes: Axis, value: float) -> Array:
        """`value` at the shape of a sum over the axes: what a deterministic distribution gives."""
        summed = axes_of(axes, len(given.shape))
        return _full(given, tuple([n for axis, n in enumerate(given.shape) if axis not in summed]), value)


class DiracDistribution(Generic[Array]):
    """A point mass: all the probability at one value.

    Parameters
    ----------
    value : floating array

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> ag.DiracDistribution(np.ones(3)).sample()
    array([1., 1., 1.])
    """

    __slots__ = ("_value",)

    def __init__(self, value: Array) -> None:
        if library_of(value) is None:
            raise TypeError(f"value must be an array; got {type(value).__name__}")
        floating("value", value.dtype)
        self._value = value

    @property
    def value(self) -> Array:
        """The value, as it was given."""
        return self._value

    def sample(self, rng: Rng = None) -> Array:
        """The value, as a new array. ``rng`` is checked, and no Generator is advanced."""
        as_key(rng, draw=False)
        return self.mode()

    def mode(self) -> Array:
        """The value, as a new array."""
        library = library_of(self._value)
        assert library is not None  # __init__ saw to it
        return library.copy(self._value, tuple(self._value.shape))

    def __repr__(self) -> str:
        return f"DiracDistribution(shape={tuple(self._value.shape)}, dtype={dtype_name(self._value.dtype)})"


def renamed(error: TypeError | ValueError, **names: str) -> TypeError | ValueError:
    """The error of a function, which begins with an argument's name, with the name that a method has for it."""
    name, _, rest = str(error).partition(" ")
    known = name in names and type(error) in (TypeError, ValueError)
    return type(error)(f"{names[name]} {rest}") if known else error


@remembered
def _event_axes(event_axes: int | Sequence[int] | None, rank: int) -> Shape:
    """The event axes counted from the end, so that values with leading sample axes work too."""
    axes = range(1, rank) if event_axes is None else axes_of(event_axes, rank, "event_axes")
    return tuple([axis - rank for axis in axes])


def _checked_only(rng: Rng, index: Index | None, given: Operands) -> None:
    """Refuse what `sample` refuses, though nothing is drawn; a Generator is not advanced."""
    as_key(rng, draw=False)
    if index is not None:
        check_index(index, given.library, given.shape)


def _full(given: Operands, shape: Shape, value: float) -> Any:
    """A result without computation: float32 or wider, on the arguments' device."""
    options = {} if given.device is None else {"device": given.device}
    with given.library.on(given.arrays[0]):
        return given.library.xp.full(shape, value, dtype=given.wide, **options)


def _logvar_of(x: Any, second: str, floor: float) -> Any:
    """The log-variance that stored moments stand for, by way of float32 for half types."""
    given = operands(("moments",), (x,))
    xp = given.library.xp
    with given.library.on(x), given.library.quiet():
        wide = x if x.dtype == given.wide else xp.astype(x, given.wide)
        if second == "logstd":
            result = 2.0 * wide
        elif second == "softplus":
            result = 2.0 * _log_softplus(xp, wide, floor)
        else:
            result = (2.0 if second == "std" else 1.0) * xp.log(wide)
        return result if result.dtype == x.dtype else xp.astype(result, x.dtype)


def _log_softplus(xp: Namespace, x: Any, floor: float) -> Any:
    """log(log(1 + exp(x)) + floor), which without a floor is x itself to all digits where exp(x) is tiny."""
    found = xp.log(xp.where(x > 0.0, x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x))) + floor)
    return found if floor else xp.where(x < -40.0, x, found)
