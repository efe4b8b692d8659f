"""HIPS autograd: agauss's functions and its distribution as primitives, differentiable twice.

A primitive and its gradient run on the Numba loops. The gradient of a gradient is autograd's own, through the array-API
form on autograd's boxes.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

import agauss
from agauss import arrays, ops
from agauss.integrations import need
from agauss.keys import as_key

need("autograd", "autograd")
import autograd.numpy as anp  # noqa: E402
from autograd import make_vjp  # noqa: E402
from autograd.builtins import SequenceBox  # noqa: E402
from autograd.builtins import tuple as boxed_tuple  # noqa: E402
from autograd.extend import defvjp_argnums, notrace_primitive, primitive  # noqa: E402
from autograd.numpy.numpy_boxes import ArrayBox  # noqa: E402


class Namespace:
    """autograd.numpy with what it lacks of the array API standard."""

    concat = staticmethod(anp.concatenate)
    isdtype = staticmethod(np.isdtype)
    __array_namespace_info__ = staticmethod(np.__array_namespace_info__)

    def __getattr__(self, name: str) -> Any:
        return getattr(anp, name)

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        return x if isinstance(x, ArrayBox) else np.asarray(x, dtype)

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """autograd's own has gradients of the condition's shape."""
        shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
        return anp.where(condition, self.broadcast_to(x, shape), self.broadcast_to(y, shape))

    def broadcast_to(self, x: Any, shape: tuple[int, ...]) -> Any:
        """autograd's own has no gradient where there are more dimensions than before."""
        return x * np.ones(shape, x.dtype)

    def astype(self, x: Any, dtype: Any) -> Any:
        return x.astype(dtype)


arrays.add(ArrayBox, "autograd", Namespace())


def _differentiable(op: Callable[..., Any], vjp: Callable[..., Any]) -> Callable[..., Any]:
    """An operation of agauss as a primitive of autograd. Its arguments without a default are what can be an array."""
    forward = primitive(op)

    def pulled(cotangent: Any, *primals: Any, **options: Any) -> Any:
        found = vjp(*primals, cotangent=cotangent, **options)
        return found if isinstance(found, tuple) else (found,)

    backward = primitive(pulled)

    def pull(argnums: Sequence[int], value: Any, primals: Any, options: dict[str, Any]) -> Callable[[Any], Any]:
        def gradients(cotangent: Any) -> Any:
            found = backward(cotangent, *primals, **options)
            return boxed_tuple([found[place] for place in argnums])

        return gradients

    def pull_again(argnums: Sequence[int], value: Any, args: Any, options: dict[str, Any]) -> Callable[[Any], Any]:
        # Every array is a box, for agauss takes the arrays of one library alone.
        places = [place for place, a in enumerate(args) if a is not None]

        def boxed(*arrays: Any) -> Any:
            given: list[Any] = [None] * len(args)
            for place, a in zip(places, arrays, strict=True):
                given[place] = tuple(a) if isinstance(a, SequenceBox) else a
            return boxed_tuple(pulled(*given, **options))

        arrays = [_array(args[place]) for place in places]
        again, _ = make_vjp(boxed, tuple(range(len(places))))(*arrays)

        def gradients(cotangents: Any) -> Any:
            found = dict(zip(places, again(boxed_tuple(cotangents)), strict=True))
            return boxed_tuple([found[place] for place in argnums])

        return gradients

    defvjp_argnums(forward, pull)
    defvjp_argnums(backward, pull_again)

    @wraps(op)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(op).bind(*args, **kwargs)
        options = dict(bound.kwargs)
        if options.get("out") is not None:
            raise TypeError("out must be None, for autograd takes no arrays that are written to")
        if "rng" in options:
            options["rng"] = as_key(options["rng"])  # once, so that the noise of both ways is the same
        return forward(*bound.args, **options)

    return call


def _array(x: Any) -> Any:
    """A cotangent or an argument as an array; numbers too, in a box or not."""
    if isinstance(x, ArrayBox):
        return x + np.zeros(()) if isinstance(x._value, float) else x
    if isinstance(x, tuple):
        return boxed_tuple([_array(each) for each in x])
    return np.asarray(x)


FUNCTIONS = {
    f.__name__: _differentiable(f, ops.VJPS[f]) if f in ops.VJPS else notrace_primitive(f)
    for f in ops.FUNCTIONS.values()
}
globals().update(FUNCTIONS)
sample_and_kl_of = _differentiable(ops.sample_and_kl_of, ops.sample_and_kl_of_vjp)


class DiagonalGaussianDistribution(agauss.DiagonalGaussianDistribution):
    """``agauss.DiagonalGaussianDistribution``, differentiable by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> from autograd import grad
    >>> from agauss.integrations.autograd import DiagonalGaussianDistribution
    >>> grad(lambda parameters: DiagonalGaussianDistribution(parameters).kl()[0])(np.array([[3.0, 0.0]]))
    array([[3., 0.]])
    """

    __slots__ = ()
    _ops = sys.modules[__name__]


_names = sorted([*FUNCTIONS, "DiagonalGaussianDistribution"])
if TYPE_CHECKING:  # type checkers see agauss's own signatures
    from agauss.ops import *  # noqa: F403
else:
    __all__ = _names


def __dir__() -> list[str]:
    return _names
