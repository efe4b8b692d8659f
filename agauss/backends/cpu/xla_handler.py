"""The C function that XLA calls for a pass, and the one that its threads run; knows no JAX and no Gaussian.

On a CUDA device the first one launches a kernel, by the driver's functions. Neither needs Python or the GIL, and any
number of threads may be in them.
"""

import numpy as np
from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic, register_jitable

from agauss.backends.cpu.descriptor import BFLOAT16, COMPUTE, FLOAT16, NOISE
from agauss.backends.cpu.halves import write
from agauss.backends.cpu.machine import half_word, named, put, stack, word
from agauss.backends.cpu.memory import call, pointer
from agauss.backends.cpu.xla_frame import (
    ADDRESS,
    ADVISE,
    API_ERROR_CREATE,
    API_ERROR_DESTROY,
    API_NUM_THREADS,
    API_SCHEDULE,
    API_STREAM_GET,
    ARGS_ARGS,
    ARRAY_DATA,
    ARRAY_SIZE,
    ATTRS_ATTRS,
    BLOCKS,
    BUFFER_DATA,
    COUNT,
    COUNTER,
    DONE,
    EXTENSION_METADATA,
    EXTENSION_TYPE,
    FAILED_PRECONDITION,
    FIRST,
    FRAME_API,
    FRAME_ARGS,
    FRAME_ATTRS,
    FRAME_CONTEXT,
    FRAME_EXTENSION,
    FRAME_RETS,
    HEAD,
    HELPER,
    HUGE_PAGES,
    KERNEL,
    LARGE,
    LAUNCH,
    METADATA_EXTENSION,
    METADATA_VERSION,
    MOST_WORDS,
    NEXT,
    OF_DESCRIPTOR,
    OF_KERNEL,
    OF_TASKS,
    PAGE,
    PARALLEL,
    PARTIALS,
    PARTS,
    PARTS_PER_THREAD,
    PER_ARRAY,
    REFUSED,
    RETS_RETS,
    ROWS,
    SET,
    SINKS,
    SOURCES,
    STATE,
    SYMBOL,
    TASKS,
    THREADS,
    TOTAL,
    TURNS,
    UNKNOWN,
    USERS,
    VERSION,
    VERSION_MAJOR,
    VERSION_MINOR,
    YIELD,
)


@intrinsic
def table(typing_context):
    """The address of the process's vector."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        found = builder.module.globals.get(SYMBOL) or ir.GlobalVariable(builder.module, word, SYMBOL)
        return builder.ptrtoint(found, word)

    return types.int64(), codegen


@intrinsic
def atomic_add(typing_context, address, n):
    """Add to the word at an address, which no other thread does meanwhile, and return what it was."""

    def codegen(context, builder, signature, args):
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def call_api(typing_context, function, arguments):
    """The error that a function of XLA's returns, or 0."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word]).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), [args[1]])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def allocate(typing_context, size):
    return named("NRT_Allocate", types.int64, types.int64)


@intrinsic
def free(typing_context, address):
    return named("NRT_Free", types.void, types.int64)


@intrinsic
def let_others_run(typing_context):
    return named(YIELD, types.int32)


@intrinsic
def advise(typing_context, address, size, advice):
    return named(ADVISE, types.int32, types.int64, types.int64, types.int32)


@register_jitable
def ask_for_large_pages(address, size):
    """For memory that is written to for the first time: each small page would cost a fault, as long as the work."""
    if ADVISE and size >= LARGE:
        advise((address + PAGE - 1) // PAGE * PAGE, size - PAGE, np.int32(HUGE_PAGES))


# Threads


@register_jitable
def take_parts(state):
    """Run parts of a pass until there are no more."""
    s = pointer(state, 0)
    parts, tasks = s[PARTS], s[OF_TASKS]
    while True:
        part = atomic_add(state + 8 * NEXT, 1)
        if part >= parts:
            return
        call(s[OF_KERNEL], s[OF_DESCRIPTOR], part * tasks // parts, (part + 1) * tasks // parts)
        atomic_add(state + 8 * DONE, 1)


@register_jitable
def leave(state, users):
    if atomic_add(state + 8 * USERS, -users) == users:
        free(state)


def make_helper(name):
    """What a thread of XLA's pool is given to do."""

    def helper(state):
        take_parts(state)
        leave(state, 1)

    return _compiled(name, helper, types.void(types.int64))


@register_jitable
def succeeds(api, function, arguments):
    """Whether a function of XLA's does; its error is dropped."""
    error = call_api(word(api + function), arguments)
    if error == 0:
        return True
    a = stack(3)
    put(a, 24)
    put(a + 8, 0)
    put(a + 16, error)
    call_api(word(api + API_ERROR_DESTROY), a)
    return False


@register_jitable
def threads_of(api, context):
    """How many threads XLA's pool has."""
    found, a = stack(1), stack(4)
    put(found, 0)
    put(a, 32)
    put(a + 8, 0)
    put(a + 16, context)
    put(a + 24, found)
    return word(found) if succeeds(api, API_NUM_THREADS, a) else 1


@register_jitable
def run_on_threads(api, context, kernel, d, tasks):
    """Run a kernel's tasks on this thread and on those of XLA's pool that are free.

    Nobody waits for a thread that has not begun: the caller takes all parts that no other has.
    """
    threads = threads_of(api, context)
    parts = min(tasks, PARTS_PER_THREAD * threads)
    helpers = min(threads, parts) - 1
    if helpers < 1:
        call(kernel, d, 0, tasks)
        return
    state = allocate(8 * STATE)
    s = pointer(state, 0)
    s[NEXT], s[DONE], s[USERS], s[PARTS] = 0, 0, helpers + 1, parts
    s[OF_KERNEL], s[OF_DESCRIPTOR], s[OF_TASKS] = kernel, d, tasks
    a = stack(5)
    for _ in range(helpers):
        put(a, 40)
        put(a + 8, 0)
        put(a + 16, context)
        put(a + 24, word(table() + 8 * HELPER))
        put(a + 32, state)
        if not succeeds(api, API_SCHEDULE, a):
            leave(state, 1)
    take_parts(state)
    while atomic_add(state + 8 * DONE, 0) < parts:
        let_others_run()
    leave(state, 1)


# A CUDA device


@intrinsic
def call_driver(typing_context, function, a, b, c, d):
    """The status of one of the driver's functions, which is 0 where it succeeds. A word does for an int."""

    def codegen(context, builder, signature, args):
        of = ir.FunctionType(ir.IntType(32), [ir.IntType(64)] * 4)
        return builder.call(builder.inttoptr(args[0], of.as_pointer()), args[1:])

    return types.int32(*[types.int64] * 5), codegen


@register_jitable
def stream_of(api, context):
    """The call's stream, or 0 where XLA has none."""
    a = stack(4)
    put(a, 32)
    put(a + 8, 0)
    put(a + 16, context)
    return word(a + 24) if succeeds(api, API_STREAM_GET, a) else 0


@register_jitable
def launch(kernel, blocks, threads, d, stream):
    """Launch a kernel of the words at an address, which the driver copies, and return the status."""
    arguments, config, upper = stack(1), stack(7), 1 << 32
    put(arguments, d)
    # CUlaunchConfig: the grid's and the block's extents, each half a word; shared memory, the stream, no attributes.
    put(config, blocks + upper)
    put(config + 8, 1 + threads * upper)
    put(config + 16, 1 + upper)
    put(config + 24, 0)
    put(config + 32, stream)
    put(config + 40, 0)
    put(config + 48, 0)
    return call_driver(word(table() + 8 * LAUNCH), config, kernel, arguments, 0)


@register_jitable
def set_to_zero(counter, stream):
    return call_driver(word(table() + 8 * SET), counter, 0, 1, stream)


# The handler


@register_jitable
def failed(api, message):
    """An error of a message in the table."""
    a = stack(4)
    put(a, 28)
    put(a + 8, 0)
    put(a + 16, word(table() + 8 * message))
    half_word(a + 24)[0] = FAILED_PRECONDITION
    return call_api(word(api + API_ERROR_CREATE), a)


@register_jitable
def kernel_of(digest):
    """The address of the kernel of a digest, or 0."""
    t = pointer(table(), 0)
    for k in range(t[COUNT]):
        if t[FIRST + 2 * k] == digest:
            return t[FIRST + 2 * k + 1]
    return 0


@register_jitable
def to_odd(x):
    """x in float32: of the two numbers around it the odd one, so that to round this to float16 is to round x itself."""
    y = np.float32(x)
    if np.float64(y) == x or x != x:
        return y
    place = stack(1)
    pointer(place, y)[0] = y
    if half_word(place)[0] % 2 == 0:
        half_word(place)[0] += np.int32(1 if abs(np.float64(y)) < abs(x) else -1)
    return pointer(place, y)[0]


@register_jitable
def add_up(sums, total, rows, partials, kind):
    """The rows' sums, always adding neighbours, as `_pairwise` of backend.py does."""
    s = pointer(sums, 0.0)
    for row in range(rows):
        first, n = row * partials, partials
        while n > 1:
            half = n // 2
            for k in range(half):
                s[first + k] = s[first + 2 * k] + s[first + 2 * k + 1]
            if n % 2:
                s[first + half] = s[first + n - 1]
            n = half + n % 2
        if kind == 0:
            pointer(total, np.float32(0))[row] = np.float32(s[first])
        elif kind == 1:
            pointer(total, 0.0)[row] = s[first]
        elif kind == 2:
            half_word(total)[row] = np.int32(s[first])
        elif kind == 3:
            pointer(total, 0)[row] = np.int64(s[first])
        elif kind == 4:
            write(pointer(total, np.float32(0)), row, FLOAT16, to_odd(s[first]))
        else:
            write(pointer(total, np.float32(0)), row, BFLOAT16, np.float32(s[first]))


def make_handler(name):
    def handler(frame):
        extension = word(frame + FRAME_EXTENSION)
        if extension != 0 and half_word(extension + EXTENSION_TYPE)[0] == METADATA_EXTENSION:
            version = word(extension + EXTENSION_METADATA) + METADATA_VERSION
            half_word(version + VERSION_MAJOR)[0] = VERSION[0]
            half_word(version + VERSION_MINOR)[0] = VERSION[1]
            return 0
        arguments = word(frame + FRAME_ARGS + ARGS_ARGS)
        results = word(frame + FRAME_RETS + RETS_RETS)
        attribute = word(word(frame + FRAME_ATTRS + ATTRS_ATTRS))
        w = pointer(word(attribute + ARRAY_DATA), 0)
        api, context = word(frame + FRAME_API), word(frame + FRAME_CONTEXT)
        if w[KERNEL] == 0:
            put(word(word(results) + BUFFER_DATA), word(word(word(arguments) + BUFFER_DATA)))
            return 0
        kernel = kernel_of(w[KERNEL])
        if kernel == 0:
            return failed(api, UNKNOWN)
        stream = stream_of(api, context) if w[BLOCKS] else 0
        if w[BLOCKS] and stream == 0:
            return failed(api, REFUSED)
        sources, arrays = w[SOURCES], w[SOURCES] + w[SINKS]
        template = HEAD + PER_ARRAY * arrays
        descriptor = stack(MOST_WORDS)
        d = pointer(descriptor, 0)
        for k in range(word(attribute + ARRAY_SIZE) - template):
            d[k] = w[template + k]
        for k in (COMPUTE, NOISE):
            if not w[BLOCKS] and d[k] != 0:
                d[k] = kernel_of(d[k])
                if d[k] == 0:
                    return failed(api, UNKNOWN)
        for turn in range(w[TURNS]):
            total, last = 0, 0
            for k in range(arrays):
                place = HEAD + PER_ARRAY * k
                slot, kind, number = w[place], w[place + 1], w[place + 2]
                offset, step, fresh = w[place + 3], w[place + 4], w[place + 5]
                buffer = word((arguments if k < sources else results) + 8 * number)
                total, last = last, word(buffer + BUFFER_DATA) + offset + turn * step
                if turn == 0:
                    ask_for_large_pages(last, fresh)
                if slot >= 0:
                    d[slot] = last if kind == ADDRESS else np.int64(pointer(last, np.uint32(0))[0])
            if w[BLOCKS]:
                if w[COUNTER] and set_to_zero(d[w[COUNTER]], stream):
                    return failed(api, REFUSED)
                if launch(kernel, w[BLOCKS], w[THREADS], descriptor, stream):
                    return failed(api, REFUSED)
            elif w[PARALLEL]:
                run_on_threads(api, context, kernel, descriptor, w[TASKS])
            else:
                call(kernel, descriptor, 0, w[TASKS])
            if w[ROWS]:
                add_up(last, total, w[ROWS], w[PARTIALS], w[TOTAL])
        return 0

    return _compiled(name, handler, types.int64(types.int64))


def _compiled(name, function, signature):
    function.__qualname__ = name
    return cfunc(signature)(function)
