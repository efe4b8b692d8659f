"""The loop over a tile, as a factory that takes a LoopSpec of kernels.py; knows no Gaussian.

A loop is a C function (descriptor, frame, n), which walk.py calls. Its machine code bears the name that it is given.
"""

from numba import cfunc, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import overload, register_jitable

from agauss.backends.cpu import calm, mathlib
from agauss.backends.cpu.descriptor import COLUMNS, EACH, FIRST, HIGH, LOW, SUMMANDS, SUMMED
from agauss.backends.cpu.mathlib import like
from agauss.backends.cpu.memory import OF_TILE, array, float_of_bits, pick, pointer, put, words_of
from agauss.backends.cpu.vectors import put_vector, width_of
from agauss.backends.cpu.walk import add_to
from agauss.maths import formulas
from agauss.maths.sums import LANES


def as_tuple(values):
    """A term's values as a tuple, where it may have only one."""


@overload(as_tuple, jit_options={"forceinline": True})
def _as_tuple(values):
    if isinstance(values, types.BaseTuple):
        return lambda values: values
    return lambda values: (values,)


@register_jitable
def limits(d, k, x):
    """The bounds on input k, in x's dtype."""
    own = array(d, k)
    return float_of_bits(d[own + LOW], x), float_of_bits(d[own + HIGH], x)


@mathlib.inlined
def vectors(limit, x):
    return like(limit[0], x), like(limit[1], x)


def make(name, spec):
    """The loop of a spec: outs[k][i] = value k of term(ins[0][i], ins[1][i], ...).

    Value number `summed` is added to the lanes, or kept as a summand where rows are shorter than they. Inputs number
    `bounded` pass through their bounds first. Values number `chained`, their gradients, pass through the bounds'
    derivatives after. -1 is none.
    """
    term, m = spec.term, calm if spec.calm else mathlib
    ins, outs, zero = tuple(range(spec.inputs)), tuple(range(spec.outputs)), spec.dtype(0)
    ins_stored, outs_stored = (ins, outs) if spec.halves else ((), ())
    sinks_at, summed = FIRST + EACH * spec.inputs, spec.summed
    # Where there is none, None: Numba leaves out the branch.
    (first, second), (d_first, d_second) = [[None if k < 0 else k for k in two] for two in (spec.bounded, spec.chained)]
    (bound1, bound1_vjp), (bound2, bound2_vjp) = [formulas.BOUNDS[kind] for kind in (*spec.kinds, "hard", "hard")[:2]]

    def loop(d, frame, n):
        sources, sources_stored = words_of(frame, FIRST, ins), words_of(frame, FIRST + 1, ins_stored)
        sinks, sinks_stored = words_of(frame, sinks_at, outs), words_of(frame, sinks_at + 1, outs_stored)
        summands, lanes = pointer(frame[SUMMANDS], zero), pointer(frame[SUMMED], zero)
        short, width = d[COLUMNS] < LANES, width_of(zero)
        last_vector = max(0, n - width)
        if first is not None:
            limit1 = limits(d, first, zero)
        if second is not None:
            limit2 = limits(d, second, zero)
        for i in range(0, n, width):
            at = min(i, last_vector)  # some elements twice, where vectors do not fit evenly
            raw = pick(sources, sources_stored, at, zero)
            inputs = raw
            if first is not None:
                bounded = bound1(mathlib, raw[first], *vectors(limit1, raw[first]))
                inputs = tuple_setitem(inputs, first, bounded)
            if second is not None:
                bounded = bound2(mathlib, raw[second], *vectors(limit2, raw[second]))
                inputs = tuple_setitem(inputs, second, bounded)
            values = as_tuple(term(m, *inputs))
            if d_first is not None:
                gradient = bound1_vjp(mathlib, values[d_first], raw[first], *vectors(limit1, raw[first]))
                values = tuple_setitem(values, d_first, gradient)
            if d_second is not None:
                gradient = bound2_vjp(mathlib, values[d_second], raw[second], *vectors(limit2, raw[second]))
                values = tuple_setitem(values, d_second, gradient)
            put(sinks, sinks_stored, at, values)
            if summed is not None:
                if i + width <= n and not short:
                    add_to(lanes, i % LANES, values[summed], zero)
                else:
                    put_vector(summands, at, values[summed])

    loop.__qualname__ = name
    return cfunc(OF_TILE, error_model="numpy")(loop)
