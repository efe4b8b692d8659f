"""Dask: agauss's functions and its distribution, which take Dask arrays as they are.

Everything is lazy and takes one task for each block of NumPy or CuPy arrays. A sample's bits are those of the eager
call, however the arrays are cut and whichever worker computes a block; sums differ by the order of their blocks, a few
ulp. A block is computed on the thread that its scheduler gave it, so workers have no more threads than they were told.

`sample_block` is for what schedules without Dask: Ray, Spark, the workers of a loader.

>>> import dask.array as da
>>> from agauss.integrations import dask as agd
>>> parameters = da.zeros((1000, 8, 4, 4), chunks=(100, 8, 4, 4), dtype="float32")
>>> q = agd.DiagonalGaussianDistribution(parameters)
>>> q.sample(rng=7)
dask.array<sample, shape=(1000, 4, 4, 4), dtype=float32, chunksize=(100, 4, 4, 4), chunktype=numpy.ndarray>
>>> q.kl().mean().compute()
np.float32(0.0)
"""

import agauss
from agauss import *  # noqa: F403
from agauss.integrations import need

need("dask.array", "dask")

__all__ = [name for name in dir(agauss) if name[0] != "_" and name != "vae"]  # which is imported when first used
