"""The vocabulary of formulas.py and noise.py for Numba loops: without branches, for a number or a vector of them.

Plain IEEE arithmetic with explicit fused multiply-adds and no fastmath, so an element's bits do not depend on the
vector width or on where in an array it stands. Every function takes float32 or float64 and computes in it. Error bounds
are measured against mpmath in tests/test_mathlib.py and listed in docs/numerics.md.
"""

import sys
from types import FunctionType

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from agauss.backends.cpu.vectors import Vector, as_many, constant, llvm_call, splat
from agauss.maths import coefficients, formulas, noise, parts

_vocabulary = sys.modules[__name__]
inlined = register_jitable(forceinline=True)  # a call left in a loop's body keeps it from its vectors

for _module in (noise, parts, formulas):
    for _function in list(vars(_module).values()):
        if isinstance(_function, FunctionType) and _function.__module__ == _module.__name__:
            inlined(_function)


def _is64(numba_type):
    return numba_type.bitwidth == 64


def _constant(name, numba_type):
    return getattr(coefficients, name + ("_F64" if _is64(numba_type) else "_F32"))


def _bits_of(builder, x, numba_type):
    return builder.bitcast(x, as_many(x.type, ir.IntType(numba_type.bitwidth)))


def _mantissa_and_bias(numba_type):
    return (52, 1023) if _is64(numba_type) else (23, 127)


@intrinsic
def like(typing_context, c, x):
    """The number c in x's dtype, in each lane where x is a vector."""

    def codegen(context, builder, signature, args):
        number = context.cast(builder, args[0], c, x.dtype if isinstance(x, Vector) else x)
        return splat(builder, number, args[1].type)

    return x(c, x), codegen


@intrinsic
def fma(typing_context, a, b, c):
    def codegen(context, builder, signature, args):
        return llvm_call(builder, "fma", *args)

    return a(a, a, a), codegen


@intrinsic
def where(typing_context, condition, a, b):
    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(condition, a, a), codegen


@intrinsic
def sqrt(typing_context, x):
    def codegen(context, builder, signature, args):
        return llvm_call(builder, "sqrt", *args)

    return x(x), codegen


@intrinsic(prefer_literal=True)
def number(typing_context, name, x):
    """The constant `name`, of coefficients.py, in x's dtype."""
    c = _constant(name.literal_value, x)

    def codegen(context, builder, signature, args):
        return constant(args[1].type, c)

    return x(name, x), codegen


def _horner(builder, x, table):
    numbers = [constant(x.type, c) for c in table]
    result = numbers[-1]
    for c in numbers[-2::-1]:
        result = llvm_call(builder, "fma", result, x, c)
    return result


@intrinsic(prefer_literal=True)
def polynomial(typing_context, name, x):
    """The polynomial `name` of coefficients.py at x, by Horner's rule in fused multiply-adds."""
    table = _constant(name.literal_value, x)

    def codegen(context, builder, signature, args):
        return _horner(builder, args[1], table)

    return x(name, x), codegen


@intrinsic(prefer_literal=True)
def parity_polynomial(typing_context, name, x):
    """The polynomial `name` at x, as c0 + x (odd(x^2) + x even(x^2)): a chain half as long as Horner's rule has."""
    table = _constant(name.literal_value, x)

    def codegen(context, builder, signature, args):
        x = args[1]
        square = builder.fmul(x, x)
        odd, even = (_horner(builder, square, half) for half in (table[1::2], table[2::2]))
        return llvm_call(builder, "fma", llvm_call(builder, "fma", even, x, odd), x, constant(x.type, table[0]))

    return x(name, x), codegen


def _integer(builder, n, x_type, bias=0):
    """n + bias as an integer, for a float n that is whole: it is added to ROUND, which leaves it in the low bits."""
    magic = _constant("ROUND", x_type) + bias
    return _bits_of(builder, builder.fadd(n, constant(n.type, magic)), x_type)


def _power_of_two(builder, n, x_type, less=0):
    """2^(n - less)."""
    mantissa, bias = _mantissa_and_bias(x_type)
    exponent = _integer(builder, n, x_type, bias - less)
    return builder.bitcast(builder.shl(exponent, constant(exponent.type, mantissa)), n.type)


@intrinsic
def trunc(typing_context, x):
    """x cut to a whole number, towards zero."""

    def codegen(context, builder, signature, args):
        return llvm_call(builder, "trunc", *args)

    return x(x), codegen


@intrinsic
def scale(typing_context, p, n):
    """p * 2^n in two factors, so that a subnormal result is rounded once."""

    def codegen(context, builder, signature, args):
        scaled, n = args
        whole = _integer(builder, n, p)
        mantissa, bias = (constant(whole.type, c) for c in _mantissa_and_bias(p))
        whole = builder.sub(whole, _bits_of(builder, constant(n.type, _constant("ROUND", p)), p))
        first = builder.ashr(whole, constant(whole.type, 1))
        for exponent in (first, builder.sub(whole, first)):
            power = builder.shl(builder.add(exponent, bias), mantissa)
            scaled = builder.fmul(scaled, builder.bitcast(power, scaled.type))
        return scaled

    return p(p, p), codegen


@intrinsic
def power(typing_context, n):
    """2^n."""

    def codegen(context, builder, signature, args):
        return _power_of_two(builder, args[0], n)

    return n(n), codegen


@intrinsic
def half_power(typing_context, n):
    """2^(n - 1)."""

    def codegen(context, builder, signature, args):
        return _power_of_two(builder, args[0], n, less=1)

    return n(n), codegen


@intrinsic
def split(typing_context, x):
    """(k, f) with x = 2^k f and f in [sqrt(1/2), sqrt(2)), for a normal positive x."""
    mantissa, _ = _mantissa_and_bias(x)

    def codegen(context, builder, signature, args):
        of = args[0].type
        root_half = _bits_of(builder, constant(of, _constant("ROOT_HALF", x)), x)
        i = builder.sub(_bits_of(builder, args[0], x), root_half)
        k = builder.ashr(i, constant(i.type, mantissa))
        k = builder.sitofp(builder.trunc(k, as_many(of, ir.IntType(32))) if _is64(x) else k, of)
        f = builder.add(builder.and_(i, constant(i.type, 2**mantissa - 1)), root_half)
        return context.make_tuple(builder, signature.return_type, [k, builder.bitcast(f, of)])

    return types.UniTuple(x, 2)(x), codegen


def _in_width(builder, word, x_type, llvm_type):
    """A word in as many bits as x has, of which it may be held in more."""
    bits = as_many(llvm_type, ir.IntType(x_type.bitwidth))
    return word if word.type == bits else builder.trunc(word, bits)


@intrinsic
def fraction(typing_context, word, x):
    """(word + 1/2) / 2^width, in (0, 1], of an unsigned word of x's width that is first rounded to x's dtype."""

    def codegen(context, builder, signature, args):
        of, step = args[1].type, 2.0**-x.bitwidth
        rounded = builder.uitofp(_in_width(builder, args[0], x, of), of)
        return llvm_call(builder, "fma", rounded, constant(of, step), constant(of, step / 2))

    return x(word, x), codegen


@intrinsic
def eighths(typing_context, word, x):
    """How far the turn word / 2^width is from the nearest quarter, in eighths of a turn: from -1 to below 1."""
    width = x.bitwidth

    def codegen(context, builder, signature, args):
        w = _in_width(builder, args[0], x, args[1].type)
        signed = builder.shl(w, constant(w.type, 2))  # as a signed number it is four times what there is over
        v = builder.sitofp(signed, args[1].type)
        return builder.fmul(v, constant(v.type, 2.0 ** (1 - width)))

    return x(word, x), codegen


@intrinsic
def turned(typing_context, word, sine, cosine):
    """(sine, cosine) of the turn word / 2^width, given those of what it is beyond the nearest quarter."""
    width = sine.bitwidth

    def codegen(context, builder, signature, args):
        of = args[1].type
        w = _in_width(builder, args[0], sine, of)
        q = builder.add(w, constant(w.type, 2 ** (width - 3)))  # the upper two bits are the nearest quarter's number
        odd = builder.icmp_signed("<", builder.shl(q, constant(q.type, 1)), constant(q.type, 0))
        # In quarters 2 and 3 the sine is negative, in 1 and 2 the cosine: the upper bit of q, and of q and one more.
        places = (q, args[2], args[1]), (builder.add(q, constant(q.type, 2 ** (width - 2))), args[1], args[2])
        found = []
        for place, swapped, own in places:
            sign = builder.and_(place, constant(q.type, 2 ** (width - 1)))
            value = builder.bitcast(builder.select(odd, swapped, own), q.type)
            found.append(builder.bitcast(builder.xor(value, sign), of))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(sine, 2)(word, sine, cosine), codegen


@inlined
def nearest(x):
    """The n of x = n ln 2 + r, rounded, so that r is as small as can be."""
    return fma(x, number("LOG2E", x), number("ROUND", x)) - number("ROUND", x)


@inlined
def whole(x):
    """The n of x = n ln 2 + r, cut towards zero: so r has x's sign, and it is x where |x| < ln 2."""
    return trunc(x * number("LOG2E", x))


@inlined
def rest(x, n):
    """The r of x = n ln 2 + r."""
    return fma(n, -number("LN2_1", x), fma(n, -number("LN2_0", x), x))


@inlined
def exp_of(r):
    """exp(r), for |r| of half ln 2 at most."""
    return like(1.0, r) + fma(r * r, parity_polynomial("EXP", r), r)


@inlined
def half_expm1_of(r, s):
    """(exp(x) - 1) / 2, for x = r + n ln 2 and s = 2^(n - 1)."""
    return fma(s, fma(r * r, parity_polynomial("EXPM1", r), r), s - like(0.5, r))


@inlined
def half_expm1x_of(x, r, s):
    """(exp(x) - 1 - x) / 2, for x = r + n ln 2 and s = 2^(n - 1): what is added first nearly cancels, but exactly."""
    half = like(0.5, x)
    return fma(s * (r * r), parity_polynomial("EXPM1", r), fma(s, r, fma(-half, x, s - half)))


@inlined
def exp(x):
    low, high = number("EXP_LOW", x), number("EXP_HIGH", x)
    x = where(x < low, low, x)
    x = where(x > high, high, x)
    n = nearest(x)
    return scale(exp_of(rest(x, n)), n)


@inlined
def _exp_parts(x):
    """(x, r, 2^(n - 1)) with x = n ln 2 + r, x cut at overflow, and n at the least and the largest exponent."""
    low, high, overflow = number("SCALE_LOW", x), number("EXP_HIGH", x), number("HALF_EXP_HIGH", x)
    x = where(x > overflow, overflow, x)
    above = where(x < low, low, x)
    n = whole(where(above > high, high, above))
    return x, rest(above, n), half_power(n)


@inlined
def half_expm1(x):
    """(exp(x) - 1) / 2, which is finite where exp(x) overflows, up to its half's overflow."""
    _, r, s = _exp_parts(x)
    return half_expm1_of(r, s)


@inlined
def expm1(x):
    y = half_expm1(x)
    return y + y


@inlined
def half_expm1x(x):
    """(exp(x) - 1 - x) / 2 without cancellation."""
    x, r, s = _exp_parts(x)
    return half_expm1x_of(x, r, s)


@inlined
def infinite(x):
    """Whether x is +infinity."""
    return x == like(float("inf"), x)


@inlined
def log1p(x):
    """For x >= 0 that is finite."""
    one = like(1.0, x)
    y = one + x
    return noise.log(_vocabulary, y) + (x - (y - one)) / y


@inlined
def log1p_unit(x):
    """For 0 <= x <= 1."""
    return fma(x * x, parity_polynomial("LOG1P", x - like(0.5, x)), x)


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
