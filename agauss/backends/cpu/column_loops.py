"""The Numba loop over a batch of posteriors whose sums are kept for each latent, made by a factory; knows no array.

A loop is a C function (descriptor, first task, last task) that any thread may call. A task is a block of latents of a
chunk of the batch. Sums are in the order of the batch.
"""

import numpy as np
from numba import cfunc
from numba.extending import register_jitable

from agauss.backends.cpu import mathlib
from agauss.backends.cpu.memory import OF_TASKS, advance, float_of_bits, pointer, stack_of
from agauss.maths import formulas

# Of the vector of int64 that a loop reads: addresses, each array's step from row to row in elements, the step between
# the sums of two chunks, the extents, those of a task, and bounds as bits.
MEAN, MEAN_STEP, LOGVAR, LOGVAR_STEP, SUMS, SUMS_STEP, COUNTS, ROWS, COLUMNS, DATA, LATENTS, LOW, HIGH = range(13)
GROUP = 8  # data that are added up in the arrays' dtype, whose vectors are wide, before they are in float64


@register_jitable
def move(few, sums, n, zero):
    """Add the sums of a few data to those of all before."""
    for j in range(n):
        sums[j] += few[j]
        few[j] = zero


def make(name, dtype, kind):
    """The loop for means and log-variances of a dtype, whose bounds are of a kind, compiled under a name."""
    zero, bound = dtype(0), formulas.BOUNDS[kind][0]

    @mathlib.inlined
    def infinite(x):
        return np.int32(x - x != zero)  # or NaN

    def loop(d, begin, end):
        # Memory of the loop's own: what lies elsewhere cannot overlap it, so LLVM need not ask.
        columns, width = d[COLUMNS], d[LATENTS]
        kl, shift = stack_of(width, zero), stack_of(width, zero)
        squares, var = stack_of(width, zero), stack_of(width, zero)
        kl_sum, shift_sum = stack_of(width, 0.0), stack_of(width, 0.0)
        squares_sum, var_sum = stack_of(width, 0.0), stack_of(width, 0.0)
        varies = stack_of(width, zero)
        low, high = float_of_bits(d[LOW], zero), float_of_bits(d[HIGH], zero)
        blocks = (columns + width - 1) // width
        for task in range(begin, end):
            chunk = task // blocks
            first = (task - chunk * blocks) * width
            first_row, end_row = chunk * d[DATA], min((chunk + 1) * d[DATA], d[ROWS])
            n = min(width, columns - first)
            mean0 = advance(pointer(d[MEAN], zero), first)
            logvar0 = advance(pointer(d[LOGVAR], zero), first)
            for j in range(n):
                kl[j] = shift[j] = squares[j] = var[j] = varies[j] = zero
                kl_sum[j] = shift_sum[j] = squares_sum[j] = var_sum[j] = 0.0
            saturated, non_finite, constant = 0, 0, True
            for row in range(first_row, end_row):
                mean, logvar = advance(mean0, row * d[MEAN_STEP]), advance(logvar0, row * d[LOGVAR_STEP])
                outside, infinities = np.int32(0), np.int32(0)
                for j in range(n):
                    raw = logvar[j]
                    within = bound(mathlib, raw, low, high)
                    apart = mean[j] - mean0[j]
                    kl[j] += formulas.kl_prior(mathlib, mean[j], within)
                    shift[j] += apart
                    squares[j] += apart * apart
                    var[j] += formulas.var(mathlib, within)
                    outside = np.int32(outside + np.int32((raw < low) | (raw > high)))
                    infinities = np.int32(infinities + infinite(mean[j]) + infinite(raw))
                saturated += outside
                non_finite += infinities
                if constant:
                    differ = np.int32(0)
                    for j in range(n):
                        varies[j] = mathlib.where(logvar[j] == logvar0[j], varies[j], mathlib.like(1.0, zero))
                        differ = np.int32(differ + np.int32(varies[j] != zero))
                    constant = differ < n
                if row % GROUP == GROUP - 1 or row == end_row - 1:
                    move(kl, kl_sum, n, zero)
                    move(shift, shift_sum, n, zero)
                    move(squares, squares_sum, n, zero)
                    move(var, var_sum, n, zero)
            sums = advance(pointer(d[SUMS], 0.0), chunk * d[SUMS_STEP] + first)
            for j in range(n):
                sums[j] = kl_sum[j]
                sums[columns + j] = shift_sum[j]
                sums[2 * columns + j] = squares_sum[j]
                sums[3 * columns + j] = var_sum[j]
                sums[4 * columns + j] = varies[j]
            counts = advance(pointer(d[COUNTS], 0), 2 * task)
            counts[0], counts[1] = saturated, non_finite

    loop.__qualname__ = name
    return cfunc(OF_TASKS, error_model="numpy")(loop)
