"""The formulas of the diagonal Gaussian: a check for each, at ordinary points, where the reference is right too."""

import numpy as np

from agauss.conformance import expected
from agauss.conformance.expected import Truth, total
from agauss.conformance.faults import BATCH, ELEMENT, LATENTS, SUM
from agauss.conformance.libraries import NotApplicable
from agauss.conformance.subject import Checks, Finding, Findings, Subject, event, ordinary, silent

FORMULAS = Checks()
EVENT = event(LATENTS)
CLOSED_FORM = f"the closed form, within {SUM} ulp of the terms"


@FORMULAS.add("shapes and dtypes", "the mean's shape, or (B,) for sums; the parameters' dtype")
def shapes_and_dtypes(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        q = s.of(mean, logvar)
        latents = {name: getattr(q, name) for name in ("mean", "logvar", "std", "var")}
        latents |= {"sample": q.sample(**s.source(1)), "mode": q.mode()}
        sums = {"kl": q.kl(), "kl to another": q.kl(q), "nll": q.nll(s.library.array(mean))}
        for name, value in (latents | sums).items():
            yield s.form(name, value, LATENTS if name in latents else LATENTS[:1], dtype)


@FORMULAS.add("mean, logvar and mode", "halves along axis 1, logvar clamped to [-30, 20]")
def mean_and_logvar(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        logvar[0] *= 20
        q = s.of(mean, logvar)
        yield s.equal("mean", q.mean, mean)
        yield s.equal("logvar", q.logvar, np.clip(logvar, -30, 20))
        yield s.equal("mode", q.mode(), mean)


@FORMULAS.add("std and var", f"exp(logvar / 2) and exp(logvar), within {ELEMENT} ulp")
def std_and_var(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        q = s.of(mean, logvar)
        yield s.near(f"{dtype} std", q.std, total(expected.std(logvar)), ELEMENT)
        yield s.near(f"{dtype} var", q.var, total(expected.var(logvar)), ELEMENT)


@FORMULAS.add("deterministic: std, var and mode", "0, 0 and the mean")
def deterministic_moments(s: Subject) -> Findings:
    mean, logvar = ordinary(LATENTS)
    q = s.of(mean, logvar, deterministic=True)
    for name, value, want in (("std", q.std, mean * 0), ("var", q.var, mean * 0), ("mode", q.mode(), mean)):
        yield s.equal(name, value, want)


@FORMULAS.add("kl", CLOSED_FORM)
def kl_to_the_prior(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        given = ordinary(LATENTS, dtype)
        yield s.near(dtype, s.of(*given).kl(), total(expected.kl(*given), EVENT), SUM)


@FORMULAS.add("kl to another", CLOSED_FORM)
def kl_to_another(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        one, other = ordinary(LATENTS, dtype), ordinary(LATENTS, dtype, seed=1)
        yield s.near(dtype, s.of(*one).kl(s.of(*other)), total(expected.kl(*one, *other), EVENT), SUM)


@FORMULAS.add("nll", CLOSED_FORM)
def nll(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        given, (x, _) = ordinary(LATENTS, dtype), ordinary(LATENTS, dtype, seed=1)
        yield s.near(dtype, s.of(*given).nll(s.library.array(x)), total(expected.nll(x, *given), EVENT), SUM)


@FORMULAS.add("nll over dims [2, 3]", f"shape (B, C), {CLOSED_FORM}")
def nll_over_dims(s: Subject) -> Findings:
    given, (x, _) = ordinary(LATENTS), ordinary(LATENTS, seed=1)
    yield s.near("nll", s.of(*given).nll(s.library.array(x), [2, 3]), total(expected.nll(x, *given), (2, 3)), SUM)


@FORMULAS.add("normal_kl", f"elementwise, broadcast, not clamped, within {SUM} ulp of the terms")
def normal_kl(s: Subject) -> Findings:
    if s.normal_kl is None:
        raise NotApplicable("no normal_kl in the module")
    for dtype in s.library.dtypes:
        (mean1, logvar1), (mean2, logvar2) = ordinary((2, 3, 4), dtype), ordinary((3, 1), dtype, seed=1)
        logvar1[0, 0, :2] = -50, 30
        given = mean1, logvar1, mean2, logvar2
        yield s.near(dtype, s.normal_kl(*map(s.library.array, given)), total(expected.kl(*given)), SUM)
        numbers = 0.5, 0.25, -1.0
        got = s.normal_kl(s.library.array(mean1), *numbers)
        yield s.near(f"{dtype} and numbers", got, total(expected.kl(mean1, *numbers)), SUM)


# The sample


@FORMULAS.add("sample: seeds", "one seed, the same latents; another, others")
def seeds(s: Subject) -> Findings:
    q = s.of(*ordinary(LATENTS))
    one = s.sample(q, 3)
    yield silent(np.array_equal(s.sample(q, 3), one), "other latents from the same seed")
    yield silent(not np.any(s.sample(q, 4) == one), "the same latents from another seed")


@FORMULAS.add("sample", f"mean + std * noise, within {ELEMENT} ulp of the terms")
def sample_is_an_affine_map_of_the_noise(s: Subject) -> Findings:
    """The noise is the sample of a standard normal from the same seed."""
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        eps = s.sample(s.of(mean * 0, logvar * 0), 3)
        z = s.of(mean, logvar).sample(**s.source(3))
        yield s.near(dtype, z, total(expected.sample(mean, logvar, eps)), ELEMENT)


@FORMULAS.add("noise", "standard normal, uncorrelated: within 6 standard deviations")
def noise_is_standard_normal(s: Subject) -> Findings:
    """Six standard deviations, for one seed in 10^8 fails by chance."""
    zeros = np.zeros(BATCH, np.float32)
    eps = s.sample(s.of(zeros, zeros), 3).astype(np.float64)
    for name, values, mean, variance in (
        ("mean", eps, 0, 1),
        ("variance", eps**2, 1, 2),
        ("fourth moment", eps**4, 3, 96),
        ("neighbours' product", eps[..., :-1] * eps[..., 1:], 0, 1),
        ("samples' product", eps[:-1] * eps[1:], 0, 1),
    ):
        off = (np.mean(values) - mean) / np.sqrt(variance / values.size)
        yield abs(off) <= 6, f"{name} {off:+.1f}"


# Gradients, by the library's own autograd


@FORMULAS.add("gradient of kl", CLOSED_FORM)
def gradient_of_kl(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        parameters = s.library.array(np.concatenate([mean, logvar], axis=1))
        got = s.library.gradient(lambda p: s.cls(p).kl().sum(), parameters)
        yield s.near(dtype, got, joined(expected.kl_gradient(mean, logvar)), SUM)


@FORMULAS.add("gradient of nll", CLOSED_FORM)
def gradient_of_nll(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        yield gradient_of_nll_in(s, dtype)


def gradient_of_nll_in(s: Subject, dtype: str) -> Finding:
    (mean, logvar), (values, _) = ordinary(LATENTS, dtype), ordinary(LATENTS, dtype, seed=1)
    parameters, x = s.library.array(np.concatenate([mean, logvar], axis=1)), s.library.array(values)
    got = s.library.gradient(lambda p: s.cls(p).nll(x).sum(), parameters)
    return s.near(dtype, got, joined(expected.nll_gradient(values, mean, logvar)), SUM)


@FORMULAS.add("gradient of sample", CLOSED_FORM)
def gradient_of_sample(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        eps = s.sample(s.of(mean * 0, logvar * 0), 3)
        parameters = s.library.array(np.concatenate([mean, logvar], axis=1))
        got = s.library.gradient(lambda p: s.cls(p).sample(**s.source(3)).sum(), parameters)
        yield s.near(dtype, got, joined(expected.sample_gradient(logvar, eps)), SUM)


def joined(gradients: tuple[list[object], list[object]]) -> Truth:
    """The parameters' gradient, of the mean's and the log-variance's."""
    return Truth(*(np.concatenate(pair, axis=1) for pair in zip(*map(total, gradients), strict=True)))
