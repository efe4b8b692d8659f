"""The importance-weighted bound of each datum, from the log-weights of its samples."""

from __future__ import annotations  # help() shows them as they are written

from math import log
from typing import Any

from agauss.arrays import Operands, operands
from agauss.options import axes_of
from agauss.typing import Array, Number
from agauss.vae.arguments import as_array, computing, pulled, wide
from agauss.words import index_of

__all__ = ["iwae", "iwae_vjp"]


def iwae(log_weights: Array, axis: int) -> tuple[Array, Array]:
    """Importance-weighted bound on log p(x), ``log(mean(exp(log_weights)))`` over ``axis``, and the normalised weights.

    With one sample it is the ELBO, and with more it rises to log p(x). Take it for each datum: a log-weight that was
    summed over a batch makes another, looser bound.

    Parameters
    ----------
    log_weights : array, shape (K, B), say
        log p(x, z) - log q(z | x) of each sample z of each datum, which is the log-likelihood less
        ``agauss.log_density_ratio``.
    axis : int
        The axis of the samples.

    Returns
    -------
    bound : array, shape (B,)
        In nats, float32 or wider. -inf where all log-weights are.
    weights : array, shape (K, B)
        They sum to 1 over the axis. The largest are equal and the others 0 where the largest log-weight is infinite.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for an axis that is not one int, and no samples along it.

    References
    ----------
    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> bound, weights = vae.iwae(np.log(np.array([[1.0], [3.0]])), axis=0)
    >>> print(bound.round(3), weights.ravel())
    [0.693] [0.25 0.75]
    """
    given, place = _samples(log_weights, axis)
    with computing(given) as xp:
        top, total, shares = _shares(xp, given, place)
        bound = xp.squeeze(top + xp.log(total), axis=place) - log(given.shape[place])
        return as_array(given, xp.astype(bound, given.wide)), xp.astype(shares / total, given.wide)


def iwae_vjp(log_weights: Array, axis: int, *, cotangent: Array | Number) -> tuple[Array]:
    """The gradient of ``iwae``'s bound with respect to log_weights: the normalised weights, times the cotangent.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> vae.iwae_vjp(np.log(np.array([1.0, 3.0])), axis=0, cotangent=2.0)[0].round(3)
    array([0.5, 1.5])
    """
    given, place = _samples(log_weights, axis)
    left = given.shape[:place] + given.shape[place + 1 :]
    with computing(given) as xp:
        _, total, shares = _shares(xp, given, place)
        g = xp.expand_dims(xp.broadcast_to(pulled(cotangent, left, given), left), axis=place)
        return (xp.astype(g * xp.astype(shares / total, given.wide), given.dtype),)


def _samples(log_weights: Any, axis: Any) -> tuple[Operands, int]:
    given = operands(("log_weights",), (log_weights,))
    if index_of(axis) is None:
        raise TypeError(f"axis must be an int, the axis of the samples; got {axis!r}")
    (place,) = axes_of(axis, len(given.shape))
    if given.shape[place] == 0:
        raise ValueError(f"log_weights must have at least 1 sample along axis {axis}; got shape {given.shape}")
    return given, place


def _shares(xp: Any, given: Operands, place: int) -> tuple[Any, Any, Any]:
    """The largest log-weight, and the weights and their sum in units of it."""
    (log_weights,) = wide(given)
    top = xp.max(log_weights, axis=place, keepdims=True)
    zero = xp.zeros_like(top)
    # The largest one differs from itself by 0, even if it is infinite.
    less = xp.where(log_weights == top, zero, log_weights - xp.where(top == -float("inf"), zero, top))
    shares = xp.exp(less)
    return top, xp.sum(shares, axis=place, keepdims=True), shares
