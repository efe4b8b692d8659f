"""The diagonal Gaussian for every array library: sample, KL, likelihood and their gradients.

In all functions arrays of any one library broadcast against each other and against Python numbers, `logvar` is the
natural logarithm of the variance, and information is in nats. float16 and bfloat16 are computed in float32: samples and
modes come back in the arguments' dtype, all else in float32 or wider, and each gradient in its argument's dtype.
`bounds` puts the log-variance through a bound first; with None it is taken as it is. `axis` is what to sum over:
everything, where it is not given. Dtypes that are not floating, mixed dtypes, libraries and devices are a TypeError or
ValueError, as are shapes that do not broadcast and axes out of range. NaN and inf never raise.
"""

from agauss import random
from agauss.cpu import launch as _launch  # noqa: F401, to see forks from here on, whoever started Numba's threads
from agauss.distributions import DiagonalGaussianDistribution, DiracDistribution
from agauss.explanation import explain
from agauss.ops import (
    clamp,
    clamp_vjp,
    entropy,
    entropy_vjp,
    kl,
    kl_vjp,
    log_prob,
    log_prob_vjp,
    mode,
    mode_vjp,
    nll,
    nll_vjp,
    normal_kl,
    normal_kl_vjp,
    sample,
    sample_and_kl,
    sample_and_kl_vjp,
    sample_block,
    sample_vjp,
    saturated,
    std,
    std_vjp,
    var,
    var_vjp,
    vjp,
)
from agauss.versions import show_versions

__version__ = "0.1.0"

__all__ = [
    "DiagonalGaussianDistribution",
    "DiracDistribution",
    "clamp",
    "clamp_vjp",
    "entropy",
    "entropy_vjp",
    "explain",
    "kl",
    "kl_vjp",
    "log_prob",
    "log_prob_vjp",
    "mode",
    "mode_vjp",
    "nll",
    "nll_vjp",
    "normal_kl",
    "normal_kl_vjp",
    "random",
    "sample",
    "sample_and_kl",
    "sample_and_kl_vjp",
    "sample_block",
    "sample_vjp",
    "saturated",
    "show_versions",
    "std",
    "std_vjp",
    "var",
    "var_vjp",
    "vjp",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
