"""JAX: agauss's functions, and its distribution as a pytree, for jit, grad, jvp, vmap and sharding.

A Key is a pytree too, once this is imported. On the CPU compiled code calls the Numba loops. On a CUDA device it
launches the CUDA kernels, where CuPy is installed to compile them. Elsewhere XLA fuses the array-API form
(backends/jax/).
"""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

import agauss
from agauss import ops
from agauss.arrays import is_number
from agauss.integrations import need
from agauss.keys import Key, as_key, repeatable
from agauss.options import refuse_frozen_noise

jax = need("jax", "jax")
jnp = need("jax.numpy", "jax")

KEY_WORDS = (2, 4)  # of threefry and of rbg keys


def key_of(rng: Any) -> Key:
    """The key that ``rng`` stands for: what agauss takes, and keys of jax.random, typed or raw, traced or not.

    ``jax.random.key(n)`` is the seed n, so its noise is that of ``rng=n``; JAX without x64 keeps 32 bits of n. (Of a
    four-word key, of the generator "rbg", the first two words are the seed, and the others, by exclusive or, the
    stream. A key of "philox4x32" is the seed that JAX has hashed n to.)

    Examples
    --------
    >>> import agauss as ag, jax, jax.numpy as jnp
    >>> from agauss.integrations import jax as agj
    >>> zeros = jnp.zeros(3)
    >>> bool((agj.sample(zeros, zeros, rng=jax.random.key(7)) == ag.sample(zeros, zeros, rng=7)).all())
    True
    """
    if isinstance(rng, (jax.Array, np.ndarray)):
        typed = jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
        data = jax.random.key_data(rng) if typed else rng
        if data.ndim and data.dtype == np.uint32 and data.shape[-1] in KEY_WORDS:
            if data.ndim > 1:
                raise ValueError(f"rng must be one key; got {data.shape[:-1]} of them: use jax.vmap over them")
            known = not isinstance(data, jax.core.Tracer)
            data = np.asarray(data) if known else data
            stream = data[2] ^ data[3] if len(data) == 4 else 0
            if known:
                return Key(int(data[1]) | int(data[0]) << 32, int(stream))
            return Key.of_words(data[1], data[0], stream)
        if isinstance(rng, jax.core.Tracer):
            raise TypeError(
                f"rng must be a key where it is traced; got {rng.dtype}{list(rng.shape)}: "
                "pass jax.random.key(n) or Key(0).fold_in(n)"
            )
    return as_key(rng, also="a key of jax.random, ")


def _given(op: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of an operation: NumPy's arrays are constants for JAX, as everywhere, and keys are agauss's."""
    if kwargs.get("out") is not None:
        raise TypeError("out must be None, for JAX's arrays cannot be written to")
    try:
        bound = inspect.signature(op).bind(*args, **kwargs)
    except TypeError as error:
        raise _misfit(op, kwargs, str(error)) from None
    arrays = [_as_array(name, a) for name, a in zip(bound.arguments, bound.args, strict=False)]
    options = dict(bound.kwargs)
    if "rng" in options:
        options["rng"] = _key_beside(options["rng"], arrays)
    return arrays, options


def _misfit(op: Callable[..., Any], kwargs: dict[str, Any], error: str) -> TypeError:
    """The error of arguments that an operation does not take."""
    parameters = inspect.signature(op).parameters
    unknown = [name for name in kwargs if name not in parameters]
    if unknown:
        error = f"got an unexpected argument {unknown[0]!r}; it takes {', '.join(parameters)}"
    elif error.startswith("too many"):
        options = [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
        error = f"got too many arguments by position; it takes {', '.join(options)} by name"
    else:
        error = f"is {error}"  # missing a required argument
    return TypeError(f"{op.__name__}() {error}")


def _key_beside(rng: Any, arrays: Sequence[Any]) -> Key:
    """The key that `rng` stands for, beside arrays that may be traced."""
    refuse_frozen_noise(rng, arrays)
    return key_of(rng)


def _as_array(name: str, x: Any) -> Any:
    if isinstance(x, (np.ndarray, jax.core.Tracer)):  # a tracer may stand for a number of Python's
        return jnp.asarray(x)
    if x is None or isinstance(x, jax.Array) or is_number(x):
        return x
    raise TypeError(f"{name} must be an array of JAX or NumPy, or a real number; got {type(x).__name__}")


def _traced(op: Callable[..., Any]) -> Callable[..., Any]:
    """An operation of agauss on JAX's arrays; backends/jax/ has the derivatives."""

    @wraps(op)
    def call(*args: Any, **kwargs: Any) -> Any:
        arrays, options = _given(op, args, kwargs)
        return op(*arrays, **options)

    notes = {
        "out": "``out`` must be None, for JAX's arrays cannot be written to.",
        "rng": "``rng`` may be a key of jax.random.",
    }
    said = ["    Takes JAX's arrays, and NumPy's beside them, under ``jit``, ``grad`` and ``vmap`` too."]
    said += [note for name, note in notes.items() if name in inspect.signature(op).parameters]
    text, *sections = re.split(r"^(?=    \w+\n    ---)", op.__doc__ or "", maxsplit=1, flags=re.MULTILINE)
    call.__doc__ = text + "\n    ".join(said) + "\n\n" + "".join(sections)
    return call


FUNCTIONS = {name: _traced(function) for name, function in ops.FUNCTIONS.items()}
globals().update(FUNCTIONS)
sample_and_kl_of = _traced(ops.sample_and_kl_of)


class DiagonalGaussianDistribution(agauss.DiagonalGaussianDistribution):
    """``agauss.DiagonalGaussianDistribution``, a pytree whose leaves are mean and log-variance.

    It goes in and out of jit, grad, scan and vmap; the event axes are counted from the end, so that under vmap over the
    batch ``kl`` is a number.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from agauss.integrations.jax import DiagonalGaussianDistribution
    >>> q = DiagonalGaussianDistribution(jnp.zeros((2, 8, 3)))
    >>> jax.jit(lambda q, key: q.sample(key))(q, jax.random.key(0)).shape
    (2, 4, 3)
    >>> jax.grad(lambda q: q.kl().sum())(q).mean.shape
    (2, 4, 3)
    """

    __slots__ = ()
    _ops: Any = sys.modules[__name__]

    @wraps(agauss.DiagonalGaussianDistribution.__init__)  # type: ignore[misc]
    def __init__(self, parameters: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_as_array("parameters", parameters), *args, **kwargs)

    def _set(self, mean: Any, logvar: Any, *args: Any) -> None:
        super()._set(_as_array("mean", mean), _as_array("logvar", logvar), *args)

    def sample(
        self, rng: Any = None, *, index: Any = None, sample_shape: int | Sequence[int] = (), out: Any = None
    ) -> Any:
        """``agauss.DiagonalGaussianDistribution.sample``, with keys of jax.random too."""
        return super().sample(self._key(rng), index=index, sample_shape=sample_shape, out=out)

    def sample_and_kl(self, rng: Any = None, *, index: Any = None, out: Any = None) -> tuple[Any, Any]:
        """``agauss.DiagonalGaussianDistribution.sample_and_kl``, with keys of jax.random too."""
        return super().sample_and_kl(self._key(rng), index=index, out=out)

    def _nll(self, x: Any, axis: Any) -> Any:
        return super()._nll(_as_array("x", x), axis)

    def _key(self, rng: Any) -> Any:
        """A key of JAX's as agauss's; anything else as it is, for a point advances no Generator."""
        return key_of(rng) if isinstance(rng, (jax.Array, np.ndarray)) else rng

    def tree_flatten(self) -> tuple[Any, Any]:
        """Leaves of one shape, so that what is mapped over one is mapped over the other."""
        leaves = tuple(
            jnp.broadcast_to(a, self._shape) if getattr(a, "shape", self._shape) != self._shape else a
            for a in (self._mean, self._logvar)
        )
        return leaves, (self._deterministic, self._bounds, self._event_axes)

    @classmethod
    def tree_unflatten(cls, fixed: Any, leaves: Any) -> "DiagonalGaussianDistribution":
        """With whatever leaves: JAX puts in more than arrays."""
        self = cls.__new__(cls)
        self._mean, self._logvar = leaves
        self._deterministic, self._bounds, self._event_axes = fixed
        self._shape = tuple(getattr(leaves[0], "shape", ()))
        return self


class MultivariateNormal(agauss.MultivariateNormal):
    """``agauss.MultivariateNormal``, a pytree whose leaves are mean and scale_tril, with keys of jax.random too.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from agauss.integrations.jax import MultivariateNormal
    >>> q = MultivariateNormal(jnp.zeros((2, 3)), jnp.eye(3))
    >>> jax.jit(lambda q, key: q.sample(key))(q, jax.random.key(0)).shape
    (2, 3)
    >>> jax.grad(lambda q: q.kl().sum())(q).mean.shape
    (2, 3)
    """

    __slots__ = ()

    def _noise(self, rng: Any, index: Any, sample_shape: int | Sequence[int]) -> Any:
        return super()._noise(_key_beside(rng, self._own()), index, sample_shape)

    def sample_vjp(
        self, *, cotangent: Any, rng: Any, index: Any = None, sample_shape: int | Sequence[int] = ()
    ) -> tuple[Any, Any]:
        """``agauss.MultivariateNormal.sample_vjp``, with keys of jax.random too."""
        key = key_of(repeatable(rng))
        return super().sample_vjp(cotangent=cotangent, rng=key, index=index, sample_shape=sample_shape)

    def tree_flatten(self) -> tuple[Any, Any]:
        """Leaves as they are."""
        return (self._mean, self._tril), None

    @classmethod
    def tree_unflatten(cls, _: Any, leaves: Any) -> "MultivariateNormal":
        """With whatever leaves: JAX puts in more than arrays."""
        self = cls.__new__(cls)
        self._mean, self._tril = leaves
        mean, tril = (tuple(getattr(leaf, "shape", (1, 1))) for leaf in leaves)
        self._shape = np.broadcast_shapes(mean, tril[:-1])
        return self


def _key_words(key: Key) -> tuple[Any, None]:
    """JAX takes Python's integers for words with a sign."""
    return tuple(np.uint32(w) if isinstance(w, int) else w for w in key.words()), None


jax.tree_util.register_pytree_node(Key, _key_words, lambda _, words: Key.of_words(*words))
for _class in (DiagonalGaussianDistribution, MultivariateNormal):
    jax.tree_util.register_pytree_node_class(_class)

_names = sorted([*FUNCTIONS, "DiagonalGaussianDistribution", "MultivariateNormal", "key_of"])
if TYPE_CHECKING:  # type checkers see agauss's own signatures
    from agauss.ops import *  # noqa: F403
else:
    __all__ = _names


def __dir__() -> list[str]:
    return _names
