"""Words of 32 bits: what `philox` is computed with beside the kernels, in Python's integers and in arrays."""

import operator
from typing import Any

from agauss.maths.noise import MASK32


class IntegerMaths:
    """The vocabulary that `philox` needs, for Python's own integers."""

    def mulhilo(self, a: int, b: int) -> tuple[int, int]:
        return a * b >> 32, a * b & MASK32

    def word(self, c: int) -> int:
        return c

    def low(self, c: int) -> int:
        return c & MASK32

    def halves(self, name: str, n: Any) -> tuple[int, int]:
        """The lower and upper words of an integer."""
        n = integer(name, n, 64)
        return n & MASK32, n >> 32


class ArrayMaths:
    """The same for whole arrays of a namespace of the array API standard.

    The words are held in int64, or in uint32 where a library has no 64 bits: no step leaves 32 bits.
    """

    def __init__(self, xp: Any, dtype: Any, **where: Any) -> None:
        self.xp, self.dtype, self.where_to = xp, dtype, where

    def word(self, c: Any) -> Any:
        if hasattr(c, "dtype"):
            return self.xp.astype(c, self.dtype)
        return self.xp.asarray(c, dtype=self.dtype, **self.where_to)

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


def index_of(n: Any) -> int | None:
    """n as an int, where it is an integer."""
    try:
        return None if isinstance(n, bool) else operator.index(n)
    except TypeError:
        return None


def integer(name: str, n: Any, bits: int) -> int:
    found = index_of(n)
    if found is None:
        traced = getattr(n, "shape", None) == () and "int" in str(getattr(n, "dtype", ""))  # one whose value is unknown
        cure = ": inside jit, Key(0).fold_in(n) takes it" if traced else ""
        raise TypeError(f"{name} must be an integer; got {type(n).__name__}{cure}")
    if not 0 <= found < 2**bits:
        raise ValueError(f"{name} must be at least 0 and under 2**{bits}; got {found}")
    return found
