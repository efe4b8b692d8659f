"""Any array library: formulas applied to whole arrays, then a sum; knows the array API standard alone."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import array_api_compat
import numpy as np

from agauss.backends import steps
from agauss.backends.protocol import Array, Backend, Bound, DType, Noise, Pass, Shape, Sinks
from agauss.backends.strides import row_major
from agauss.maths import coefficients, formulas, noise
from agauss.maths.noise import MASK32
from agauss.words import ArrayMaths, has_64_bits


class Reference(Backend):
    """The backend of the arrays of a namespace of the standard."""

    def __init__(self, xp: Any, name: str = "") -> None:
        self.xp, self.name = xp, name

    @np.errstate(all="ignore")  # for libraries that are NumPy underneath: inf and NaN are results, not accidents
    def run(
        self, work: Pass, arrays: Sequence[Array], noise: Noise | None = None, outs: Sinks = None
    ) -> tuple[Array, ...]:
        """The term's values at every element, and the sum over the axes, if there are any."""
        xp = self.xp
        values = self._values(work, arrays, noise)
        kept = tuple(
            None if dtype is None else self._own(value, arrays, work.shape, dtype)
            for value, dtype in zip(values, work.dtypes, strict=work.axes is None)
        )
        if work.axes is None:
            return kept
        value = _broadcast(xp, values[work.summed], work.shape)  # type: ignore[index]
        widest = xp.float64 if has_64_bits(xp) else value.dtype
        total = xp.sum(value, axis=work.axes, dtype=widest)
        return (*kept, xp.astype(total, work.total))

    def empty(self, shape: Shape, dtype: DType, like: Array) -> Array:
        return self.xp.empty(shape, dtype=dtype, **_like(self.xp, like))

    def _values(self, work: Pass, arrays: Sequence[Array], noise: Noise | None) -> Sequence[Array]:
        """The term's values, computed in float32 or float64."""
        xp = self.xp
        raw = [a if a.dtype in (xp.float32, xp.float64) else xp.astype(a, xp.float32) for a in arrays]
        real = "float64" if raw[0].dtype == xp.float64 else "float32"
        steps.step("array-API form", work.term.__name__, real, self.name)
        steps.copy("at every operation of the formula: its result, as large as the arguments")
        if noise is not None:
            raw.append(normals(xp, noise, work.shape, raw[0], self.of_blocks))
        return self.evaluate(work.term, raw, work.bounds, work.cotangents)

    def of_blocks(self, m: "Words", n: Noise, low: Array, high: Array, bits: int, like: Array) -> Array:
        """The normals of blocks of the noise, given the halves of their numbers as vectors, in order."""
        xp = m.xp
        words = words_of(m, n, low, high)
        values = (noise.normals64 if bits == 64 else noise.normals32)(m, words, like)
        return xp.reshape(xp.stack([xp.astype(v, like.dtype) for v in values], axis=-1), (-1,))

    def evaluate(
        self, term: Callable[..., Any], raw: Sequence[Array], bounds: Sequence[Bound], cotangents: int
    ) -> tuple[Array, ...]:
        """The term's values at the inputs `raw`, between the bounds on the inputs and the bounds' derivatives."""
        m = Maths(self.xp)
        inputs = list(raw)
        for position, kind, low, high in bounds:
            x = raw[position]
            inputs[position] = formulas.BOUNDS[kind][0](m, x, m.like(low, x), m.like(high, x))
        values = term(m, *inputs)
        values = list(values) if isinstance(values, tuple) else [values]
        for position, kind, low, high in bounds if cotangents else ():
            x, place = raw[position], position - cotangents
            values[place] = formulas.BOUNDS[kind][1](m, values[place], x, m.like(low, x), m.like(high, x))
        return tuple(values)

    def _own(self, value: Array, arrays: Sequence[Array], shape: Shape, dtype: DType) -> Array:
        """A value as an array of the result's shape and dtype that shares no memory with the arguments."""
        whole = _broadcast(self.xp, value, shape)
        result = whole if whole.dtype == dtype else self.xp.astype(whole, dtype)
        if result is whole and (whole is not value or any(value is a for a in arrays)):
            return result * 1.0  # a copy that keeps NaN and -0, and that PyTorch can differentiate
        return result


def _broadcast(xp: Any, value: Array, shape: Shape) -> Array:
    return value if tuple(value.shape) == shape else xp.broadcast_to(value, shape)


def _like(xp: Any, a: Array) -> dict[str, Any]:
    """Where to make arrays that are used with `a`."""
    device = None if isinstance(a, np.ndarray) or not hasattr(a, "device") else array_api_compat.device(a)
    return {} if device is None or not hasattr(xp, "__array_namespace_info__") else {"device": device}


class Maths:
    """The vocabulary of formulas.py for whole arrays."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.exp, self.expm1, self.log1p, self.where = xp.exp, xp.expm1, xp.log1p, xp.where
        self.ln, self.log1p_unit = xp.log, xp.log1p

    def like(self, c: float, x: Array) -> Array:
        return self.xp.asarray(c, dtype=x.dtype, **_like(self.xp, x))

    def infinite(self, x: Array) -> Array:
        return x == self.like(float("inf"), x)

    def half_expm1(self, x: Array) -> Array:
        """(exp(x) - 1) / 2: for large x by the square of exp(x / 2), which does not overflow before the result."""
        large, half = self.like(80.0, x), self.like(0.5, x)
        is_large = x > large
        root = self.exp(half * self.where(is_large, x, large))
        return self.where(is_large, (half * root) * root, half * self.expm1(self.where(is_large, large, x)))

    def half_expm1x(self, x: Array) -> Array:
        """(exp(x) - 1 - x) / 2: by its polynomial up to |x| = 1, where expm1(x) - x cancels."""
        zero, one, half = self.like(0.0, x), self.like(1.0, x), self.like(0.5, x)
        is_near = self.xp.abs(x) <= one
        t = self.where(is_near, x, zero)
        far = self.where(is_near, one, x)
        less = half * self.where(x > self.like(80.0, x), zero, far)  # of no account there, and both may be infinite
        return self.where(is_near, half * (t * t * self._polynomial("EXPM1X", t)), self.half_expm1(far) - less)

    def mills(self, x: Array) -> Array:
        """Mills' ratio (1 - Phi(x)) / phi(x), for x >= 0."""
        t = x + 4
        v = 1 / t
        rest = self.where(t < 16, v * v * (x - (t - 4)), self.like(0.0, x))
        q, v = 1 - 8 * v + 8 * rest, v - rest
        return v + v * (8 * v) * self._polynomial("MILLS", q)

    def _polynomial(self, name: str, x: Array) -> Array:
        table = getattr(coefficients, name + ("_F64" if x.dtype == self.xp.float64 else "_F32"))
        p = table[-1] + 0 * x
        for c in table[-2::-1]:
            p = p * x + c
        return p


class Words(ArrayMaths):
    """The vocabulary of noise.py for whole arrays of 32-bit words.

    Floats go through the very steps that the loops take, each fused multiply-add by twice the digits: in float64 for
    float32, and in pairs of numbers otherwise. So the normals are the loops' own, but for a rounding in 2^29 steps.
    """

    def __init__(self, xp: Any, dtype: DType, bits: int, **where: Any) -> None:
        super().__init__(xp, dtype, **where)
        self.where = xp.where
        self.float = xp.float64 if bits == 64 else xp.float32
        self.suffix = "_F64" if bits == 64 else "_F32"
        self.wider = dtype == xp.int64 and bits == 32

    def join(self, low_word: Array, high_word: Array) -> tuple[Array, Array]:
        return low_word, high_word

    def like(self, c: float, x: Array) -> Array:
        return self.xp.asarray(c, dtype=self.float, **self.where_to)

    def number(self, name: str, x: Array) -> Array:
        return self.like(getattr(coefficients, name + self.suffix), x)

    def polynomial(self, name: str, x: Array) -> Array:
        table = getattr(coefficients, name + self.suffix)
        result = self.like(table[-1], x)
        for c in table[-2::-1]:
            result = self.fma(result, x, self.like(c, x))
        return result

    def fma(self, a: Array, b: Array, c: Array) -> Array:
        """a * b + c, rounded once."""
        xp = self.xp
        if self.wider:
            a, b, c = (xp.astype(v, xp.float64) for v in (a, b, c))
            return xp.astype(a * b + c, self.float)
        product = a * b
        (a0, a1), (b0, b1) = self._halves(a), self._halves(b)
        rest = ((a0 * b0 - product) + a0 * b1 + a1 * b0) + a1 * b1
        total = product + c
        shadow = total - product
        return total + (((product - (total - shadow)) + (c - shadow)) + rest)

    def _halves(self, a: Array) -> tuple[Array, Array]:
        """a in two numbers of half the digits (Dekker 1971)."""
        scaled = a * (2.0**27 + 1 if self.suffix == "_F64" else 2.0**12 + 1)
        high = scaled - (scaled - a)
        return high, a - high

    def sqrt(self, x: Array) -> Array:
        """The nearest number to the root: PyTorch's own is off by one in the last place here and there."""
        xp = self.xp
        if self.wider:
            return xp.astype(xp.sqrt(xp.astype(x, xp.float64)), self.float)
        root = xp.sqrt(x)
        double = xp.where(root > 0, 2 * root, self.like(1.0, x))
        return root + self.fma(-root, root, x) / double

    def split(self, x: Array) -> tuple[Array, Array]:
        """(k, f) with x = 2^k f and f in [sqrt(1/2), sqrt(2)), for x up to 1."""
        xp = self.xp
        n = xp.astype(-xp.round(xp.log2(x)), self.dtype)
        f = x
        for bit in range(7):
            f = xp.where(((n >> bit) & 1) == 1, f * 2.0 ** (2**bit), f)
        k, root_half = -xp.astype(n, self.float), self.number("ROOT_HALF", x)
        under, over = f < root_half, f >= 2 * root_half
        k = xp.where(under, k - 1, xp.where(over, k + 1, k))
        return k, xp.where(under, f * 2, xp.where(over, f * 0.5, f))

    def fraction(self, word: Array, x: Array) -> Array:
        if isinstance(word, tuple):
            low_word, high_word = (self.xp.astype(w, self.float) for w in word)
            return (high_word * 2.0**32 + low_word) * 2.0**-64 + 2.0**-65
        return self.xp.astype(word, self.float) * 2.0**-32 + 2.0**-33

    def eighths(self, word: Array, x: Array) -> Array:
        xp = self.xp
        low_word, top = word if isinstance(word, tuple) else (None, word)
        past = (top + 2**29) & (2**30 - 1)
        signed = xp.astype(past, xp.int32 if self.dtype == xp.uint32 else xp.int64) - 2**29
        if low_word is None:
            return xp.astype(signed, self.float) * 2.0**-29
        return xp.astype(signed * 2**32 + low_word, self.float) * 2.0**-61

    def turned(self, word: Array, sine: Array, cosine: Array) -> tuple[Array, Array]:
        where = self.xp.where
        quarter = (((word[1] if isinstance(word, tuple) else word) + 2**29) >> 30) & 3
        odd = (quarter & 1) == 1
        sine, cosine = where(odd, cosine, sine), where(odd, sine, cosine)
        return where(quarter >= 2, -sine, sine), where((quarter == 1) | (quarter == 2), -cosine, cosine)


def normals(xp: Any, n: Noise, shape: Shape, like: Array, of_blocks: Callable[..., Any]) -> Array:
    """The noise of an array of a shape, in like's dtype and on its device; `of_blocks` is that of a Reference."""
    dtype = xp.int64 if has_64_bits(xp) else xp.uint32
    where = _like(xp, like)
    bits = 64 if like.dtype == xp.float64 else 32
    m = Words(xp, dtype, bits, **where)
    per_block = noise.NORMALS_PER_BLOCK[bits]
    size = prod(shape)
    if size == 0:
        return xp.zeros(shape, dtype=like.dtype, **where)
    if n.strides is not None and n.strides[:1] == (0,):  # the same along the first axis, as JAX maps it
        one = normals(xp, n._replace(strides=n.strides[1:]), shape[1:], like, of_blocks)
        return xp.broadcast_to(one, shape)
    if n.strides is not None and n.index is None and n.start >= 0 and n.strides == row_major(shape):
        first, rest = divmod(n.start, prod(shape[1:]))
        if rest == 0:  # whole samples, whose ids are fewer than their elements
            ids = np.arange(shape[0] if shape else 1, dtype=np.uint64) + np.uint64(first)
            n = Noise(n.words, n.draw, ids)
    if n.strides is not None:
        return xp.reshape(normals(xp, Noise(n.words, n.draw, _elements(n, shape)), (size,), like, of_blocks), shape)
    if n.index is None:
        low, high = m.halves("block", xp.arange(-(-size // per_block), dtype=dtype, **where))
        return xp.reshape(of_blocks(m, n, low, high, bits, like)[:size], shape)

    events = prod(shape[1:])
    id_low, id_high = id_words(m, n.index)
    # The sample's first element is id * events modulo 2^64, its block and its place there the quotient and the rest.
    events_low, events_high = m.word(events & MASK32), m.word(events >> 32)
    high, low = m.mulhilo(id_low, events_low)
    high = m.low(high + m.mulhilo(id_low, events_high)[1] + m.mulhilo(id_high, events_low)[1])
    place, shift = low & (per_block - 1), per_block.bit_length() - 1
    low, high = (low >> shift) | m.low((high & (per_block - 1)) << (32 - shift)), high >> shift
    n_blocks = (events + 2 * per_block - 2) // per_block
    first = xp.reshape(low, (-1, 1))
    low = m.low(first + xp.reshape(xp.arange(n_blocks, dtype=dtype, **where), (1, -1)))
    high = xp.reshape(high, (-1, 1)) + xp.astype(low < first, dtype)
    # From each row of blocks, as many normals as a sample has, beginning at its place.
    begin = place + xp.arange(shape[0], dtype=dtype, **where) * (n_blocks * per_block)
    chosen = xp.reshape(begin, (-1, 1)) + xp.reshape(xp.arange(events, dtype=dtype, **where), (1, -1))
    # As vectors: XLA takes twenty times as long to compile Philox on two dimensions.
    made = of_blocks(m, n, xp.reshape(low, (-1,)), xp.reshape(high, (-1,)), bits, like)
    return xp.reshape(xp.take(made, xp.reshape(chosen, (-1,)), axis=0), shape)


def words(xp: Any, n: Noise, shape: Shape, like: Array) -> Array:
    """The random bits of an array of a shape, as integers on like's device: 64 for each element where like is float64,
    modulo 2^64 and so perhaps negative, and 32 otherwise."""

    def of_blocks(m: Words, n: Noise, low: Array, high: Array, bits: int, like: Array) -> Array:
        found = words_of(m, n, low, high)
        if bits == 64:
            found = found[0] | found[1] << 32, found[2] | found[3] << 32
        return xp.reshape(xp.stack(found, axis=-1), (-1,))

    found = normals(xp, n, shape, like, of_blocks)
    return found if 0 not in shape else xp.astype(found, xp.int64 if has_64_bits(xp) else xp.uint32)


def _elements(n: Noise, shape: Shape) -> np.ndarray:
    """The linear index of each element of a block, as a vector."""
    places = [np.arange(extent, dtype=np.int64) for extent in shape]
    if n.index is not None:
        places[0] = np.asarray(n.index).astype(np.int64)
    elements = np.full(shape, n.start)
    for axis, (place, step) in enumerate(zip(places, n.strides or (), strict=True)):
        elements += np.expand_dims(place * step, tuple(range(1, len(shape) - axis)))
    return elements.ravel()


def id_words(m: Words, index: Array) -> tuple[Array, Array]:
    """The lower and upper words of sample ids, NumPy's or the library's own."""
    if isinstance(index, np.ndarray):
        ids = index.astype(np.uint64)
        kind = "int64" if m.dtype == m.xp.int64 else "uint32"
        low, high = (half.astype(kind) for half in (ids & np.uint64(MASK32), ids >> np.uint64(32)))
        return m.xp.asarray(low, **m.where_to), m.xp.asarray(high, **m.where_to)
    if index.ndim == 2:
        return m.word(index[:, 0]), m.word(index[:, 1])
    return m.halves("index", index)


def words_of(m: Words, n: Noise, low: Array, high: Array) -> Array:
    """The four words of each block."""
    seed_low, seed_high, stream = n.words
    shape = tuple(getattr(seed_low, "shape", ()))
    if shape != ():
        raise ValueError(f"rng must be one key; got {shape} of them: map over them")
    return noise.philox(m, low, high, *(m.word(c) for c in (n.draw, stream, seed_low, seed_high)))
