"""The fields of a work descriptor, a vector of int64 that a kernel reads; knows neither Numba nor NumPy.

It names no dtype but the code of each array's storage, so one kernel reads and writes arrays of any.
"""

# The head of a descriptor, then the extents of the dimensions, then for each array its address, its storage, the bounds
# on its values (the bits of two float64) and its strides in elements.
(
    SIZE,  # elements in all
    INNER_ROWS,  # map: innermost rows in a tile, or
    PIECES,  # tiles in an innermost row
    COLUMNS,  # row-reduce: elements in a row
    SUMS,  # the address of the tasks' sums, in
    FINAL,  # the computing dtype where a task sums a whole row, or else float64
    NDIM,
    SEED_LOW,
    SEED_HIGH,
    DRAW,
    STREAM,
    BATCH_AXIS,  # the dimension whose places are looked up in
    INDEX,  # the address of the sample ids
    EXTENTS,
) = range(14)
ADDRESS, STORAGE, LOW, HIGH, STRIDES = range(5)
# Storage: the computing dtype or a half type, and BUFFERED more where tiles are copied to and from scratch.
DIRECT, FLOAT16, BFLOAT16 = range(3)
BUFFERED = 4
