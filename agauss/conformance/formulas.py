"""The formulas of the diagonal Gaussian: a check for each, at ordinary points, where the reference is right too."""

import numpy as np

from agauss.conformance import oracles
from agauss.conformance.faults import ELEMENT, LATENTS, SUM
from agauss.conformance.libraries import NotApplicable
from agauss.conformance.oracles import ONE, Truth, exact, exp, total
from agauss.conformance.subject import Checks, Findings, Subject, event, ordinary

FORMULAS = Checks()
EVENT = event(LATENTS)


@FORMULAS.add("shapes and dtypes", "latents of the mean's shape, sums (B,), the parameters' dtype")
def shapes_and_dtypes(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        q, x = s.of(mean, logvar), s.library.array(mean)
        latents = {name: getattr(q, name) for name in ("mean", "logvar", "std", "var")}
        latents |= {"sample": q.sample(**s.source(1)), "mode": q.mode()}
        sums = {"kl": q.kl(), "kl to another": q.kl(q), "nll": q.nll(x)}
        for name, value in (latents | sums).items():
            shape = LATENTS if name in latents else LATENTS[:1]
            yield s.form(value) == (shape, dtype), f"{name} of shape {s.form(value)[0]}, {s.form(value)[1]}"


@FORMULAS.add("mean, logvar and mode", "the halves along axis 1, logvar clamped to [-30, 20]")
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
        yield s.near("std", q.std, total([exp(exact(logvar) / 2)]), ELEMENT)
        yield s.near("var", q.var, total([exp(exact(logvar))]), ELEMENT)


@FORMULAS.add("deterministic: std, var and mode", "0, 0 and the mean")
def deterministic_moments(s: Subject) -> Findings:
    mean, logvar = ordinary(LATENTS)
    q = s.of(mean, logvar, deterministic=True)
    for name, value, want in (("std", q.std, mean * 0), ("var", q.var, mean * 0), ("mode", q.mode(), mean)):
        yield s.equal(name, value, want)


@FORMULAS.add("kl", f"the closed form's sums, within {SUM} ulp of the terms")
def kl_to_the_prior(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        yield s.near(dtype, s.of(mean, logvar).kl(), total(oracles.kl(mean, logvar), EVENT), SUM)


@FORMULAS.add("kl to another", f"the closed form's sums, within {SUM} ulp of the terms")
def kl_to_another(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        one, other = ordinary(LATENTS, dtype), ordinary(LATENTS, dtype, seed=1)
        yield s.near(dtype, s.of(*one).kl(s.of(*other)), total(oracles.kl(*one, *other), EVENT), SUM)


@FORMULAS.add("nll", f"the closed form's sums, within {SUM} ulp of the terms")
def nll(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        given, (x, _) = ordinary(LATENTS, dtype), ordinary(LATENTS, dtype, seed=1)
        yield s.near(dtype, s.of(*given).nll(s.library.array(x)), total(oracles.nll(x, *given), EVENT), SUM)


@FORMULAS.add("nll over dims [2, 3]", f"shape (B, C), within {SUM} ulp of the terms")
def nll_over_dims(s: Subject) -> Findings:
    given, (x, _) = ordinary(LATENTS), ordinary(LATENTS, seed=1)
    yield s.near("nll", s.of(*given).nll(s.library.array(x), [2, 3]), total(oracles.nll(x, *given), (2, 3)), SUM)


@FORMULAS.add("normal_kl", f"element by element, broadcast, not clamped, within {SUM} ulp of the terms")
def normal_kl(s: Subject) -> Findings:
    if s.normal_kl is None:
        raise NotApplicable("no normal_kl in the class's module")
    for dtype in s.library.dtypes:
        (mean1, logvar1), (mean2, logvar2) = ordinary((2, 3, 4), dtype), ordinary((3, 1), dtype, seed=1)
        logvar1[0, 0, :2] = -50, 30
        given = mean1, logvar1, mean2, logvar2
        yield s.near(dtype, s.normal_kl(*map(s.library.array, given)), total(oracles.kl(*given)), SUM)
        numbers = s.normal_kl(s.library.array(mean1), 0.5, 0.25, -1.0)
        yield s.near("numbers", numbers, total(oracles.kl(mean1, 0.5, 0.25, -1.0)), SUM)


# The sample


@FORMULAS.add("sample, one seed twice", "the same latents, and others from another seed")
def one_seed_twice(s: Subject) -> Findings:
    q = s.of(*ordinary(LATENTS))
    one = s.sample(q, 3)
    yield np.array_equal(one, s.sample(q, 3)), "one seed: " + ("the same" if np.array_equal(one, s.sample(q, 3)) else "others")
    yield not np.any(one == s.sample(q, 4)), "two seeds: " + ("the same" if np.any(one == s.sample(q, 4)) else "others")


@FORMULAS.add("sample", f"mean + std * noise, within {ELEMENT} ulp of the terms")
def sample_is_an_affine_map_of_the_noise(s: Subject) -> Findings:
    """The noise is the sample of a standard normal from the same seed."""
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        eps = s.sample(s.of(mean * 0, logvar * 0), 3)
        z = s.of(mean, logvar).sample(**s.source(3))
        yield s.near(dtype, z, total(oracles.sample(mean, logvar, eps)), ELEMENT)


@FORMULAS.add("noise", "mean 0, variance 1, fourth moment 3, uncorrelated, each within 6 standard deviations")
def noise_is_standard_normal(s: Subject) -> Findings:
    """Six standard deviations: one seed in 10^8 fails by chance."""
    zeros = np.zeros((2, 4, 64, 128), np.float32)
    eps = s.sample(s.of(zeros, zeros), 3).astype(np.float64)
    one, other = eps.ravel()[:-1], eps.ravel()[1:]
    for name, products, mean, variance in (
        ("mean", eps, 0, 1),
        ("variance", eps**2, 1, 2),
        ("fourth moment", eps**4, 3, 96),
        ("correlation of neighbours", one * other, 0, 1),
        ("correlation of samples", eps[0] * eps[1], 0, 1),
    ):
        off = (np.mean(products) - mean) / np.sqrt(variance / products.size)
        yield abs(off) <= 6, f"{name} {off:+.1f}"


# Gradients


@FORMULAS.add("gradient of kl", f"mean and (var - 1) / 2, within {SUM} ulp of the terms")
def gradient_of_kl(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        parameters = s.library.array(np.concatenate([mean, logvar], axis=1))
        got = s.library.gradient(lambda p: s.cls(p).kl().sum(), parameters)
        yield s.near(dtype, got, halves([exact(mean)], [exp(exact(logvar)) / 2, -ONE / 2]), SUM)


@FORMULAS.add("gradient of nll", f"-(x - mean) / var and (1 - (x - mean)^2 / var) / 2, within {SUM} ulp of the terms")
def gradient_of_nll(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        (mean, logvar), (x, _) = ordinary(LATENTS, dtype), ordinary(LATENTS, dtype, seed=1)
        parameters, at = s.library.array(np.concatenate([mean, logvar], axis=1)), s.library.array(x)
        got = s.library.gradient(lambda p, at=at: s.cls(p).nll(at).sum(), parameters)
        d, var = exact(x) - exact(mean), exp(exact(logvar))
        yield s.near(dtype, got, halves([-d / var], [ONE / 2, -d * d / var / 2]), SUM)


@FORMULAS.add("gradient of sample", f"1 and std * noise / 2, within {SUM} ulp")
def gradient_of_sample(s: Subject) -> Findings:
    for dtype in s.library.dtypes:
        mean, logvar = ordinary(LATENTS, dtype)
        eps = s.sample(s.of(mean * 0, logvar * 0), 3)
        parameters = s.library.array(np.concatenate([mean, logvar], axis=1))
        got = s.library.gradient(lambda p: s.cls(p).sample(**s.source(3)).sum(), parameters)
        by_mean = [np.broadcast_to(ONE, LATENTS)]
        yield s.near(dtype, got, halves(by_mean, [exp(exact(logvar) / 2) * exact(eps) / 2]), SUM)


def halves(by_mean: list[object], by_logvar: list[object]) -> Truth:
    """The gradient by the parameters of the one by the mean and the one by the log-variance, as terms."""
    pairs = zip(total(by_mean), total(by_logvar), strict=True)
    return Truth(*(np.concatenate(pair, axis=1) for pair in pairs))
