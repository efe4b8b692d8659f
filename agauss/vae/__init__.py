"""The rest of a VAE around its posterior: objectives, gradient estimators, latents, schedules and diagnostics.

Plain functions of arrays of any library, most with their ``*_vjp``. Values are for one datum, in nats: pixels and
latents are summed before, and data averaged after (docs/sum-or-mean.md). Errors, dtypes and broadcasting are those of
``help(agauss)``.
"""

import typing as _typing

from agauss.vae import anomalies, diagnostics, estimators, experts, importance, latents, objectives, schedules
from agauss.vae.anomalies import *
from agauss.vae.diagnostics import *
from agauss.vae.estimators import *
from agauss.vae.experts import *
from agauss.vae.importance import *
from agauss.vae.latents import *
from agauss.vae.objectives import *
from agauss.vae.schedules import *

_FILES = (anomalies, diagnostics, estimators, experts, importance, latents, objectives, schedules)
_names = sorted([name for file in _FILES for name in file.__all__])
if not _typing.TYPE_CHECKING:  # type checkers go by the imports
    __all__ = _names


def __dir__() -> list[str]:
    return _names
