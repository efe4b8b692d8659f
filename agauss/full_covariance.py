"""The maths of the Gaussian with covariance L L^T, over whole arrays, each value followed by its vjp.

`lib` is a Library, whose `triangular` applies and solves L. Means and points are (..., D), and L is (..., D, D), of
which the lower triangle alone is read. Leading axes broadcast. A vjp's gradients have the shapes of its arguments. All
arrays are float32 or wider.
"""

from math import prod

import numpy as np

from agauss.arrays import Library
from agauss.backends.protocol import Array
from agauss.execution import pull_back, value
from agauss.maths.formulas import LOG_2PI
from agauss.operations import CLAMP, ENTROPY, KL, KL_PRIOR
from agauss.typing import Bounds


def sample(lib: Library, mean: Array, tril: Array, eps: Array) -> Array:
    rows = stacked(lib, eps, tril)
    return mean + unstacked(lib, lib.triangular.product(tril, rows), eps, tril)


def sample_vjp(lib: Library, g: Array, mean: Array, tril: Array, eps: Array) -> tuple[Array, Array]:
    return lib.summed_to(g, mean.shape), outer(lib, g, eps, tril)


def log_prob(lib: Library, x: Array, mean: Array, tril: Array) -> Array:
    xp = lib.xp
    u = solved(lib, tril, x - mean)
    log_det = xp.sum(xp.log(xp.linalg.diagonal(tril)), axis=-1)
    return -(0.5 * xp.sum(u * u, axis=-1) + (0.5 * LOG_2PI * tril.shape[-1] + log_det))


def log_prob_vjp(lib: Library, g: Array, x: Array, mean: Array, tril: Array) -> tuple[Array, Array, Array]:
    u = solved(lib, tril, x - mean)
    g = lib.xp.broadcast_to(g, u.shape[:-1])[..., None]
    slope = g * solved(lib, tril, u, transposed=True)
    # By the quadratic form L has the gradient tril(slope u^T), and by the log-determinant -1 / L on the diagonal.
    by_diagonal = slope * u - g / lib.xp.linalg.diagonal(tril)
    by_tril = lib.triangular.with_diagonal(outer(lib, slope, u, tril), lib.summed_to(by_diagonal, tril.shape[:-1]))
    return lib.summed_to(-slope, x.shape), lib.summed_to(slope, mean.shape), by_tril


def entropy(lib: Library, tril: Array) -> Array:
    return value(ENTROPY, (log_square(lib, tril),), axis=-1)


# KL is that of the diagonal Gaussians with the diagonals' log-variances, and half the squares below the diagonal. The
# first is never negative and does not cancel near equality (half_expm1x of maths/formulas.py), and nor do the squares.


def kl_prior(lib: Library, mean: Array, tril: Array) -> Array:
    below = lib.xp.tril(tril, k=-1)
    return value(KL_PRIOR, (mean, log_square(lib, tril)), axis=-1) + 0.5 * lib.xp.sum(below * below, axis=(-2, -1))


def kl_prior_vjp(lib: Library, g: Array, mean: Array, tril: Array) -> tuple[Array, Array]:
    by_mean, by_log = pull_back(KL_PRIOR, (mean, log_square(lib, tril)), g, axis=-1)
    below = lib.summed_to(g, tril.shape[:-2])[..., None, None] * lib.xp.tril(tril, k=-1)
    return by_mean, lib.triangular.with_diagonal(below, 2.0 * by_log / lib.xp.linalg.diagonal(tril))


def kl(lib: Library, mean: Array, tril: Array, mean2: Array, tril2: Array) -> Array:
    u, t, _, below = whitened(lib, mean, tril, mean2, tril2)
    return value(KL_PRIOR, (u, t), axis=-1) + 0.5 * lib.xp.sum(below * below, axis=(-2, -1))


def kl_vjp(
    lib: Library, g: Array, mean: Array, tril: Array, mean2: Array, tril2: Array
) -> tuple[Array, Array, Array, Array]:
    """With W = L2^-1 L and its gradient G, L has the gradient tril(L2^-T G), and L2 has -tril(L2^-T (G W^T + u d_u^T)),
    to which what L2^-T G has above its diagonal contributes nothing."""
    xp, triangular = lib.xp, lib.triangular
    u, t, ratio, below = whitened(lib, mean, tril, mean2, tril2)
    g = xp.broadcast_to(g, u.shape[:-1])
    by_u, by_t = pull_back(KL_PRIOR, (u, t), g, axis=-1)
    wide = (*u.shape, u.shape[-1])
    by_w = triangular.with_diagonal(g[..., None, None] * below, xp.broadcast_to(2.0 * by_t / ratio, u.shape))
    by_tril = triangular.solve_lower(tril2, by_w, transposed=True)
    slope = solved(lib, tril2, by_u, transposed=True)
    w = triangular.with_diagonal(below, xp.broadcast_to(ratio, below.shape[:-1]))
    through = triangular.outer(slope[..., None, :], u[..., None, :])
    by_tril2 = -(triangular.lower(xp.matmul(by_tril, w.mT)) + through)
    return (
        lib.summed_to(slope, mean.shape),
        lib.summed_to(xp.broadcast_to(by_tril, wide), tril.shape),
        lib.summed_to(-slope, mean2.shape),
        lib.summed_to(xp.broadcast_to(by_tril2, wide), tril2.shape),
    )


def kl_diagonal(lib: Library, mean: Array, tril: Array, mean2: Array, logvar2: Array, bounds: Bounds = None) -> Array:
    """To a diagonal Gaussian."""
    near = value(KL, (mean, log_square(lib, tril), mean2, logvar2), axis=-1, bounds=(None, bounds))
    return near + 0.5 * lib.xp.sum(weighted_squares(lib, tril, logvar2, bounds)[1], axis=-1)


def kl_diagonal_vjp(
    lib: Library, g: Array, mean: Array, tril: Array, mean2: Array, logvar2: Array, bounds: Bounds = None
) -> tuple[Array, Array, Array, Array]:
    xp = lib.xp
    arrays = (mean, log_square(lib, tril), mean2, logvar2)
    by_mean, by_log, by_mean2, by_logvar2 = pull_back(KL, arrays, g, axis=-1, bounds=(None, bounds))
    precision, squares = weighted_squares(lib, tril, logvar2, bounds)
    shape = np.broadcast_shapes(tuple(g.shape), tuple(squares.shape[:-1]))
    g = xp.broadcast_to(g, shape)[..., None]
    scale = lib.summed_to(g * precision, tril.shape[:-1])
    by_tril = lib.triangular.with_diagonal(
        scale[..., None] * xp.tril(tril, k=-1), 2.0 * by_log / xp.linalg.diagonal(tril)
    )
    through = lib.summed_to(-0.5 * g * squares, logvar2.shape)
    (by_squares,) = pull_back(CLAMP, (logvar2,), through, bounds=(bounds,))
    return by_mean, by_tril, by_mean2, by_logvar2 + by_squares


# Conversions


def cholesky(lib: Library, covariance: Array) -> Array:
    """The lower triangular factor; an error names the first covariance that has none."""
    xp = lib.xp
    try:
        return xp.linalg.cholesky(covariance)
    except (ValueError, RuntimeError):  # NumPy's LinAlgError, and PyTorch's
        for place in np.ndindex(*covariance.shape[:-2]):
            try:
                xp.linalg.cholesky(covariance[(*place, ...)])
            except (ValueError, RuntimeError):
                which = f"the one at {place} is not" if place else "it is not"
                raise ValueError(f"covariance must be positive definite; {which}") from None
        raise


def diagonal(lib: Library, std: Array) -> Array:
    """The factor of a diagonal Gaussian."""
    matrices = lib.xp.zeros_like(std[..., None] + std[..., None, :])
    return lib.triangular.with_diagonal(matrices, std)


def covariance(lib: Library, tril: Array) -> Array:
    below = lib.xp.tril(tril)
    return lib.xp.matmul(below, lib.xp.matrix_transpose(below))


def log_variance(lib: Library, tril: Array) -> Array:
    """Of the marginals, by the largest entry of each row, whose square may be beyond the dtype."""
    xp = lib.xp
    below = xp.abs(xp.tril(tril))
    largest = xp.max(below, axis=-1, keepdims=True)
    scaled = below / xp.where(largest == 0.0, xp.ones_like(largest), largest)
    return 2.0 * xp.log(largest[..., 0]) + xp.log(xp.sum(scaled * scaled, axis=-1))


# Parts


def log_square(lib: Library, tril: Array) -> Array:
    """The log-variances that a diagonal Gaussian with L's diagonal has."""
    return 2.0 * lib.xp.log(lib.xp.linalg.diagonal(tril))


def whitened(lib: Library, mean: Array, tril: Array, mean2: Array, tril2: Array) -> tuple[Array, Array, Array, Array]:
    """L2^-1 (mean - mean2); of L2^-1 L its diagonal, as log-variances and as it is, and what is below it.

    L - L2 is exact where the two are near each other, so what is made of it keeps its digits at equality.
    """
    xp = lib.xp
    own, own2 = xp.linalg.diagonal(tril), xp.linalg.diagonal(tril2)
    ratio, e = own / own2, (own - own2) / own2
    near, one = xp.abs(e) < 0.5, xp.ones_like(e)
    t = 2.0 * xp.where(near, xp.log1p(xp.where(near, e, 0.0 * one)), xp.log(xp.where(near, one, ratio)))
    below = lib.triangular.with_diagonal(lib.triangular.solve_lower(tril2, tril - tril2), 0.0 * one)
    u = solved(lib, tril2, mean - mean2)
    shape = np.broadcast_shapes(tuple(u.shape), tuple(t.shape))
    return xp.broadcast_to(u, shape), xp.broadcast_to(t, shape), ratio, below


def weighted_squares(lib: Library, tril: Array, logvar2: Array, bounds: Bounds) -> tuple[Array, Array]:
    """The precisions of a diagonal Gaussian, and by them the squares of each row of L below its diagonal."""
    xp = lib.xp
    precision = xp.exp(-value(CLAMP, (logvar2,), bounds=(bounds,)))
    below = xp.tril(tril, k=-1)
    squares = xp.sum(below * below, axis=-1)
    return precision, xp.where(squares == 0.0, squares, squares * precision)  # a point that is hit costs nothing


def solved(lib: Library, tril: Array, v: Array, transposed: bool = False) -> Array:
    """The solution u of L u = v, or of transposed L u = v."""
    solve = lib.triangular.solve_transposed if transposed else lib.triangular.solve
    return unstacked(lib, solve(tril, stacked(lib, v, tril)), v, tril)


def outer(lib: Library, v: Array, w: Array, tril: Array) -> Array:
    """The lower triangle of v w^T, added up to L's shape."""
    found = lib.triangular.outer(stacked(lib, v, tril), stacked(lib, w, tril))
    return lib.summed_to(found, tril.shape)


def stacked(lib: Library, v: Array, tril: Array) -> Array:
    """Vectors (..., D) as rows (..., N, D), N for each L: those along leading axes that L has not."""
    xp, batch, d = lib.xp, tuple(tril.shape[:-2]), v.shape[-1]
    if tuple(v.shape[:-1]) == batch:
        return v[..., None, :]
    full = np.broadcast_shapes(tuple(v.shape[:-1]), batch)
    n = len(full) - len(batch)
    rows = xp.reshape(xp.broadcast_to(v, (*full, d)), (prod(full[:n]), *full[n:], d))
    return xp.moveaxis(rows, 0, -2)


def unstacked(lib: Library, rows: Array, v: Array, tril: Array) -> Array:
    """What was made of stacked(v), as vectors again."""
    own, batch = tuple(v.shape[:-1]), tuple(tril.shape[:-2])
    if own == batch:
        return rows[..., 0, :]
    shape = np.broadcast_shapes(own, batch)
    return lib.xp.reshape(lib.xp.moveaxis(rows, -2, 0), (*shape, v.shape[-1]))
