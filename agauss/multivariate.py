"""MultivariateNormal: the Gaussian with a full covariance; a value object, whose maths is in full_covariance.py."""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, Generic, NamedTuple, Self

import numpy as np

from agauss import full_covariance as maths
from agauss.arrays import NUMPY, Library, Operands, broadcast_two, dtype_name, kind_of, library_of, operands
from agauss.backends.protocol import DType, Shape
from agauss.distributions import DiagonalGaussianDistribution
from agauss.execution import cotangent_for, draws, value
from agauss.keys import as_key, repeatable
from agauss.operations import NOISE
from agauss.options import sizes_of
from agauss.typing import AnyArray, Array, Index, Number, Rng, Seed


class MultivariateNormal(Generic[Array]):
    """The Gaussian with a mean and a full covariance L L^T, given by its lower triangular factor L.

    Parameters
    ----------
    mean : array, shape (..., D), or number
    scale_tril : array, shape (..., D, D)
        L, with a positive diagonal. Only its lower triangle is read.

    Raises
    ------
    TypeError, ValueError
        For anything but floating arrays of one library, dtype and device; for shapes that do not fit. In NumPy arrays,
        for a diagonal that is not positive.

    Notes
    -----
    Leading axes are the batch. Those of mean and L broadcast. ``kl``, ``log_prob`` and ``entropy`` have one value for
    each member of the batch, in nats, float32 or wider. float16 and bfloat16 are computed in float32.

    In other libraries the diagonal is not checked, since that may wait for a device. Where it is 0 or negative, values
    and gradients are NaN or infinite. NaN and inf never raise.

    Triangular systems are solved by the library's own routine, and no matrix is inverted. NumPy has none, so its arrays
    are solved by Numba loops. CuPy's needs cuBLAS.

    The ``*_vjp`` methods give the gradients with respect to the arguments, times a cotangent of the value. That of L is
    lower triangular. PyTorch and JAX can differentiate the other methods themselves.

    References
    ----------
    Rezende, Mohamed and Wierstra, "Stochastic backpropagation and approximate inference in deep generative models",
    2014, section 4.

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> q = ag.MultivariateNormal(np.zeros(2), np.array([[1.0, 0.0], [1.0, 1.0]]))
    >>> q.covariance
    array([[1., 1.],
           [1., 2.]])
    >>> float(q.kl()), q.sample(rng=7).shape
    (0.5, (2,))
    """

    __slots__ = ("_mean", "_shape", "_tril")

    def __init__(self, mean: Array | Number, scale_tril: Array) -> None:
        self._set(mean, scale_tril)
        if library_of(scale_tril) is NUMPY:
            _positive_diagonal(scale_tril)

    def _set(self, mean: Array | Number, tril: Array) -> None:
        given = _with_matrices(mean, "scale_tril", tril)
        self._mean, self._tril = given.arrays
        self._shape = given.shape[:-1]

    @classmethod
    def from_covariance(cls, mean: Array | Number, covariance: Array) -> Self:
        """From a mean and a covariance, by its Cholesky factor. Only the covariance's lower triangle is read.

        Raises
        ------
        ValueError
            Where a covariance is not positive definite. JAX and CuPy give NaN instead. Dask raises when it computes,
            and names the place in the block.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.MultivariateNormal.from_covariance(np.zeros(2), np.array([[4.0, 2.0], [2.0, 2.0]])).scale_tril
        array([[2., 0.],
               [1., 1.]])
        """
        given = _with_matrices(mean, "covariance", covariance)
        library, own = given.library, given.arrays[1]
        wide = own if own.dtype == given.wide else library.xp.astype(own, given.wide)
        tril = library.by_events(maths.cholesky, "(i,i)->(i,i)", wide)
        self = cls.__new__(cls)
        self._set(given.arrays[0], library.xp.astype(tril, given.dtype))
        return self

    @classmethod
    def from_diagonal(cls, q: DiagonalGaussianDistribution[Array]) -> Self:
        """The same distribution as a diagonal one, whose event axes become one axis.

        Its sample of a key is that of ``q``, up to rounding. The event axes must be the last ones.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> q = ag.DiagonalGaussianDistribution(np.zeros((2, 8, 4)))
        >>> ag.MultivariateNormal.from_diagonal(q).scale_tril.shape
        (2, 16, 16)
        """
        if not isinstance(q, DiagonalGaussianDistribution):
            raise TypeError(f"q must be a DiagonalGaussianDistribution of agauss; got {type(q).__name__}")
        mean, std = _flat(q, "q", q.mean, q.std)
        library = _library_of(mean)
        self = cls.__new__(cls)
        self._set(mean, library.by_events(maths.diagonal, "(i)->(i,i)", library.xp.astype(std, q.dtype)))
        return self

    def to_diagonal(self) -> DiagonalGaussianDistribution[Array]:
        """The diagonal Gaussian of the same mean and variances, that of the marginals. It has no bounds.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.MultivariateNormal(np.zeros(2), np.array([[1.0, 0.0], [3.0, 4.0]])).to_diagonal().var.round(3)
        array([ 1., 25.])
        """
        logvar = self._of_tril(maths.log_variance, "(i,i)->(i)")
        return DiagonalGaussianDistribution.from_mean_logvar(self._mean, logvar, bounds=None, event_axes=-1)

    @property
    def shape(self) -> Shape:
        """The shape of mean, and of one sample of the batch."""
        return self._shape

    @property
    def dtype(self) -> DType:
        """The dtype of mean, L and samples; all else is float32 or wider."""
        return self._tril.dtype

    @property
    def mean(self) -> Array:
        """The mean, at the distribution's shape."""
        return self._library.xp.broadcast_to(self._mean, self._shape)

    @property
    def scale_tril(self) -> Array:
        """L, as it was given."""
        return self._tril

    @property
    def covariance(self) -> Array:
        """L L^T, of L's dtype."""
        return self._of_tril(maths.covariance, "(i,i)->(i,i)")

    def mode(self) -> Array:
        """The most likely value, the mean, as a new array."""
        return self._library.copy(self._mean, self._shape)

    def sample(self, rng: Rng = None, *, index: Index = None, sample_shape: int | Sequence[int] = ()) -> Array:
        """Draw z = mean + L eps, with the standard normal eps that ``agauss.sample`` has for the same key.

        Parameters
        ----------
        rng, index, sample_shape : see ``agauss.sample``

        Returns
        -------
        array, shape ``sample_shape + shape``, of the arguments' dtype

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> q = ag.MultivariateNormal(np.zeros((4, 2)), np.eye(2))
        >>> bool((q.sample(rng=7) == ag.random.normal((4, 2), rng=7, dtype="float64")).all())
        True
        """
        arrays = self._ready("(i),(i,i)", self._own())
        eps = self._noise(rng, index, sample_shape)
        z = self._library.by_events(maths.sample, "(i),(i,i),(i)->(i)", *arrays, eps)
        return z if z.dtype == self.dtype else self._library.xp.astype(z, self.dtype)

    def sample_vjp(
        self,
        *,
        cotangent: Array | Number,
        rng: Seed,
        index: Index = None,
        sample_shape: int | Sequence[int] = (),
    ) -> tuple[Array, Array]:
        """Gradients of ``sample`` with respect to mean, g, and L, tril(g eps^T), with g the cotangent of its value.

        The noise is regenerated from ``rng``, which must be what ``sample`` was given, and no Generator. With
        ``sample_shape`` the draws' gradients are added up.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> q = ag.MultivariateNormal(np.zeros(1), np.ones((1, 1)))
        >>> d_mean, d_scale_tril = q.sample_vjp(cotangent=1.0, rng=7)
        >>> bool(d_scale_tril[0, 0] == q.sample(rng=7)[0])
        True
        """
        shape = (*sizes_of(sample_shape, "sample_shape"), *self._shape)
        g = self._cotangent(cotangent, shape, self.dtype)
        eps = self._noise(as_key(repeatable(rng)), index, sample_shape)
        return self._gradients(maths.sample_vjp, "(i),(i),(i,i),(i)->(i),(i,i)", g, self._own(), eps)

    def log_prob(self, x: Array | Number) -> Array:
        """Log-density at x, ``-(u**2).sum() / 2 - log(diagonal of L).sum() - D log(2 pi) / 2`` with ``L u = x - mean``.

        x broadcasts against the distribution's shape. Leading axes of its own are kept.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.MultivariateNormal(np.zeros(2), np.eye(2)).log_prob(np.zeros((3, 2)))
        array([-1.83787707, -1.83787707, -1.83787707])
        """
        arrays = [self._with_x(x).arrays[0], *self._own()]
        return self._library.by_events(maths.log_prob, "(i),(i),(i,i)->()", *self._ready("(i),(i),(i,i)", arrays))

    def log_prob_vjp(self, x: Array | Number, *, cotangent: Array | Number) -> tuple[Array, Array, Array]:
        """Gradients of ``log_prob`` with respect to x, mean and L, times the cotangent of its value.

        With w the solution of ``L^T w = u`` they are -w, w and the lower triangle of ``w u^T``, less 1 / L on the
        diagonal. Each is summed to its argument's shape.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> q = ag.MultivariateNormal(np.zeros(1), np.ones((1, 1)))
        >>> q.log_prob_vjp(np.array([2.0]), cotangent=1.0)
        (array([-2.]), array([2.]), array([[3.]]))
        """
        given = self._with_x(x)
        g = self._cotangent(cotangent, given.shape[:-1], given.wide)
        arguments = [given.arrays[0], *self._own()]
        return self._gradients(maths.log_prob_vjp, "(),(i),(i),(i,i)->(i),(i),(i,i)", g, arguments)

    def entropy(self) -> Array:
        """Differential entropy: ``log(diagonal of L).sum() + D (1 + log(2 pi)) / 2``.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> float(ag.MultivariateNormal(np.zeros(2), np.eye(2)).entropy().round(6))
        2.837877
        """
        (tril,) = self._ready("(i,i)", [self._tril])
        return self._library.copy(self._library.by_events(maths.entropy, "(i,i)->()", tril), self._shape[:-1])

    def kl(self, other: MultivariateNormal[Array] | DiagonalGaussianDistribution[Array] | None = None) -> Array:
        """KL divergence from another distribution, full or diagonal, or from the standard normal.

        With ``W = L2^-1 L`` and ``L2 u = mean - mean2`` it is half the sum of u**2, of the squares of W below its
        diagonal, and of ``w**2 - 1 - 2 log w`` over its diagonal. No term is negative, and none cancels near equality.

        A diagonal distribution's event axes become one axis, and must be its last ones. The KL of a diagonal
        distribution from a full one is ``MultivariateNormal.from_diagonal(q).kl(p)``.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> q = ag.MultivariateNormal(np.array([2.0, 0.0]), np.diag([0.5, 2.0]))
        >>> float(q.kl()), float(q.kl(q))
        (3.125, 0.0)
        """
        pair = self._pair(other)
        return self._library.by_events(
            pair.kl, f"{pair.cores}->()", *self._ready(pair.cores, self._own() + pair.others)
        )

    def kl_vjp(
        self,
        other: MultivariateNormal[Array] | DiagonalGaussianDistribution[Array] | None = None,
        *,
        cotangent: Array | Number,
    ) -> tuple[Array, ...]:
        """Gradients of ``kl``, times the cotangent of its value: with respect to mean and L, and then to the other's.

        Those are mean and L of a full one, and mean and log-variance of a diagonal one.

        Examples
        --------
        >>> import agauss as ag, numpy as np
        >>> ag.MultivariateNormal(np.ones(1), np.full((1, 1), 2.0)).kl_vjp(cotangent=1.0)
        (array([1.]), array([[1.5]]))
        """
        pair = self._pair(other)
        g = self._cotangent(cotangent, pair.shape[:-1], self._wide_dtype)
        found = self._gradients(pair.kl_vjp, f"(),{pair.cores}->{pair.cores}", g, self._own() + pair.others)
        if not isinstance(other, DiagonalGaussianDistribution):
            return found
        reshape = self._library.xp.reshape
        return (*found[:2], *(reshape(gradient, other.shape) for gradient in found[2:]))

    def __repr__(self) -> str:
        if not hasattr(self._tril, "dtype"):  # a pytree's leaves may be anything
            return f"{type(self).__name__}(mean={self._mean!r}, scale_tril={self._tril!r})"
        name = f"{type(self).__name__}(shape={self._shape}, dtype={dtype_name(self.dtype)}"
        return f"{name}, library={self._library.name})"

    @property
    def _library(self) -> Library:
        return _library_of(self._tril)

    @property
    def _wide_dtype(self) -> DType:
        return Operands(self._library, [self._tril], ()).wide

    def _of_tril(self, function: Callable[..., Any], signature: str) -> Array:
        """What a function makes of L, in L's dtype."""
        (tril,) = self._ready("(i,i)", [self._tril])
        return self._library.xp.astype(self._library.by_events(function, signature, tril), self.dtype)

    def _own(self) -> list[Array]:
        return [self._mean, self._tril]

    def _ready(self, cores: str, arrays: Sequence[AnyArray]) -> list[Any]:
        """Arrays of the axes that a signature says, float32 or wider."""
        library, dtype, d = self._library, self._wide_dtype, self._shape[-1]
        found = []
        for core, a in zip(cores[1:-1].split("),("), arrays, strict=True):
            if core == "i" and tuple(a.shape[-1:]) != (d,):
                a = library.xp.broadcast_to(a, (*a.shape[:-1], d))
            found.append(a if a.dtype == dtype else library.xp.astype(a, dtype))
        return found

    def _noise(self, rng: Rng, index: Index | None, sample_shape: int | Sequence[int]) -> Any:
        """The eps of each draw, float32 or wider."""
        sizes = sizes_of(sample_shape, "sample_shape")
        (mean,) = self._ready("(i)", [self._mean])
        if tuple(mean.shape) != self._shape:
            mean = self._library.xp.broadcast_to(mean, self._shape)
        given = Operands(self._library, [mean], self._shape)
        if sizes == ():
            return value(NOISE, given.arrays, rng=rng, index=index)
        return draws(NOISE, given, sizes, rng=rng, index=index, out=None)

    def _with_x(self, x: Any) -> Operands:
        """x as an array, and the shape that it broadcasts to against the distribution's."""
        given = operands(("x", "mean"), (x, self._library.xp.broadcast_to(self._mean, self._shape)))
        if given.shape[-1] != self._shape[-1]:
            raise ValueError(f"x must have a last extent of {self._shape[-1]}; got shape {tuple(x.shape)}")
        return given

    def _cotangent(self, cotangent: AnyArray | Number, shape: Shape, dtype: DType) -> Any:
        """A cotangent of the value's shape, float32 or wider."""
        given = Operands(self._library, [self._tril], self._shape)
        g = self._library.xp.broadcast_to(cotangent_for(cotangent, shape, dtype, given), shape)
        return g if g.dtype == given.wide else self._library.xp.astype(g, given.wide)

    def _gradients(
        self, function: Callable[..., Any], signature: str, g: AnyArray, arguments: Sequence[Array], *rest: AnyArray
    ) -> tuple[Any, ...]:
        """The arguments' gradients, of their shapes and dtypes."""
        library, (_, _, cores) = self._library, signature.partition("->")
        found = library.by_events(function, signature, g, *self._ready(cores, arguments), *rest)
        return tuple(
            [library.summed_to(gradient, a.shape, a.dtype) for gradient, a in zip(found, arguments, strict=True)]
        )

    def _pair(self, other: object) -> _Pair:
        """How the KL to another distribution is computed, and from which arrays of it."""
        if other is None:
            return _Pair(maths.kl_prior, maths.kl_prior_vjp, "(i),(i,i)", [], self._shape)
        if isinstance(other, MultivariateNormal):
            shape = self._checked(other.mean)
            return _Pair(maths.kl, maths.kl_vjp, "(i),(i,i),(i),(i,i)", other._own(), shape)
        if not isinstance(other, DiagonalGaussianDistribution):
            kind = f"{type(other).__module__}.{type(other).__qualname__}".removeprefix("builtins.")
            raise TypeError(
                f"other must be None, a MultivariateNormal or a DiagonalGaussianDistribution of agauss; got {kind}"
            )
        mean2, logvar2 = _flat(other, "other", other._mean, other._logvar)
        shape = self._checked(mean2)
        bounds = other.bounds
        if other.deterministic:  # a point, which no bound may lift
            logvar2, bounds = self._library.xp.full_like(logvar2, -float("inf")), None
        kl, kl_vjp = partial(maths.kl_diagonal, bounds=bounds), partial(maths.kl_diagonal_vjp, bounds=bounds)
        return _Pair(kl, kl_vjp, "(i),(i,i),(i),(i)", [mean2, logvar2], shape)

    def _checked(self, mean2: AnyArray) -> Shape:
        """The shape that another distribution's mean broadcasts to against the own one."""
        given = operands(("mean", "other's mean"), (self.mean, mean2))
        if not given.shape[-1] == self._shape[-1] == mean2.shape[-1]:
            raise ValueError(f"other must have a last extent of {self._shape[-1]}; got shape {tuple(mean2.shape)}")
        return given.shape


class _Pair(NamedTuple):
    """A KL: its function, its vjp, the core axes of their arguments, those that are the other's, and the shape."""

    kl: Callable[..., Any]
    kl_vjp: Callable[..., Any]
    cores: str
    others: list[Any]
    shape: Shape


def _with_matrices(mean: Any, name: str, matrices: AnyArray) -> Operands:
    """A mean and matrices, and the shape that they have together."""
    library = library_of(matrices)
    if library is None:
        raise TypeError(f"{name} must be an array; got {kind_of(matrices)}")
    shape = tuple(matrices.shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"{name} must have shape (..., D, D); got {shape}")
    rows, own = mean, () if library_of(mean) is None else tuple(mean.shape)
    if own:
        rows = mean[..., None]
        joined = broadcast_two(own, shape[:-1])
        if joined is None or joined[-1] != shape[-1]:
            raise ValueError(f"mean must broadcast against the rows of {name}; got shapes {own} and {shape}")
    given = operands(("mean", name), (rows, matrices))
    return Operands(given.library, [mean if own else given.arrays[0], matrices], given.shape)


def _positive_diagonal(tril: Any) -> None:
    """Refuse a factor that is singular, or of which a column has the wrong sign. NaN passes."""
    bad = tril.diagonal(0, -2, -1) <= 0
    if np.count_nonzero(bad):  # any() takes longer on few numbers
        *batch, k = (int(n) for n in np.argwhere(bad)[0])
        place = (*batch, k, k)
        raise ValueError(f"scale_tril must have a positive diagonal; got {tril[place]} at {place}")


def _library_of(a: object) -> Library:
    library = library_of(a)
    assert library is not None  # it was checked before
    return library


def _flat(q: DiagonalGaussianDistribution[Any], name: str, *arrays: AnyArray) -> list[Any]:
    """Arrays of a diagonal distribution, with its event axes as one."""
    n = len(q.event_axes)
    if q.event_axes != tuple(range(-n, 0)) or n == 0:
        raise ValueError(f"{name} must have its last axes as event axes; got {q.event_axes} of shape {q.shape}")
    xp = _library_of(q.mean).xp
    shape = (*q.shape[:-n], prod(q.shape[-n:]))
    return [xp.reshape(xp.broadcast_to(a, q.shape), shape) for a in arrays]
