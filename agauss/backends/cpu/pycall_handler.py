"""C functions that Python calls with arrays; they know no Gaussian.

They have the arrays as objects, and read in them what they need. pycall_frame.py says what is where, and pycall.py
whether it is so.
"""

import numpy as np
from numba import cfunc, types
from numba.extending import intrinsic

from agauss.backends.cpu.descriptor import SEED_HIGH, SEED_LOW, STREAM
from agauss.backends.cpu.machine import half_word, named, put, stack, word
from agauss.backends.cpu.memory import call
from agauss.backends.cpu.pycall_frame import (
    ARRAY_TYPE,
    ARRAYS,
    DATA,
    DTYPE,
    DTYPES,
    END,
    EXTENTS,
    FIRST,
    HEAD,
    KERNEL,
    LENGTH,
    LONG,
    MASK,
    MOST_WORDS,
    NDIM,
    NOISY,
    PER_ARRAY,
    SLOT,
    SOURCES,
    STRIDES,
    TASKS,
    TYPE,
)


@intrinsic
def boolean(typing_context, truth):
    return named("PyBool_FromLong", types.int64, types.int64)


@intrinsic
def byte_string(typing_context, address, size):
    return named("PyBytes_FromStringAndSize", types.int64, types.int64, types.int64)


@intrinsic
def whole_number(typing_context, number):
    return named("PyLong_AsLongLong", types.int64, types.int64)


@intrinsic
def error(typing_context):
    return named("PyErr_Occurred", types.int64)


@intrinsic
def forget_the_error(typing_context):
    return named("PyErr_Clear", types.void)


@intrinsic
def give_up_the_gil(typing_context):
    return named("PyEval_SaveThread", types.int64)


@intrinsic
def take_the_gil(typing_context, state):
    return named("PyEval_RestoreThread", types.void, types.int64)


def make_forms(name):
    def forms(known, arguments, count):
        """The arrays' dtypes, shapes and strides as bytes, or False where one is not NumPy's own of a known dtype."""
        k, found = word(known + DATA), stack(MOST_WORDS)
        n = 0
        for _ in range(count):
            array = word(arguments)
            arguments += 8
            if word(array + TYPE) != word(k + 8 * ARRAY_TYPE):
                return boolean(0)
            dtype, ndim = word(array + DTYPE), np.int64(half_word(array + NDIM)[0])
            if dtype != word(k + 8 * DTYPES) and dtype != word(k + 8 * DTYPES + 8):
                return boolean(0)
            if n + 2 + 2 * ndim > MOST_WORDS:
                return boolean(0)
            put(found + 8 * n, dtype)
            put(found + 8 * n + 8, ndim)
            n += 2
            extents, strides = word(array + EXTENTS), word(array + STRIDES)
            for j in range(ndim):
                put(found + 8 * n, word(extents + 8 * j))
                put(found + 8 * n + 8, word(strides + 8 * j))
                n += 2
        return byte_string(found, 8 * n)

    return compiled(name, forms)


def make_loop(name):
    def function(plan, arguments, count):
        """True, or False where nothing was done."""
        w = word(plan + DATA)
        arrays, sources = word(w + 8 * ARRAYS), word(w + 8 * SOURCES)
        d, template = stack(MOST_WORDS), w + 8 * (HEAD + PER_ARRAY * arrays)
        for k in range(word(w + 8 * LENGTH)):
            put(d + 8 * k, word(template + 8 * k))
        for k in range(arrays):
            own = w + 8 * (HEAD + PER_ARRAY * k)
            address = word(word(arguments + 8 * k) + DATA)
            if address & word(own + 8 * MASK):
                return boolean(0)
            if k >= sources:
                first, end = address + word(own + 8 * FIRST), address + word(own + 8 * END)
                for j in range(sources):
                    other = w + 8 * (HEAD + PER_ARRAY * j)
                    start = word(d + 8 * word(other + 8 * SLOT))
                    if first < start + word(other + 8 * END) and start + word(other + 8 * FIRST) < end:
                        return boolean(0)
            put(d + 8 * word(own + 8 * SLOT), address)
        if word(w + 8 * NOISY):
            arguments += 8 * arrays
            for place in (SEED_LOW, SEED_HIGH, STREAM):
                n = whole_number(word(arguments))
                if n == -1 and error() != 0:
                    forget_the_error()
                    return boolean(0)
                put(d + 8 * place, n)
                arguments += 8
        state = give_up_the_gil() if word(w + 8 * LONG) else 0
        call(word(w + 8 * KERNEL), d, 0, word(w + 8 * TASKS))
        if state != 0:
            take_the_gil(state)
        return boolean(1)

    return compiled(name, function)


def compiled(name, function):
    function.__qualname__ = name
    return cfunc(types.int64(types.int64, types.int64, types.int64))(function)
