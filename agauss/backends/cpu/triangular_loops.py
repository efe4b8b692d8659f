"""The Numba loops over lower triangular matrices, each made for a dtype by a factory; knows no Gaussian.

A loop is a C function (descriptor, first task, last task) that any thread may call. No step is reassociated. So a
result depends neither on the vector width nor on the threads.
"""

from llvmlite import ir
from numba import cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from agauss.backends.cpu.memory import advance, pointer, sum_by_halves

# Of the vector of int64 that a loop reads: addresses, then extents.
MATRICES, PLACES, ROWS, OTHERS, OUT, N, D = range(7)
LANES = 16  # adjacent elements that are added up apart
SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64)


@intrinsic
def lane_dot(typing_context, a, b, blocks):
    """The sum of a[k] b[k] over blocks of LANES numbers: each lane's, and then the lanes by halves."""

    def codegen(context, builder, signature, args):
        number, align = context.get_data_type(a.dtype), a.dtype.bitwidth // 8
        lanes = ir.VectorType(number, LANES)
        vectors = [builder.bitcast(pointer, lanes.as_pointer()) for pointer in args[:2]]
        partial = cgutils.alloca_once(builder, lanes)
        builder.store(ir.Constant(lanes, None), partial)
        with cgutils.for_range(builder, args[2]) as loop:
            x, y = (builder.load(builder.gep(vector, [loop.index]), align=align) for vector in vectors)
            builder.store(builder.fadd(builder.load(partial), builder.fmul(x, y)), partial)
        return sum_by_halves(builder, builder.load(partial), LANES)

    return a.dtype(a, b, types.int64), codegen


@register_jitable
def dot(a, b, n):
    """The sum of a[k] b[k] for k under n."""
    blocks = n // LANES
    total = lane_dot(a, b, blocks)
    for k in range(blocks * LANES, n):
        total += a[k] * b[k]
    return total


@register_jitable
def parts(d, task, zero):
    """The matrix of a task, its row and its result, as pointers."""
    size, place = d[D], pointer(d[PLACES], d[D])[task // d[N]]
    tril = advance(pointer(d[MATRICES], zero), place * size * size)
    return tril, advance(pointer(d[ROWS], zero), task * size), advance(pointer(d[OUT], zero), task * size)


def _product(zero):
    def loop(d, begin, end):
        for task in range(begin, end):
            tril, row, out = parts(d, task, zero)
            for i in range(d[D]):
                out[i] = dot(advance(tril, i * d[D]), row, i + 1)

    return loop


def _solve(zero):
    def loop(d, begin, end):
        for task in range(begin, end):
            tril, row, out = parts(d, task, zero)
            first = 0  # zeros that a row begins with are zeros of the solution: a triangular matrix's rows have many
            while first < d[D] and row[first] == zero:
                out[first] = zero
                first += 1
            for i in range(first, d[D]):
                known = dot(advance(tril, i * d[D] + first), advance(out, first), i - first)
                out[i] = (row[i] - known) / tril[i * d[D] + i]

    return loop


def _solve_transposed(zero):
    def loop(d, begin, end):
        for task in range(begin, end):
            tril, row, out = parts(d, task, zero)
            for i in range(d[D]):
                out[i] = row[i]
            for i in range(d[D] - 1, -1, -1):
                x = out[i] / tril[i * d[D] + i]
                out[i] = x
                above = advance(tril, i * d[D])
                for k in range(i):
                    out[k] -= x * above[k]

    return loop


def _outer(zero):
    def loop(d, begin, end):
        size = d[D]
        for task in range(begin, end):
            item, i = task // size, task % size
            rows = advance(pointer(d[ROWS], zero), item * d[N] * size + i)
            others = advance(pointer(d[OTHERS], zero), item * d[N] * size)
            out = advance(pointer(d[OUT], zero), task * size)
            for j in range(size):
                out[j] = zero
            for n in range(d[N]):
                x, other = rows[n * size], advance(others, n * size)
                for j in range(i + 1):
                    out[j] += x * other[j]

    return loop


LOOPS = {
    "product": _product,
    "solve": _solve,
    "solve_transposed": _solve_transposed,
    "outer": _outer,
}


def make(name, key, dtype):
    """The loop of that name, compiled under the name `key`."""
    loop = LOOPS[name](dtype(0))
    loop.__qualname__ = key
    return cfunc(SIGNATURE, error_model="numpy")(loop)
