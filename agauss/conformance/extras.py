"""What a class may have beyond the reference's interface: a row is n/a where it lacks it, for that is no fault."""

import numpy as np

from agauss.conformance.faults import LATENTS, gradients_by_logvar
from agauss.conformance.libraries import NotApplicable
from agauss.conformance.subject import Checks, Findings, Subject, ordinary

EXTRAS = Checks()


@EXTRAS.add("extra: gradient outside the bounds", 'not 0 by bounds="soft" or "straight-through"')
def the_gradient_passes_on_request(s: Subject) -> Findings:
    """Where the gradient is always 0 outside, a log-variance can never recover."""
    try:
        s.of(*ordinary(LATENTS), bounds="soft")
    except TypeError as error:
        raise NotApplicable('the class takes no bounds="soft"') from error
    kinds = ("soft", "straight-through")
    gradients = [gradients_by_logvar(s, bounds=kind) for kind in kinds]
    passes = [bool(np.all(np.isfinite(g) & (g != 0))) for g in gradients]
    # One is enough: a library's own autograd may see a straight-through bound as the hard one that its values are.
    yield any(passes), ", ".join(f"{kind} {'' if p else 'not '}passed" for kind, p in zip(kinds, passes, strict=True))


@EXTRAS.add("extra: count outside the bounds", "saturated() [2, 0]")
def saturation_is_counted(s: Subject) -> Findings:
    if not hasattr(s.cls, "saturated"):
        raise NotApplicable("the class has no method saturated")
    mean, logvar = ordinary(LATENTS)
    logvar[0, 0, 0, :2], logvar[1, 0, 0, :2] = (-31.0, 21.0), (-30.0, 20.0)
    yield s.equal("saturated()", s.of(mean, logvar).saturated(), [2, 0])
