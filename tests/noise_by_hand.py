"""An implementation of docs/noise.md that shares nothing with the library's, and keys to try it with."""

import numpy as np
from mpmath import mp, mpf

from agauss.random import Key

MASK32 = 2**32 - 1
# ulp, from the true normal of the rounded words: log and the root are right to 1 together, sine and cosine to 1.3, and
# the product rounds once. Found: 2.68 in 40 million of float32, 2.50 in 15 million of float64.
NORMAL_BOUND = 2.7
BIG = Key(2**64 - 1, 2**32 - 1)
MIXED = Key(0x0123456789ABCDEF, 0xFEDCBA98)


def philox_by_hand(counter, key):
    """Philox4x32-10 in Python's integers, from the paper's figure 3."""
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(right >> 32) ^ c[1] ^ k[0], right & MASK32, (left >> 32) ^ c[3] ^ k[1], left & MASK32]
        k = [(k[0] + 0x9E3779B9) & MASK32, (k[1] + 0xBB67AE85) & MASK32]
    return c


def block_by_hand(seed, stream, draw, block):
    return philox_by_hand((block & MASK32, block >> 32, draw, stream), (seed & MASK32, seed >> 32))


def rounded(x, digits):
    """x with so many binary digits."""
    with mp.workprec(digits):
        return +mpf(x)


def normal_by_hand(seed, stream, draw, element, dtype):
    """The normal of an element in 40 digits, from words that are rounded to the dtype first, as the contract has it."""
    bits, digits, per_block = (32, 24, 4) if dtype == np.float32 else (64, 53, 2)
    words = block_by_hand(seed, stream, draw, element // per_block)
    if bits == 64:
        words = [words[0] + (words[1] << 32), words[2] + (words[3] << 32)]
    place = element % per_block
    length, turn = words[place // 2 * 2], words[place // 2 * 2 + 1]
    with mp.workdps(40):
        u = rounded(rounded(length, digits) / mpf(2) ** bits + mpf(2) ** (-bits - 1), digits)
        quarters = (turn + 2 ** (bits - 3)) >> (bits - 2)
        rest = rounded(turn - (quarters << (bits - 2)), digits)
        angle = quarters * mp.pi / 2 + rest * mp.pi / mpf(2) ** (bits - 1)
        return mp.sqrt(-2 * mp.log(u)) * (mp.sin(angle) if place % 2 else mp.cos(angle))


def ulp_from(got, want):
    unit = float(np.spacing(np.abs(type(got)(float(want)))))
    return float(abs(mpf(float(got)) - want)) / unit
