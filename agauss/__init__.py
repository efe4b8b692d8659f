"""The diagonal Gaussian for every array library: sample, KL, likelihood and their gradients.

In all functions arrays of any one library broadcast against each other and against Python numbers. `logvar` is the
natural logarithm of the variance, and information is in nats. float16 and bfloat16 are computed in float32. Samples,
modes and bounded log-variances have the arguments' dtype, all else is float32 or wider, and each gradient has its
argument's dtype. `bounds` puts the log-variance through a bound first; with None it is taken as it is. `axis` is what
to sum over, by default everything.

`DiagonalGaussianDistribution` and `sample_and_kl` do as the classes that they replace: they bound the log-variance to
[-30, 20] and sum over each sample. The other functions leave both to the caller. Functions need `rng`, for a gradient
needs it again. Methods of the class may go without, and take it by position too.

Dtypes that are not floating, and mixed dtypes, libraries or devices, raise TypeError or ValueError. So do shapes that
do not broadcast, and axes out of range. NaN and inf never raise.
"""

import typing as _typing

from agauss import ops
from agauss import random as random
from agauss.backends.cpu import threads as _threads  # noqa: F401, to see forks from here on, whoever started Numba's threads
from agauss.distributions import DiagonalGaussianDistribution as DiagonalGaussianDistribution
from agauss.distributions import DiracDistribution as DiracDistribution
from agauss.explanation import explain as explain
from agauss.multivariate import MultivariateNormal as MultivariateNormal
from agauss.ops import *
from agauss.versions import show_versions as show_versions

__version__ = "0.2.0"

_others = [
    "DiagonalGaussianDistribution",
    "DiracDistribution",
    "MultivariateNormal",
    "explain",
    "random",
    "show_versions",
]
_names = sorted([*ops.NAMES, *_others])
if not _typing.TYPE_CHECKING:  # type checkers go by the imports
    __all__ = _names


def _overview() -> str:
    """What there is, by kinds: help() lists it by the alphabet."""
    without = [name for name, function in ops.FUNCTIONS.items() if function not in ops.VJPS]
    kinds = {"Distributions": [name for name in _others if name[0].isupper()]}
    for file in ops.FILES:
        names = [name for name in file.__all__ if not name.endswith("_vjp")]
        kinds[file.__name__.rpartition(".")[2].capitalize()] = names
    kinds["Gradients"] = ["vjp", f"and the *_vjp of each function but sample_block, {', '.join(without)}"]
    kinds["Noise"] = [f"random.{name}" for name in random.__all__]
    kinds["Reports"] = ["explain", "show_versions"]
    kinds["The rest of a VAE"] = ["help(agauss.vae)"]
    return "\n".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())


if __doc__:  # which -OO leaves out
    __doc__ += "\n" + _overview()


def __dir__() -> list[str]:
    return [*_names, "__version__", "vae"]


if not _typing.TYPE_CHECKING:  # which would let any name pass

    def __getattr__(name: str) -> object:
        """agauss.vae, which is imported when it is first asked for."""
        if name == "vae":
            from importlib import import_module

            return import_module("agauss.vae")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
