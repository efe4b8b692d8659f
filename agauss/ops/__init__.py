"""The operations on diagonal Gaussians, each with its vector-Jacobian product: signatures and documentation.

agauss/__init__.py says what they have in common: broadcasting, units, dtypes, bounds and errors.
"""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agauss.keys import Once
from agauss.operations import OPERATIONS
from agauss.ops import distances, divergences, likelihoods, moments, sampling
from agauss.ops.distances import *
from agauss.ops.divergences import *
from agauss.ops.likelihoods import *
from agauss.ops.moments import *
from agauss.ops.sampling import *
from agauss.ops.sampling import sample_and_kl_of as sample_and_kl_of
from agauss.ops.sampling import sample_and_kl_of_vjp as sample_and_kl_of_vjp
from agauss.typing import Array, Number

FILES = (divergences, distances, likelihoods, moments, sampling)
NAMES = [name for file in FILES for name in file.__all__] + ["vjp"]
if not TYPE_CHECKING:  # type checkers go by the imports
    __all__ = NAMES


def vjp(
    op: Callable[..., Any], *primals: Array | Number, **kwargs: Any
) -> tuple[Any, Callable[[Any], tuple[Array, ...]]]:
    """The value of an operation, and the function that pulls a cotangent of it back; follows ``jax.vjp``.

    Parameters
    ----------
    op : one of this library's functions that have a ``*_vjp``
    *primals : its array arguments
    **kwargs : its other arguments
        An ``rng`` is made into a key once, so that the value and its gradients have the same noise.

    Returns
    -------
    value
    pullback : cotangent -> tuple of gradients, one with respect to each of the primals

    Examples
    --------
    >>> import agauss as ag, numpy as np
    >>> value, pullback = ag.vjp(ag.kl, np.array([3.0]), np.array([0.0]))
    >>> float(value), pullback(2.0)
    (4.5, (array([6.]), array([0.])))
    """
    backward = VJPS.get(op)
    if backward is None:
        name = getattr(op, "__qualname__", repr(op))
        raise TypeError(f"op must be agauss's own {', '.join(f.__name__ for f in VJPS)}; got {name}")
    if kwargs.get("out") is not None:
        raise TypeError("out must be None under vjp; got an array")
    if "rng" in kwargs:
        kwargs["rng"] = Once(kwargs["rng"])
    value = op(*primals, **kwargs)

    def pullback(cotangent: Any) -> tuple[Array, ...]:
        gradients = backward(*primals, cotangent=cotangent, **kwargs)
        return gradients if isinstance(gradients, tuple) else (gradients,)

    return value, pullback


# The public functions that the table's operations have, in its order.
FUNCTIONS = {op.function: globals()[op.function] for op in OPERATIONS.values() if op.function in NAMES}
VJPS = {f: globals()[f"{name}_vjp"] for name, f in FUNCTIONS.items() if f"{name}_vjp" in NAMES}
