"""The Numba loops over lower triangular matrices, each made for a dtype by a factory; knows no Gaussian.

A loop is a C function (descriptor, first task, last task) that any thread may call. No step is reassociated. So a
result depends neither on the vector width nor on the threads.
"""

from llvmlite import ir
from numba import cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from agauss.backends.cpu.memory import advance, pointer, sum_by_halves
from agauss.backends.cpu.vectors import llvm_call, load_from, splat, store_to

# Of the vector of int64 that a loop reads: addresses, then extents.
MATRICES, PLACES, ROWS, OTHERS, OUT, N, D = range(7)
ABREAST = 16  # adjacent elements that are added up apart
TOGETHER = 4  # rows of a solution, for which what is known is read once
SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64)


@intrinsic
def lane_dot(typing_context, a, b, n):
    """The sum of a[k] b[k] for k under n: each lane's, and then the lanes by halves. ABREAST numbers are read at once,
    and what lies beyond n counts for nothing."""

    def codegen(context, builder, signature, args):
        lanes = ir.VectorType(context.get_data_type(a.dtype), ABREAST)
        count, partial = args[2], cgutils.alloca_once(builder, lanes)
        builder.store(ir.Constant(lanes, None), partial)

        def added(k):
            x, y = (load_from(builder, pointer, k, lanes) for pointer in args[:2])
            return llvm_call(builder, "fma", x, y, builder.load(partial))

        width = ir.Constant(count.type, ABREAST)
        rest = builder.urem(count, width)
        whole = builder.sub(count, rest)
        with cgutils.for_range_slice(builder, ir.Constant(count.type, 0), whole, width) as (k, _):
            builder.store(added(k), partial)
        with builder.if_then(builder.icmp_unsigned(">", rest, ir.Constant(count.type, 0))):
            numbers = ir.Constant(ir.VectorType(count.type, ABREAST), list(range(ABREAST)))
            within = builder.icmp_unsigned("<", numbers, splat(builder, rest, numbers.type))
            builder.store(builder.select(within, added(whole), builder.load(partial)), partial)
        return sum_by_halves(builder, builder.load(partial), ABREAST)

    return a.dtype(a, b, types.int64), codegen


def _solver(count, transposed):
    """A function that solves for so many adjacent rows, in ABREAST columns, given all rows that they hang on."""

    @intrinsic
    def solve(typing_context, out, weights, known, n, corner, pitch):
        """From row r of `out` take the sum over n rows k of the weight (r, k), or transposed (k, r), times known row k,
        and then what the rows solved before it have in it. Their weights and the pivots are the matrix at `corner`."""

        def codegen(context, builder, signature, args):
            out, weights, known, n, corner, pitch = args
            one = ir.Constant(pitch.type, 1)
            by_row, by_known = (one, pitch) if transposed else (pitch, one)
            lanes = ir.VectorType(context.get_data_type(signature.args[0].dtype), ABREAST)

            def times(step, number):
                return builder.mul(step, ir.Constant(step.type, number))

            def spread(pointer, place):
                return splat(builder, builder.load(builder.gep(pointer, [place])), lanes)

            def of_corner(row, column):
                return spread(corner, builder.add(times(pitch, row), ir.Constant(pitch.type, column)))

            sums = [cgutils.alloca_once(builder, lanes) for _ in range(count)]
            firsts = [builder.gep(weights, [times(by_row, r)]) for r in range(count)]
            for total in sums:
                builder.store(ir.Constant(lanes, None), total)
            with cgutils.for_range(builder, n) as loop:
                x = load_from(builder, known, builder.mul(loop.index, pitch), lanes)
                k = builder.mul(loop.index, by_known)
                for total, first in zip(sums, firsts, strict=True):
                    builder.store(llvm_call(builder, "fma", spread(first, k), x, builder.load(total)), total)
            solved = {}
            for r in reversed(range(count)) if transposed else range(count):
                left = builder.fsub(load_from(builder, out, times(pitch, r), lanes), builder.load(sums[r]))
                for s, x in solved.items():
                    left = llvm_call(builder, "fma", builder.fneg(of_corner(max(r, s), min(r, s))), x, left)
                solved[r] = builder.fdiv(left, of_corner(r, r))
                store_to(builder, solved[r], out, times(pitch, r))
            return context.get_dummy_value()

        return types.void(out, weights, known, types.int64, corner, types.int64), codegen

    return solve


@register_jitable(forceinline=True)
def dot(a, b, n, room):
    """The sum of a[k] b[k] for k under n: by lanes but for the last numbers, where no more than `room` may be read."""
    by_lanes = n if -(-n // ABREAST) * ABREAST <= room else n // ABREAST * ABREAST
    total = lane_dot(a, b, by_lanes)
    for k in range(by_lanes, n):
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
                out[i] = dot(advance(tril, i * d[D]), row, i + 1, d[D])

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
                # Each row waits for the one before it, and a few numbers are added up sooner without the lanes.
                known = dot(advance(tril, i * d[D] + first), advance(out, first), i - first, 0)
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


def _solve_lower(zero, transposed=False):
    several, single = _solver(TOGETHER, transposed), _solver(1, transposed)

    @register_jitable
    def solve_rows(tril, matrix, out, i, count, size):
        """Solve for rows i ... i + count - 1, 1 or TOGETHER of them, once those are known that they hang on."""
        end = i + count
        for row in range(i, end):
            for j in range(row + 1):
                out[row * size + j] = matrix[row * size + j]
            for j in range(row + 1, end):
                out[row * size + j] = zero
        weights = advance(tril, i if transposed else i * size)
        first, last = (end, size) if transposed else (0, i)
        corner, whole = advance(tril, i * size + i), size // ABREAST * ABREAST
        for start in range(0, min(end, whole), ABREAST):
            k = max(first, start)  # rows before this one are 0 there
            own, known = advance(out, i * size + start), advance(out, k * size + start)
            rest = advance(weights, k * size if transposed else k)
            if count == TOGETHER:
                several(own, rest, known, last - k, corner, size)
            else:
                single(own, rest, known, last - k, corner, size)
        for turn in range(count):
            row = end - 1 - turn if transposed else i + turn
            for j in range(row + 1, size):
                out[row * size + j] = zero
            for j in range(whole, row + 1):
                total = zero
                for k in range(row + 1, size) if transposed else range(j, row):
                    total += tril[k * size + row if transposed else row * size + k] * out[k * size + j]
                out[row * size + j] = (out[row * size + j] - total) / tril[row * size + row]

    def loop(d, begin, end):
        size = d[D]
        for task in range(begin, end):
            tril, matrix, out = parts(d, task, size, zero)
            done = 0
            while done < size:
                count = TOGETHER if size - done >= TOGETHER else 1
                solve_rows(tril, matrix, out, size - done - count if transposed else done, count, size)
                done += count

    return loop


def _solve_lower_transposed(zero):
    return _solve_lower(zero, transposed=True)


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
