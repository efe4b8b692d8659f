"""What XLA hands to a handler, and what a call's attribute holds; knows neither Numba nor JAX.

XLA's typed foreign-function interface hands over one pointer, to a call frame. Its structs are public, in jaxlib's
include/xla/ffi/api/c_api.h. XLA refuses a handler of another version than its own.
"""

import os
import sys

# The offset of a field in its struct, each named as in the header but for XLA_FFI_.
OFFSETS = {
    "CallFrame.extension_start": 8,
    "CallFrame.api": 16,
    "CallFrame.ctx": 24,
    "CallFrame.args": 40,
    "CallFrame.rets": 80,
    "CallFrame.attrs": 120,
    "Args.args": 32,
    "Rets.rets": 32,
    "Attrs.attrs": 40,
    "Buffer.data": 24,
    "Array.size": 8,
    "Array.data": 16,
    "Extension_Base.type": 8,
    "Metadata_Extension.metadata": 24,
    "Metadata.api_version": 8,
    "Api_Version.major_version": 16,
    "Api_Version.minor_version": 20,
    "Api.XLA_FFI_Error_Create": 48,
    "Api.XLA_FFI_Error_Destroy": 64,
    "Api.XLA_FFI_Stream_Get": 80,
    "Api.XLA_FFI_ThreadPool_Schedule": 136,
    "Api.XLA_FFI_ThreadPool_NumThreads": 144,
}
(
    FRAME_EXTENSION,
    FRAME_API,
    FRAME_CONTEXT,
    FRAME_ARGS,
    FRAME_RETS,
    FRAME_ATTRS,
    ARGS_ARGS,
    RETS_RETS,
    ATTRS_ATTRS,
    BUFFER_DATA,
    ARRAY_SIZE,
    ARRAY_DATA,
    EXTENSION_TYPE,
    EXTENSION_METADATA,
    METADATA_VERSION,
    VERSION_MAJOR,
    VERSION_MINOR,
    API_ERROR_CREATE,
    API_ERROR_DESTROY,
    API_STREAM_GET,
    API_SCHEDULE,
    API_NUM_THREADS,
) = OFFSETS.values()
VERSION = 0, 3
METADATA_EXTENSION = 1
FAILED_PRECONDITION = 9

# The call's one attribute, a vector of int64: a head, six numbers for each array, and the descriptor, which on a CUDA
# device is a kernel's struct Work. The six:
# - `slot`, where in the descriptor the array's address goes, or the word in it; -1 is nowhere;
# - `kind`, which of the two it is;
# - `number`, of the argument or the result that it lies in;
# - `offset`, in bytes, where it begins there;
# - `step`, in bytes, from where one turn's begins to where the next one's does;
# - `fresh`, the bytes of the result that begins there, if it is one.
(
    KERNEL,  # the digest that the walk or the device's kernel is known by, or 0 to copy the first argument's first word
    TURNS,  # how often it is run, each time on the next part of the buffers; once on a device
    SOURCES,  # arrays that are read, and after them
    SINKS,  # those that are written
    # On a CUDA device:
    BLOCKS,  # that are launched; 0 is on the CPU
    THREADS,  # of each block
    COUNTER,  # the place in the descriptor of the address of a counter, which is to be 0; 0 where there is none
    # On the CPU:
    TASKS,
    PARALLEL,
    ROWS,  # of the partial sums in the last sink, which are added up in the one before; 0 where there are none,
    PARTIALS,  # and how many there are in each
    TOTAL,  # what they are added up in
    HEAD,
) = range(13)
ADDRESS, WORD = range(2)
PER_ARRAY = 6
TOTALS = ("float32", "float64", "int32", "int64", "float16", "bfloat16")
MOST_WORDS = 512  # of a descriptor, which lies on the stack

# The process's own vector of int64, which both functions read by the name of a symbol.
SYMBOL = "agauss_xla_kernels"
(
    HELPER,  # the address of the second function,
    UNKNOWN,  # and of the texts of two errors
    REFUSED,
    LAUNCH,  # and of cuLaunchKernelEx and
    SET,  # cuMemsetD32Async of CUDA's driver
    COUNT,
    FIRST,  # of so many pairs of a digest and an address
) = range(7)

# The state of a pass that several threads share, on the heap: a thread may come when all is done.
NEXT, DONE, USERS, OF_KERNEL, OF_DESCRIPTOR, OF_TASKS, PARTS, STATE = range(8)
PARTS_PER_THREAD = 4
YIELD = "SwitchToThread" if os.name == "nt" else "sched_yield"
ADVISE = "madvise" if sys.platform == "linux" else ""
LARGE, PAGE, HUGE_PAGES = 1 << 22, 4096, 14  # bytes of what it pays for; Linux's MADV_HUGEPAGE
FUNCTIONS = tuple(filter(None, (YIELD, ADVISE, "NRT_Allocate", "NRT_Free")))  # of C and Numba, which must be there
