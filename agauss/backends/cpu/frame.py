"""The fields of a frame, a vector of int64 on a kernel's stack; knows neither Numba nor NumPy.

In it a kernel and the functions of tiles.py tell each other which tile they are at, and where its arrays are.
"""

# A head, and then for each array its address at the tile and how it is stored there.
(
    INPUTS,
    LOADED,  # inputs that lie in memory: all, or all but the noise, which comes last
    OUTPUTS,
    HALVES,  # whether the kernel converts half types itself
    TASK,  # the one that is gone through,
    END,  # and the one after the last
    START,  # the element of the pass that the tile begins at,
    LAST,  # and the one that the task ends before
    COUNT,  # elements of the tile
    ROW,  # the innermost row that it begins in,
    COLUMN,  # and where in the row
    TOTAL,  # the sum of the task's tiles so far, the bits of a float64
    ARRAYS,
) = range(13)
EACH = 2  # words for each array
