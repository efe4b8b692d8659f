"""The noise contract: (seed, stream, draw, element) -> standard normal; knows no distribution and no array library.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC'11) is a keyed bijection of 128-bit counters. The counter is the block
number, the draw and the stream; the key is the seed. Each block's four words become four float32 normals or two float64
ones by Box-Muller, so a normal depends on its own place alone. docs/numerics.md spells the mapping out. `m` is the
vocabulary: mulhilo, join, word, low for words; like, fma, sqrt, number, polynomial, split, fraction, eighths, turned.
"""

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


def sincos_turn(m, word, x):
    """(sin, cos) of word / 2^bits turns, in x's dtype."""
    v = m.eighths(word, x)  # of a turn, beyond the nearest quarter
    z = v * v
    s = m.fma(v, m.number("TURN8_0", x), v * m.fma(z, m.polynomial("SIN", z), m.number("TURN8_1", x)))
    c = m.fma(z, m.polynomial("COS", z), m.like(1.0, x))
    return m.turned(word, s, c)


def radius(m, word, x):
    return m.sqrt(m.like(-2.0, x) * log(m, m.fraction(word, x)))


def around(m, length, word, x):
    """The coordinates of the point at that distance from 0, in the word's direction."""
    sine, cosine = sincos_turn(m, word, x)
    return length * cosine, length * sine


def normal_pair(m, a, b, x):
    """Two independent normals from two words, in x's dtype (Box and Muller 1958)."""
    return around(m, radius(m, a, x), b, x)


def normals32(m, words, x):
    """Four float32 normals from a block's words."""
    n0, n1 = normal_pair(m, words[0], words[1], x)
    n2, n3 = normal_pair(m, words[2], words[3], x)
    return n0, n1, n2, n3


def normals64(m, words, x):
    """Two float64 normals from a block's words."""
    return normal_pair(m, m.join(words[0], words[1]), m.join(words[2], words[3]), x)
