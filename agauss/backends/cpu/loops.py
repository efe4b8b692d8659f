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
def limits(d, bounded, x):
    """The (low, high) of the first and of the second bounded input, where there are any."""
    low1, high1, low2, high2 = x, x, x, x
    if bounded[0] >= 0:
        low1 = float_of_bits(d[array(d, bounded[0]) + LOW], x)
        high1 = float_of_bits(d[array(d, bounded[0]) + HIGH], x)
    if bounded[1] >= 0:
        low2 = float_of_bits(d[array(d, bounded[1]) + LOW], x)
        high2 = float_of_bits(d[array(d, bounded[1]) + HIGH], x)
    return (low1, high1), (low2, high2)


@mathlib.inlined
def vectors(limit, x):
    return like(limit[0], x), like(limit[1], x)


def evaluator(spec):
    """A function (raw, limit) of a term's values at the inputs `raw`, vectors. Inputs number `bounded` pass through
    their bounds first, and values number `chained`, their gradients, through the bounds' derivatives after; -1 is
    none."""
    term, bounded, chained = spec.term, spec.bounded, spec.chained
    m = calm if spec.calm else mathlib
    (bound1, bound1_vjp), (bound2, bound2_vjp) = [formulas.BOUNDS[kind] for kind in (*spec.kinds, "hard", "hard")[:2]]

    @mathlib.inlined
    def evaluate(raw, limit):
        inputs = raw
        if bounded[0] >= 0:
            inputs = tuple_setitem(inputs, bounded[0], bound1(mathlib, raw[bounded[0]], *vectors(limit[0], raw[0])))
        if bounded[1] >= 0:
            inputs = tuple_setitem(inputs, bounded[1], bound2(mathlib, raw[bounded[1]], *vectors(limit[1], raw[0])))
        values = as_tuple(term(m, *inputs))
        if chained[0] >= 0:
            g = bound1_vjp(mathlib, values[chained[0]], raw[bounded[0]], *vectors(limit[0], raw[0]))
            values = tuple_setitem(values, chained[0], g)
        if chained[1] >= 0:
            g = bound2_vjp(mathlib, values[chained[1]], raw[bounded[1]], *vectors(limit[1], raw[0]))
            values = tuple_setitem(values, chained[1], g)
        return values

    return evaluate


def make(name, spec):
    """The loop of a spec: outs[k][i] = value k of term(ins[0][i], ins[1][i], ...). Value number `summed` goes to the
    summands, or to the lanes where rows have that many."""
    ins, outs, zero = tuple(range(spec.inputs)), tuple(range(spec.outputs)), spec.dtype(0)
    ins_stored, outs_stored = (ins, outs) if spec.halves else ((), ())
    sinks_at, evaluate, bounded, summed = FIRST + EACH * spec.inputs, evaluator(spec), spec.bounded, spec.summed

    def loop(d, frame, n):
        sources, sources_stored = words_of(frame, FIRST, ins), words_of(frame, FIRST + 1, ins_stored)
        sinks, sinks_stored = words_of(frame, sinks_at, outs), words_of(frame, sinks_at + 1, outs_stored)
        summands, lanes = pointer(frame[SUMMANDS], zero), pointer(frame[SUMMED], zero)
        limit, short, width = limits(d, bounded, zero), d[COLUMNS] < LANES, width_of(zero)
        last_vector = max(0, n - width)
        for i in range(0, n, width):
            at = min(i, last_vector)  # some elements twice, where vectors do not fit evenly
            values = evaluate(pick(sources, sources_stored, at, zero), limit)
            put(sinks, sinks_stored, at, values)
            if summed is not None:
                if i + width <= n and not short:
                    add_to(lanes, i % LANES, values[summed], zero)
                else:
                    put_vector(summands, at, values[summed])

    loop.__qualname__ = name
    return cfunc(OF_TILE, error_model="numpy")(loop)
