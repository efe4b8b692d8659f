"""Functions that all kernels of a dtype share: each is compiled once, and kernels call it by a name that LLVM knows.

Numba would copy them into every kernel, which would take longer to compile.
"""

import numpy as np
from llvmlite import ir
from numba import cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable
from numba.np.numpy_support import from_dtype

from agauss.backends.cpu import cache

_functions = {}


def shared(function):
    """A call of the function (descriptor, array, row, column, n, scratch, x), which returns a pointer to x's dtype."""
    name = function.__name__
    _functions[name] = register_jitable(function)

    @intrinsic
    def call(typing_context, d, array, row, column, n, scratch, x):
        def codegen(context, builder, signature, args):
            *args, _ = args
            of = ir.FunctionType(context.get_value_type(scratch), [a.type for a in args])
            key = cache.key(name, x.name)  # by which kernels.py has made it known
            return builder.call(cgutils.get_or_insert_function(builder.module, of, key), args)

        return scratch(d, *[types.int64] * 4, scratch, x), codegen

    return call


def make(name, key, dtype):
    """The function of that name for a dtype, compiled under the name `key`."""
    function, zero, scratch = _functions[name], dtype(0), types.CPointer(from_dtype(np.dtype(dtype)))

    def alone(d, array, row, column, n, scratch):
        return function(d, array, row, column, n, scratch, zero)

    alone.__qualname__ = key
    signature = scratch(types.CPointer(types.int64), *[types.int64] * 4, scratch)
    return cfunc(signature, error_model="numpy")(alone)
