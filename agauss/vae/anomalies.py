"""How odd a datum is to a model: conformal p-values of its evidence lower bound."""

from __future__ import annotations  # help() shows them as they are written

from agauss.arrays import operands
from agauss.typing import Array
from agauss.vae.arguments import as_array, computing, wide

__all__ = ["anomaly"]


def anomaly(elbo: Array, reference: Array) -> Array:
    """Conformal p-value of each datum: ``(1 + #{reference <= elbo}) / (n + 1)``. Small is anomalous.

    Where a datum is exchangeable with the n reference data, its p-value is at most p with a probability of at most p,
    whatever the model. So the reference must be data that the model was not trained on. Any score will do that is low
    for what is odd: an ELBO, or ``iwae``'s bound.

    Parameters
    ----------
    elbo : array
    reference : array
        Of any shape, and at least one value. NaN is left out, and out of n.

    Returns
    -------
    array like ``elbo``
        Multiples of 1 / (n + 1), float32 or wider. A tie counts as less odd. NaN where elbo is NaN.

    Raises
    ------
    TypeError, ValueError
        As ``help(agauss)`` says; for an empty reference.

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005; Bates et al., "Testing for outliers with
    conformal p-values", 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from agauss import vae
    >>> vae.anomaly(np.array([-200.0, -90.0]), reference=np.array([-100.0, -95.0, -90.0, -85.0]))
    array([0.2, 0.8])
    """
    given = operands(("elbo",), (elbo,))
    known = operands(("reference",), (reference,))
    if 0 in known.shape:
        raise ValueError(f"reference must not be empty; got shape {known.shape}")
    values = known.library.xp.reshape(wide(known)[0], (-1,))
    operands(("elbo", "reference"), (given.arrays[0], known.library.xp.reshape(known.arrays[0], (-1,))[:1]))
    with computing(given) as xp:
        scores = xp.reshape(wide(given)[0], (-1,))
        missing = xp.isnan(values)
        ordered = xp.sort(xp.where(missing, xp.full_like(values, float("inf")), values))
        n = xp.sum(xp.astype(~missing, given.wide))
        count = xp.astype(xp.searchsorted(ordered, scores, side="right"), given.wide)
        count = xp.where(count < n, count, n)  # what is missing was put last
        p = xp.where(xp.isnan(scores), scores, (1 + count) / (n + 1))
        return as_array(given, xp.reshape(p, given.shape))
