"""The fields of a work descriptor and of a tile's frame, vectors of int64; knows neither Numba nor NumPy.

A descriptor names no dtype but the code of each array's storage, so one loop reads and writes arrays of any.
"""

# The head of a descriptor, then the extents of the dimensions, then for each array its address, its storage, the bounds
# on its values (the bits of two float64) and its strides in elements.
(
    COMPUTE,  # the address of the function that computes a tile,
    NOISE,  # and of the one that makes the noise of the last input, or 0
    INPUTS,
    ARRAYS,  # inputs and outputs
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
) = range(18)
ADDRESS, STORAGE, LOW, HIGH, STRIDES = range(5)
# Storage: the computing dtype or a half type, and BUFFERED more where tiles must be copied to and from scratch.
DIRECT, FLOAT16, BFLOAT16 = range(3)
BUFFERED = 4

# A frame says which tile is being computed: a head, and then for each array its address there and how it is stored.
(
    ROW,  # the innermost row that the tile begins in,
    COLUMN,  # and where in the row
    SUMMANDS,  # the address of the values that are added up,
    SUMMED,  # and that of the lanes' sums
    FIRST,
) = range(5)
EACH = 2
