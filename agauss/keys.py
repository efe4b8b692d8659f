"""Keys, and all that `rng` may be; docs/noise.md says what a key decides. No kernel depends on it."""

import os
from functools import cached_property
from typing import Any

from agauss.maths.noise import FOLD_DRAW, MASK32, philox
from agauss.words import ArrayMaths, IntegerMaths, has_64_bits, index_of, integer


class Key:
    """A 64-bit seed and a 32-bit stream, from which all noise is made.

    The noise of an element is a function of the key, the draw, its sample's id, its position in the sample and the
    dtype's width: float64 has noise of its own.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    stream : int
        0 <= stream < 2**32; streams of one seed are independent of each other.

    Raises
    ------
    TypeError, ValueError
        Where either is not an integer, or out of range.

    Examples
    --------
    >>> import agauss as ag
    >>> ag.random.Key(7).fold_in(3) == ag.random.Key(7).fold_in(3)
    True
    >>> ag.random.Key(7).fold_in(3) == ag.random.Key(7).fold_in(4)
    False
    """

    __slots__ = ("_words",)
    _words: tuple[Any, Any, Any]

    def __init__(self, seed: int, stream: int = 0) -> None:
        seed, stream = integer("seed", seed, 64), integer("stream", stream, 32)
        object.__setattr__(self, "_words", (seed & MASK32, seed >> 32, stream))

    @classmethod
    def of_words(cls, seed_low: Any, seed_high: Any, stream: Any) -> "Key":
        """The key of three words, which are not checked: integers, or a library's arrays of one element, traced too."""
        self = cls.__new__(cls)
        object.__setattr__(self, "_words", (seed_low, seed_high, stream))
        return self

    @property
    def seed(self) -> int:
        return int(self._words[0]) | int(self._words[1]) << 32

    @property
    def stream(self) -> int:
        return int(self._words[2])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Key cannot be changed; make another, or use fold_in")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and (self.seed, self.stream) == (other.seed, other.stream)

    def __hash__(self) -> int:
        return hash((self.seed, self.stream))

    def __repr__(self) -> str:
        if None not in map(index_of, self._words):
            return f"Key({self.seed}, stream={self.stream})"
        return f"Key.of_words{self._words}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Key, (self.seed, self.stream)

    def words(self) -> tuple[Any, Any, Any]:
        """The seed's lower and upper 32 bits, and the stream: what Philox takes of a key."""
        return self._words

    def fold_in(self, n: Any) -> "Key":
        """Another key, a function of this one and the integer n, 0 <= n < 2**64: one for each step, layer or worker.

        Where JAX traces, the key and n may be traced too. n is then taken modulo 2**64.
        """
        if getattr(n, "shape", ()) != ():
            raise ValueError(f"n must be one integer; got shape {tuple(n.shape)}")
        if str(getattr(n, "dtype", "")).startswith("key<"):
            raise TypeError("n must be an integer; got a key of jax.random")
        if index_of(n) is not None or not hasattr(n, "__array_namespace__"):
            n = integer("n", n, 64)
        unknown = [x for x in (n, *self._words) if index_of(x) is None]
        if not unknown:
            return Key.of_words(*_folded(IntegerMaths(), n, *map(int, self._words)))
        xp = unknown[0].__array_namespace__()
        m = ArrayMaths(xp, xp.int64 if has_64_bits(xp) else xp.uint32)
        return Key.of_words(*(xp.astype(word, xp.uint32) for word in _folded(m, n, *self._words)))


def _folded(m: Any, n: Any, seed_low: Any, seed_high: Any, stream: Any) -> tuple[Any, ...]:
    """The words of a key into which n is folded."""
    low, high = m.halves("n", n)
    seed_low, seed_high, stream = m.word(seed_low), m.word(seed_high), m.word(stream)
    words = philox(m, low, high, m.word(FOLD_DRAW), stream, seed_low, seed_high)
    return words[0], words[1], words[2]


class Once:
    """What `rng` was, as a key that is made when it is first used and kept: a call that is refused draws nothing."""

    def __init__(self, rng: Any) -> None:
        self.given = rng

    @cached_property
    def key(self) -> Key:
        return as_key(self.given)


def is_fresh(rng: Any) -> bool:
    """Whether it stands for another key each time."""
    return rng is None or (type(rng) is not int and hasattr(rng, "integers"))


def words_of(rng: Any) -> tuple[Any, Any, Any]:
    """The words of the key that `rng` stands for."""
    if type(rng) is int and 0 <= rng < 2**64:
        return rng & MASK32, rng >> 32, 0
    return as_key(rng).words()


def repeatable(rng: Any) -> Any:
    """`rng` as it was given to a sample that was drawn before; refused where it would stand for another key now."""
    if is_fresh(rng):
        raise TypeError(
            f"rng must be the int or Key that the sample was drawn with; got {name_of_rng(rng)}, which gives other "
            "noise each time (agauss.vjp takes it, and keeps the key)"
        )
    return rng


def name_of_rng(rng: Any) -> str:
    """How an error names it."""
    module, name = type(rng).__module__.partition(".")[0], type(rng).__name__
    if rng is None:
        return "None"
    return name if module == "builtins" else f"{module}'s {name}"


def as_key(rng: Any, name: str = "rng", draw: bool = True, also: str = "") -> Key:
    """The key that `rng` stands for. A Generator is advanced by one 64-bit draw; nothing else is changed. Without
    `draw` no Generator is, nor is a key to be used: `rng` is only checked. `also` is what the caller takes besides."""
    if isinstance(rng, Key):
        return rng
    if isinstance(rng, Once):
        return rng.key
    if rng is None:
        return Key(int.from_bytes(os.urandom(8), "little"))
    seed = index_of(rng)
    if seed is not None:
        return Key(integer(name, seed, 64))
    module = type(rng).__module__.partition(".")[0]
    if module in ("numpy", "cupy") and hasattr(rng, "integers"):
        return Key(int(rng.integers(0, 2**64 - 1, dtype="uint64", endpoint=True)) if draw else 0)
    if module == "numpy" and hasattr(rng, "generate_state"):
        low, high = rng.generate_state(2)
        return Key(int(low) | int(high) << 32)
    kind = name_of_rng(rng)
    if module == "torch":
        kind += ": the functions of agauss.integrations.torch take a torch.Generator"
    if module in ("jax", "jaxlib"):
        kind += ": agauss.integrations.jax.key_of makes a Key of a key of jax.random"
    nothing = "None, " if name == "rng" else ""
    raise TypeError(
        f"{name} must be {nothing}an int, a Key, {also}a numpy.random.SeedSequence or a NumPy or CuPy Generator; "
        f"got {kind}"
    )
