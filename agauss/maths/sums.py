"""The order in which a row is added up, on every backend with kernels of its own; docs/numerics.md spells it out."""

LANES = 64  # partial sums side by side, whatever the width of a machine's vectors; they are added up in float64
TILE = 1024  # after so many elements,
CHUNK = 65536  # and the tiles' sums in order for so many; chunks are then added by pairs
