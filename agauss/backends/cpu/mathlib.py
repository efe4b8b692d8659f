"""The vocabulary of formulas.py and noise.py for Numba loops: branch-free, so that LLVM vectorises it.

Plain IEEE arithmetic with explicit fused multiply-adds and no fastmath, so an element's bits do not depend on the
vector width or on where in an array it stands. Every function takes float32 or float64 and computes in it. Error bounds
are measured against mpmath in tests/test_mathlib.py and listed in docs/numerics.md.
"""

import sys

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from agauss.maths import coefficients, noise

_vocabulary = sys.modules[__name__]
inlined = register_jitable(forceinline=True)  # a call left in a loop's body keeps it from its vectors


def _is64(numba_type):
    return numba_type.bitwidth == 64


def _constant(name, numba_type):
    return getattr(coefficients, name + ("_F64" if _is64(numba_type) else "_F32"))


def _bits_type(numba_type):
    return ir.IntType(numba_type.bitwidth)


def _mantissa_and_bias(numba_type):
    return (52, 1023) if _is64(numba_type) else (23, 127)


@intrinsic
def like(typing_context, c, x):
    """The number c in x's dtype."""

    def codegen(context, builder, signature, args):
        return context.cast(builder, args[0], signature.args[0], signature.args[1])

    return x(c, x), codegen


@intrinsic
def fma(typing_context, a, b, c):
    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return a(a, a, a), codegen


@intrinsic
def where(typing_context, condition, a, b):
    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(types.boolean, a, a), codegen


@intrinsic
def sqrt(typing_context, x):
    def codegen(context, builder, signature, args):
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [args[0].type]), args)

    return x(x), codegen


@intrinsic(prefer_literal=True)
def number(typing_context, name, x):
    """The constant `name`, of coefficients.py, in x's dtype."""
    c = _constant(name.literal_value, x)

    def codegen(context, builder, signature, args):
        return context.get_constant(x, c)

    return x(name, x), codegen


@intrinsic(prefer_literal=True)
def polynomial(typing_context, name, x):
    """The polynomial `name` of coefficients.py at x, by Horner's rule in fused multiply-adds."""
    table = _constant(name.literal_value, x)

    def codegen(context, builder, signature, args):
        numbers = [context.get_constant(x, c) for c in table]
        result = numbers[-1]
        for c in numbers[-2::-1]:
            result = builder.fma(result, args[1], c)
        return result

    return x(name, x), codegen


def _power_of_two(builder, exponent, x_type, float_type):
    mantissa, bias = _mantissa_and_bias(x_type)
    biased = builder.add(exponent, ir.Constant(exponent.type, bias))
    return builder.bitcast(builder.shl(biased, ir.Constant(exponent.type, mantissa)), float_type)


def _integer_of(builder, t, x_type):
    """n of t = n + ROUND, as an integer: the difference of the bits."""
    bits = _bits_type(x_type)
    magic = ir.Constant(t.type, _constant("ROUND", x_type))
    return builder.sub(builder.bitcast(t, bits), builder.bitcast(magic, bits))


@intrinsic
def scale(typing_context, p, t):
    """p * 2^n for t = n + ROUND, in two factors, so that a subnormal result is rounded once."""

    def codegen(context, builder, signature, args):
        n = _integer_of(builder, args[1], p)
        first = builder.ashr(n, ir.Constant(n.type, 1))
        once = builder.fmul(args[0], _power_of_two(builder, first, p, args[0].type))
        return builder.fmul(once, _power_of_two(builder, builder.sub(n, first), p, args[0].type))

    return p(p, p), codegen


@intrinsic
def half_power(typing_context, t):
    """2^(n - 1) for t = n + ROUND."""

    def codegen(context, builder, signature, args):
        n = _integer_of(builder, args[0], t)
        return _power_of_two(builder, builder.sub(n, ir.Constant(n.type, 1)), t, args[0].type)

    return t(t), codegen


@intrinsic
def split(typing_context, x):
    """(k, f) with x = 2^k f and f in [sqrt(1/2), sqrt(2)), for a normal positive x."""
    mantissa, _ = _mantissa_and_bias(x)

    def codegen(context, builder, signature, args):
        bits = _bits_type(x)
        root_half = builder.bitcast(ir.Constant(args[0].type, _constant("ROOT_HALF", x)), bits)
        i = builder.sub(builder.bitcast(args[0], bits), root_half)
        k = builder.ashr(i, ir.Constant(bits, mantissa))
        k = builder.sitofp(builder.trunc(k, ir.IntType(32)) if _is64(x) else k, args[0].type)
        f = builder.add(builder.and_(i, ir.Constant(bits, 2**mantissa - 1)), root_half)
        return context.make_tuple(builder, signature.return_type, [k, builder.bitcast(f, args[0].type)])

    return types.UniTuple(x, 2)(x), codegen


@intrinsic
def fraction(typing_context, word, x):
    """An unsigned word of x's width, held in a uint64, rounded to x's dtype and divided by 2^width."""

    def codegen(context, builder, signature, args):
        w = args[0] if _is64(x) else builder.trunc(args[0], ir.IntType(32))
        return builder.fmul(builder.uitofp(w, args[1].type), ir.Constant(args[1].type, 2.0**-x.bitwidth))

    return x(types.uint64, x), codegen


@intrinsic
def quadrant(typing_context, word, x):
    """(q, v): the turn word / 2^bits is q quarters and v eighths, q in 0..3 and v in [-1, 1)."""
    width = x.bitwidth

    def codegen(context, builder, signature, args):
        bits = _bits_type(x)
        w = args[0] if _is64(x) else builder.trunc(args[0], bits)
        shift = ir.Constant(bits, width - 2)
        q = builder.lshr(builder.add(w, ir.Constant(bits, 2 ** (width - 3))), shift)
        v = builder.sitofp(builder.sub(w, builder.shl(q, shift)), args[1].type)
        v = builder.fmul(v, ir.Constant(args[1].type, 2.0 ** (3 - width)))
        q = q if _is64(x) else builder.zext(q, ir.IntType(64))
        return context.make_tuple(builder, signature.return_type, [q, v])

    return types.Tuple((types.uint64, x))(types.uint64, x), codegen


@inlined
def _reduce(x, t):
    """x - n ln 2 for t = n + ROUND."""
    n = t - number("ROUND", x)
    return fma(n, -number("LN2_1", x), fma(n, -number("LN2_0", x), x))


@inlined
def exp(x):
    low, high = number("EXP_LOW", x), number("EXP_HIGH", x)
    x = where(x < low, low, x)
    x = where(x > high, high, x)
    t = fma(x, number("LOG2E", x), number("ROUND", x))
    r = _reduce(x, t)
    return scale(like(1.0, x) + fma(r * r, polynomial("EXP", r), r), t)


@inlined
def _exp_parts(x):
    """(x, r, 2^(n - 1)), x cut at overflow, with r = x - n ln 2.

    n is 0 up to |x| = 1, where taking away 1 or 1 + x cancels, and at most the largest exponent.
    """
    low, high, overflow = number("SCALE_LOW", x), number("EXP_HIGH", x), number("HALF_EXP_HIGH", x)
    x = where(x > overflow, overflow, x)
    above = where(x < low, low, x)
    t = fma(where(above > high, high, above), number("LOG2E", x), number("ROUND", x))
    one = like(1.0, x)
    t = where((x <= one) & (x >= -one), number("ROUND", x), t)
    return x, _reduce(above, t), half_power(t)


@inlined
def expm1(x):
    x, r, s = _exp_parts(x)
    y = fma(s, fma(r * r, polynomial("EXPM1X", r), r), s - like(0.5, x))
    return y + y


@inlined
def half_expm1x(x):
    """(exp(x) - 1 - x) / 2 without cancellation: (s r + s - 1/2) is exact where it nearly cancels x / 2."""
    x, r, s = _exp_parts(x)
    half = like(0.5, x)
    return fma(s, r * r * polynomial("EXPM1X", r), fma(s, r, s - half) - half * x)


@inlined
def log1p(x):
    """For x >= 0 that is finite."""
    one = like(1.0, x)
    y = one + x
    return noise.log(_vocabulary, y) + (x - (y - one)) / y


@inlined
def ln(x):
    """For x >= 0, subnormal, infinite and NaN too; noise.log is for normal numbers."""
    zero, one, tiny = like(0.0, x), like(1.0, x), number("LEAST_NORMAL", x)
    small = x < tiny
    scaled = where(small, x / tiny, x)
    y = noise.log(_vocabulary, where(scaled > zero, scaled, one)) + where(small, number("LN_LEAST_NORMAL", x), zero)
    y = where(x < like(float("inf"), x), y, x)
    return where(x == zero, -like(float("inf"), x), y)


@inlined
def mills(x):
    """Mills' ratio (1 - Phi(x)) / phi(x), for x >= 0: the mass beyond x as a part of the density there."""
    zero, one, four, eight = like(0.0, x), like(1.0, x), like(4.0, x), like(8.0, x)
    t = x + four
    v = one / t
    # What the rounding of t and of v left over, which counts where x is small.
    rest = where(t < four * four, v * (fma(-v, t, one) - v * (x - (t - four))), zero)
    q = fma(-eight, v, one) - eight * rest
    v = v + rest
    return fma(v * (eight * v), polynomial("MILLS", q), v)


@inlined
def word(c):
    return types.uint64(c)


@inlined
def low(c):
    """The low 32 bits."""
    return c & types.uint64(0xFFFFFFFF)


@inlined
def mulhilo(a, b):
    """The high and the low 32 bits of the product of two 32-bit words."""
    product = a * b
    return product >> types.uint64(32), low(product)


@inlined
def join(low_word, high_word):
    return low_word | (high_word << types.uint64(32))
