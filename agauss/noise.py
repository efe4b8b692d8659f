"""The noise contract: (seed, stream, draw, element) -> standard normal; knows no distribution and no array library.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC'11) is a keyed bijection of 128-bit counters. The counter is the block
number, the draw and the stream; the key is the seed. Each block's four words become four float32 normals or two float64
ones by Box-Muller, so a normal depends on its own place alone. docs/numerics.md spells the mapping out. `m` is the
vocabulary: mulhilo, join, word, low for words; like, where, fma, sqrt, number, polynomial, split, fraction, quadrant.
"""

import operator
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

MASK32 = 0xFFFFFFFF
MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85
FOLD_DRAW = MASK32  # the draw number set aside for fold_in: samples never reach it
NORMALS_PER_BLOCK = {32: 4, 64: 2}


def philox(m, c0, c1, c2, c3, k0, k1):
    """Four 32-bit words of Philox4x32-10 at a counter, under a key."""
    for _ in range(10):
        high0, low0 = m.mulhilo(c0, m.word(MULTIPLIER_0))
        high1, low1 = m.mulhilo(c2, m.word(MULTIPLIER_1))
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = m.low(k0 + m.word(WEYL_0))
        k1 = m.low(k1 + m.word(WEYL_1))
    return c0, c1, c2, c3


def log(m, x):
    """For normal positive x."""
    k, f = m.split(x)  # x = 2^k f
    s = f - m.like(1.0, x)
    z = s * s
    tail = m.fma(s * z, m.polynomial("LOG", s), -(m.like(0.5, x) * z))
    tail = m.fma(k, m.number("LN2_1", x), tail)
    whole = k * m.number("LN2_0", x)  # exact; the rest of whole + s after rounding is added back
    top = whole + s
    return top + ((s - (top - whole)) + tail)


def uniform(m, word, x):
    """A word as a number in (0, 1], in x's dtype."""
    return m.fraction(word, x) + m.number("HALF_WORD", x)


def sincos_turn(m, word, x):
    """(sin, cos) of word / 2^bits turns, in x's dtype."""
    q, v = m.quadrant(word, x)  # q quarters and v eighths of a turn, q exactly
    z = v * v
    s = m.fma(v, m.number("TURN8_0", x), v * m.fma(z, m.polynomial("SIN", z), m.number("TURN8_1", x)))
    c = m.fma(z, m.polynomial("COS", z), m.like(1.0, x))
    one, two = m.word(1), m.word(2)
    odd = (q & one) == one
    sine, cosine = m.where(odd, c, s), m.where(odd, s, c)
    return m.where(q >= two, -sine, sine), m.where((q == one) | (q == two), -cosine, cosine)


def normal_pair(m, a, b, x):
    """Two independent normals from two words, in x's dtype (Box and Muller 1958)."""
    radius = m.sqrt(m.like(-2.0, x) * log(m, uniform(m, a, x)))
    sine, cosine = sincos_turn(m, b, x)
    return radius * cosine, radius * sine


def normals32(m, words, x):
    """Four float32 normals from a block's words."""
    n0, n1 = normal_pair(m, words[0], words[1], x)
    n2, n3 = normal_pair(m, words[2], words[3], x)
    return n0, n1, n2, n3


def normals64(m, words, x):
    """Two float64 normals from a block's words."""
    return normal_pair(m, m.join(words[0], words[1]), m.join(words[2], words[3]), x)


class IntegerMaths:
    """The vocabulary that `philox` needs, for Python's own integers."""

    def mulhilo(self, a, b):
        return a * b >> 32, a * b & MASK32

    def word(self, c):
        return c

    def low(self, c):
        return c & MASK32

    def halves(self, name, n):
        """The lower and upper words of an integer."""
        n = _integer(name, n, 64)
        return n & MASK32, n >> 32


class ArrayMaths:
    """The same for whole arrays of a namespace of the array API standard.

    The words are held in int64, or in uint32 where a library has no 64 bits: no step leaves 32 bits.
    """

    def __init__(self, xp: Any, dtype: Any, **where: Any) -> None:
        self.xp, self.dtype, self.where_to = xp, dtype, where

    def word(self, c: Any) -> Any:
        if isinstance(c, int):
            return self.xp.asarray(c, dtype=self.dtype, **self.where_to)
        return self.xp.astype(c, self.dtype)

    def low(self, c: Any) -> Any:
        return c & MASK32 if self.dtype == self.xp.int64 else c

    def mulhilo(self, a: Any, b: Any) -> tuple[Any, Any]:
        """In uint32 by halves of 16 bits, whose products fit in 32."""
        if self.dtype == self.xp.int64:
            product = a * b  # modulo 2^64, and as a signed number
            return (product >> 32) & MASK32, product & MASK32
        a0, a1, b0, b1 = a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16
        p00, p01, p10, p11 = a0 * b0, a0 * b1, a1 * b0, a1 * b1
        middle = (p00 >> 16) + (p01 & 0xFFFF) + (p10 & 0xFFFF)
        return p11 + (p01 >> 16) + (p10 >> 16) + (middle >> 16), (p00 & 0xFFFF) | ((middle & 0xFFFF) << 16)

    def halves(self, name: str, n: Any) -> tuple[Any, Any]:
        """The lower and upper words of integers, modulo 2^64."""
        if isinstance(n, int):
            low, high = IntegerMaths().halves(name, n)
            return self.word(low), self.word(high)
        xp = self.xp
        if not xp.isdtype(n.dtype, "integral"):
            raise TypeError(f"{name} must have an integer dtype; got {n.dtype}")
        if self.dtype == xp.int64:
            n = self.word(n)
            return n & MASK32, (n >> 32) & MASK32
        if n.dtype in (xp.int64, xp.uint64):
            raise TypeError(f"{name} must have a dtype of 32 bits while 64 are not enabled; got {n.dtype}")
        return self.word(n), xp.where(n < 0, self.word(MASK32), self.word(0))


def has_64_bits(xp: Any) -> bool:
    """Whether a namespace has int64 and float64: JAX does not, unless it is told to."""
    return bool(xp.__array_namespace_info__().default_dtypes()["integral"] == xp.int64)


class Key:
    """A 64-bit seed and a 32-bit stream: all that decides the noise, but for the draw and the element's place.

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
        seed, stream = _integer("seed", seed, 64), _integer("stream", stream, 32)
        object.__setattr__(self, "_words", (seed & MASK32, seed >> 32, stream))

    @classmethod
    def of_words(cls, seed_low: Any, seed_high: Any, stream: Any) -> "Key":
        """The key of three words, unchecked: a library's arrays of one element too, which need not be known yet."""
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
        if None not in map(_index, self._words):
            return f"Key({self.seed}, stream={self.stream})"
        return f"Key.of_words{self._words}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Key, (self.seed, self.stream)

    def words(self) -> tuple[Any, Any, Any]:
        """The seed's lower and upper 32 bits, and the stream: what Philox takes of a key."""
        return self._words

    def fold_in(self, n: Any) -> "Key":
        """Another key, decided by this one and the integer n, 0 <= n < 2**64: one for each step, layer or worker.

        Where JAX traces, the key and n may be traced too; n is then taken modulo 2**64.
        """
        if getattr(n, "shape", ()) != ():
            raise ValueError(f"n must be one integer; got shape {tuple(n.shape)}")
        if _index(n) is not None or not hasattr(n, "__array_namespace__"):
            n = _integer("n", n, 64)
        unknown = [x for x in (n, *self._words) if _index(x) is None]
        if not unknown:
            return Key.of_words(*_folded(IntegerMaths(), n, *map(int, self._words)))
        xp = unknown[0].__array_namespace__()
        m = ArrayMaths(xp, xp.int64 if has_64_bits(xp) else xp.uint32)
        return Key.of_words(*(xp.astype(word, xp.uint32) for word in _folded(m, n, *self._words)))


def _folded(m, n, seed_low, seed_high, stream):
    low, high = m.halves("n", n)
    seed_low, seed_high, stream = m.word(seed_low), m.word(seed_high), m.word(stream)
    return philox(m, low, high, m.word(FOLD_DRAW), stream, seed_low, seed_high)[:3]


class Noise(NamedTuple):
    """What a backend needs to make the noise of an array: `index` holds the sample ids, or is None for 0, 1, 2, ...

    An array that is a block of a larger one says where: `start` is the linear index there of its first element, but for
    what `index` adds, and `strides` are the steps of that index along its axes.
    """

    key: Key
    draw: int = 0
    index: Any = None
    strides: tuple[int, ...] | None = None
    start: int = 0

    def at(self, place: Sequence[int]) -> "Noise":
        """The noise of a block that begins at a place in the array of which `strides` says the steps."""
        strides = self.strides or ()
        first = 0 if self.index is None else 1  # the index says where the block lies along its first axis
        start = self.start + sum([n * step for n, step in zip(place[first:], strides[first:], strict=True)])
        return self._replace(start=(start + 2**63) % 2**64 - 2**63)  # modulo 2^64, as the kernels count


def _index(n: Any) -> int | None:
    """n as an int, where it is an integer."""
    try:
        return None if isinstance(n, bool) else operator.index(n)
    except TypeError:
        return None


def _integer(name: str, n: Any, bits: int) -> int:
    found = _index(n)
    if found is None:
        raise TypeError(f"{name} must be an integer; got {type(n).__name__}")
    if not 0 <= found < 2**bits:
        raise ValueError(f"{name} must be at least 0 and under 2**{bits}; got {found}")
    return found


class Once:
    """What `rng` was, as a key that is made when it is first used and kept: a call that is refused draws nothing."""

    def __init__(self, rng: Any) -> None:
        self._rng = rng

    @cached_property
    def key(self) -> Key:
        return as_key(self._rng)


def same_key(rng: Any) -> Key:
    """The key of a sample that was drawn before; refuses what would stand for another key now."""
    if rng is None or hasattr(rng, "integers"):
        raise TypeError(
            f"rng must be the int or Key that the sample was drawn with; got {_kind(rng)}, which gives other noise "
            "each time (agauss.vjp takes it, and keeps the key)"
        )
    return as_key(rng)


def _kind(rng: Any) -> str:
    module, name = type(rng).__module__.partition(".")[0], type(rng).__name__
    if rng is None:
        return "None"
    return name if module == "builtins" else f"{module}'s {name}"


def as_key(rng: Any, name: str = "rng", draw: bool = True) -> Key:
    """The key that `rng` stands for. A Generator is advanced by one 64-bit draw; nothing else is changed. Without
    `draw` no Generator is, nor is a key to be used: `rng` is only checked."""
    if isinstance(rng, Key):
        return rng
    if isinstance(rng, Once):
        return rng.key
    if rng is None:
        return Key(int.from_bytes(os.urandom(8), "little"))
    seed = _index(rng)
    if seed is not None:
        return Key(_integer(name, seed, 64))
    module = type(rng).__module__.partition(".")[0]
    if module in ("numpy", "cupy") and hasattr(rng, "integers"):
        return Key(int(rng.integers(0, 2**64 - 1, dtype="uint64", endpoint=True)) if draw else 0)
    if module == "numpy" and hasattr(rng, "generate_state"):
        low, high = rng.generate_state(2)
        return Key(int(low) | int(high) << 32)
    kind = _kind(rng)
    if module in ("torch", "jax", "jaxlib"):
        kind += f" (agauss.integrations.{module.removesuffix('lib')} takes its library's own)"
    nothing = "None, " if name == "rng" else ""
    raise TypeError(
        f"{name} must be {nothing}an int, a Key, a numpy.random.SeedSequence or a NumPy or CuPy Generator; got {kind}"
    )
