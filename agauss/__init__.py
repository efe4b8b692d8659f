"""agauss: the diagonal Gaussian for every array library."""

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
