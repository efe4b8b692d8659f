"""What the C functions that Python calls are given, and where an array's fields lie; knows neither Numba nor NumPy."""

# A function has a plan, a vector of int64: a head, four numbers for each array, and the descriptor.
(
    KERNEL,  # its address
    TASKS,
    ARRAYS,  # the function's arguments, after which come a key's three words
    SOURCES,  # how many of the arrays are read; the others are written
    NOISY,  # whether there are words
    LONG,  # whether to give up the GIL
    LENGTH,  # of the descriptor
    HEAD,
) = range(8)
# Of an array: where in the descriptor its address goes, the bits that the address must not have, and how many bytes
# from there its first byte is and the one after its last.
SLOT, MASK, FIRST, END, PER_ARRAY = range(5)
MOST_WORDS = 256  # of a descriptor, or of arrays' forms, which lie on the stack

# An object begins with a head, whose last field is its type. An array's fields, which NumPy's C headers say, follow it.
DATA = object.__basicsize__
TYPE, NDIM, EXTENTS, STRIDES, DTYPE = DATA - 8, DATA + 8, DATA + 16, DATA + 24, DATA + 40
ARRAY_TYPE, DTYPES = range(2)  # of the words that `forms` knows: NumPy's array type, float32 and float64
