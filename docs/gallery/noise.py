"""
The same noise on four libraries
================================

Noise is a function of the key and of an element's place. So the library, its device and the blocks of a Dask array do
not matter. :doc:`/randomness` says how to use keys.
"""

import dask.array as da
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import torch

import agauss as ag

shape = (32, 32)
zeros = {
    "NumPy": np.zeros(shape, "float32"),
    "PyTorch": torch.zeros(shape),
    "JAX": jnp.zeros(shape),
    "Dask, 4 blocks": da.zeros(shape, dtype="float32", chunks=16),
}

# %%
# A sample whose mean and log-variance are 0 is the noise itself. Here it has the same bits on each library.

noise = {name: np.asarray(ag.sample(zero, zero, rng=ag.random.Key(7))) for name, zero in zeros.items()}
assert all((eps == noise["NumPy"]).all() for eps in noise.values())

figure, axes = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained")
for place, (name, eps) in zip(axes, noise.items(), strict=True):
    place.imshow(eps, cmap="gray")
    place.set(title=name, xticks=[], yticks=[])
plt.show()
