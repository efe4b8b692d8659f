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
ABREAST = 16  # adjacent elements that are added up apart
SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64)


@intrinsic
def lane_dot(typing_context, a, b, blocks):
    """The sum of a[k] b[k] over blocks of ABREAST numbers: each lane's, and then the lanes by halves."""

    def codegen(context, builder, signature, args):
        number, align = context.get_data_type(a.dtype), a.dtype.bitwidth // 8
        lanes = ir.VectorType(number, ABREAST)
        vectors = [builder.bitcast(pointer, lanes.as_pointer()) for pointer in args[:2]]
        partial = cgutils.alloca_once(builder, lanes)
        builder.store(ir.Constant(lanes, None), partial)
        with cgutils.for_range(builder, args[2]) as loop:
            x, y = (builder.load(builder.gep(vector, [loop.index]), align=align) for vector in vectors)
            builder.store(builder.fadd(builder.load(partial), builder.fmul(x, y)), partial)
        return sum_by_halves(builder, builder.load(partial), ABREAST)

    return a.dtype(a, b, types.int64), codegen


@intrinsic
def lane_subtract(typing_context, out, weights, step, rows, pitch, n, divisor):
    """ABREAST numbers of `out`, less the sum of weights[k step] times row k over n rows, divided by the divisor."""

    def codegen(context, builder, signature, args):
        out, weights, step, rows, pitch, n, divisor = args
        number, align = context.get_data_type(signature.args[0].dtype), signature.args[0].dtype.bitwidth // 8
        lanes = ir.VectorType(number, ABREAST)
        undefined, firsts = (
            ir.Constant(lanes, ir.Undefined),
            ir.Constant(ir.VectorType(ir.IntType(32), ABREAST), [0] * ABREAST),
        )

        def spread(x):
            first = builder.insert_element(undefined, x, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(first, undefined, firsts)

        def vector(pointer):
            return builder.bitcast(pointer, lanes.as_pointer())

        def add(partial, k):
            weight = builder.load(builder.gep(weights, [builder.mul(k, step)]))
            row = builder.load(vector(builder.gep(rows, [builder.mul(k, pitch)])), align=align)
            builder.store(builder.fadd(builder.load(partial), builder.fmul(spread(weight), row)), partial)

        one = ir.Constant(n.type, 1)
        even, odd = cgutils.alloca_once(builder, lanes), cgutils.alloca_once(builder, lanes)  # one waits for the other
        builder.store(ir.Constant(lanes, None), even)
        builder.store(ir.Constant(lanes, None), odd)
        with cgutils.for_range(builder, builder.lshr(n, one)) as loop:
            k = builder.shl(loop.index, one)
            add(even, k)
            add(odd, builder.add(k, one))
        with builder.if_then(builder.trunc(n, ir.IntType(1))):
            add(even, builder.sub(n, one))
        left = builder.fsub(builder.load(vector(out), align=align), builder.fadd(builder.load(even), builder.load(odd)))
        builder.store(builder.fdiv(left, spread(divisor)), vector(out), align=align)
        return context.get_dummy_value()

    return types.void(out, weights, types.int64, rows, types.int64, types.int64, divisor), codegen


@register_jitable
def dot(a, b, n):
    """The sum of a[k] b[k] for k under n."""
    blocks = n // ABREAST
    total = lane_dot(a, b, blocks)
    for k in range(blocks * ABREAST, n):
        total += a[k] * b[k]
    return total


@register_jitable
def parts(d, task, n, zero):
    """The matrix of a task, its n rows and its result, as pointers."""
    size, place = d[D], pointer(d[PLACES], d[D])[task * n // d[N]]
    tril = advance(pointer(d[MATRICES], zero), place * size * size)
    return tril, advance(pointer(d[ROWS], zero), task * n * size), advance(pointer(d[OUT], zero), task * n * size)


def _product(zero):
    def loop(d, begin, end):
        for task in range(begin, end):
            tril, row, out = parts(d, task, 1, zero)
            for i in range(d[D]):
                out[i] = dot(advance(tril, i * d[D]), row, i + 1)

    return loop


def _solve(zero):
    def loop(d, begin, end):
        for task in range(begin, end):
            tril, row, out = parts(d, task, 1, zero)
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
            tril, row, out = parts(d, task, 1, zero)
            for i in range(d[D]):
                out[i] = row[i]
            for i in range(d[D] - 1, -1, -1):
                x = out[i] / tril[i * d[D] + i]
                out[i] = x
                above = advance(tril, i * d[D])
                for k in range(i):
                    out[k] -= x * above[k]

    return loop


@register_jitable
def begin_row(matrix, out, i, size, zero):
    """Copy row i up to the diagonal, and put zeros after it."""
    for j in range(i + 1):
        out[i * size + j] = matrix[i * size + j]
    for j in range(i + 1, size):
        out[i * size + j] = zero


@register_jitable
def end_row(tril, step, out, i, others, size, zero):
    """Take from row i what the rows that `others` counts, which are known, have in it: the first is 0 or i + 1."""
    first, last = others
    weights = advance(tril, i * size) if step == 1 else advance(tril, i)
    row, pivot = advance(out, i * size), tril[i * size + i]
    whole = size // ABREAST * ABREAST
    for start in range(0, min(i + 1, whole), ABREAST):
        k = max(first, start)  # rows before this one are 0 there
        lane_subtract(
            advance(row, start), advance(weights, k * step), step, advance(out, k * size + start), size, last - k, pivot
        )
    for j in range(whole, i + 1):
        known = zero
        for k in range(max(first, j), last):
            known += weights[k * step] * out[k * size + j]
        row[j] = (row[j] - known) / pivot
    for j in range(i + 1, size):
        row[j] = zero


def _solve_lower(zero):
    def loop(d, begin, end):
        size = d[D]
        for task in range(begin, end):
            tril, matrix, out = parts(d, task, size, zero)
            for i in range(size):
                begin_row(matrix, out, i, size, zero)
                end_row(tril, 1, out, i, (0, i), size, zero)

    return loop


def _solve_lower_transposed(zero):
    def loop(d, begin, end):
        size = d[D]
        for task in range(begin, end):
            tril, matrix, out = parts(d, task, size, zero)
            for i in range(size - 1, -1, -1):
                begin_row(matrix, out, i, size, zero)
                end_row(tril, size, out, i, (i + 1, size), size, zero)

    return loop


def _lower(zero):
    def loop(d, begin, end):
        size = d[D]
        for task in range(begin, end):
            matrix = advance(pointer(d[OUT], zero), task * size * size)
            for i in range(size):
                for j in range(i + 1, size):
                    matrix[i * size + j] = zero

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
    "solve_lower": _solve_lower,
    "solve_lower_transposed": _solve_lower_transposed,
    "lower": _lower,
    "outer": _outer,
}


def make(name, key, dtype):
    """The loop of that name, compiled under the name `key`."""
    loop = LOOPS[name](dtype(0))
    loop.__qualname__ = key
    return cfunc(SIGNATURE, error_model="numpy")(loop)
