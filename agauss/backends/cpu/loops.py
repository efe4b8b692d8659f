"""The loop, as a factory that takes a LoopSpec of kernels.py; knows no Gaussian.

A kernel is a C function (descriptor, first task, last task) that needs no Python state: any thread may call it. Its
machine code bears the name that it is given.
"""

from types import FunctionType

from llvmlite import ir
from numba import cfunc, prange, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import intrinsic, overload, register_jitable

from agauss.backends.cpu import calm, mathlib, shared
from agauss.backends.cpu.descriptor import COLUMNS, HIGH, LOW
from agauss.backends.cpu.frame import ARRAYS, EACH
from agauss.backends.cpu.mathlib import like
from agauss.backends.cpu.memory import SCRATCH, array, float_of_bits, part, pick, put, stack_of
from agauss.backends.cpu.normals import noise_in
from agauss.backends.cpu.tiles import add_to, begin_frame, next_tile, words_of
from agauss.backends.cpu.vectors import put_vector, width_of
from agauss.maths import formulas, noise, parts
from agauss.maths.sums import LANES

for _module in (noise, parts, formulas):
    for _function in list(vars(_module).values()):
        if isinstance(_function, FunctionType) and _function.__module__ == _module.__name__:
            mathlib.inlined(_function)

SIGNATURE = types.void(shared.WORDS, types.int64, types.int64)


@intrinsic
def call(typing_context, kernel, d, begin, end):
    """Call the kernel at an address."""

    def codegen(context, builder, signature, args):
        i64 = ir.IntType(64)
        function = ir.FunctionType(ir.VoidType(), [i64, i64, i64])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen


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


def make_loop(name, spec):
    """outs[k][i] = value k of term(ins[0][i], ins[1][i], ...), and the sum of value number `summed` over each row."""
    inputs, outputs, noisy, halves, zero = spec.inputs, spec.outputs, spec.noisy, spec.halves, spec.dtype(0)
    ins, outs, loaded, last, arrays = tuple(range(inputs)), tuple(range(outputs)), inputs - noisy, inputs - 1, inputs + outputs
    ins_stored, outs_stored = (ins, outs) if halves else ((), ())
    words, room, first = ARRAYS + EACH * arrays, SCRATCH * (arrays + 2), ARRAYS + EACH * inputs
    evaluate, bounded, summed = evaluator(spec), spec.bounded, spec.summed

    def loop(d, begin, end):
        frame, scratch, limit = stack_of(words, 0), stack_of(room, zero), limits(d, bounded, zero)
        begin_frame(frame, begin, end, inputs, loaded, outputs, halves)
        width, short = width_of(zero), d[COLUMNS] < LANES
        summands, lanes = part(scratch, arrays), part(scratch, arrays + 1)
        if summed is not None:
            for i in range(LANES):
                lanes[i] = 0
        n = next_tile(d, frame, 0, scratch, zero)
        while n > 0:
            if noisy:
                noise_in(d, frame, last, scratch, zero)
            sources, sources_stored = words_of(frame, ARRAYS, ins), words_of(frame, ARRAYS + 1, ins_stored)
            sinks, sinks_stored = words_of(frame, first, outs), words_of(frame, first + 1, outs_stored)
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
            n = next_tile(d, frame, n, scratch, zero)

    return _compiled(name, loop, SIGNATURE, error_model="numpy")


def make_shared(name, function, dtype):
    """A function of tiles.py or normals.py that kernels share, for a dtype."""
    return shared.make(function, name, dtype)


def make_parallel(name):
    """A function (kernel, descriptor, tasks, parts) that calls the kernel at an address on all threads."""

    def parallel(kernel, d, tasks, parts):
        for part in prange(parts):
            call(kernel, d, part * tasks // parts, (part + 1) * tasks // parts)

    int64 = types.int64
    return _compiled(name, parallel, types.void(int64, int64, int64, int64), parallel=True)


def _compiled(name, function, signature, **options):
    function.__qualname__ = name
    return cfunc(signature, **options)(function)
