"""The diagonal Gaussian for every array library: sample, KL, likelihood and their gradients.

In all functions arrays of any one library broadcast against each other and against Python numbers, `logvar` is the
natural logarithm of the variance, and information is in nats. float16 and bfloat16 are computed in float32: samples and
modes come back in the arguments' dtype, all else in float32 or wider, and each gradient in its argument's dtype.
`bounds` puts the log-variance through a bound first; with None it is taken as it is. `axis` is what to sum over:
everything, where it is not given. Dtypes that are not floating, mixed dtypes, libraries and devices are a TypeError or
ValueError, as are shapes that do not broadcast and axes out of range. NaN and inf never raise.
"""

import typing as _typing

from agauss import ops
from agauss import random as random
from agauss.backends.cpu import threads as _threads  # noqa: F401, to see forks from here on, whoever started Numba's threads
from agauss.distributions import DiagonalGaussianDistribution as DiagonalGaussianDistribution
from agauss.distributions import DiracDistribution as DiracDistribution
from agauss.explanation import explain as explain
from agauss.ops import *
from agauss.versions import show_versions as show_versions

__version__ = "0.1.0"

_others = ["DiagonalGaussianDistribution", "DiracDistribution", "explain", "random", "show_versions"]
_names = sorted([*ops.NAMES, *_others])
if not _typing.TYPE_CHECKING:  # type checkers go by the imports
    __all__ = _names


def __dir__() -> list[str]:
    return [*_names, "__version__"]
