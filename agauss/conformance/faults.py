"""What the reference implementations get wrong: a check for each row of the fault table."""

import re
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from agauss.arrays import device_of, dtype_name
from agauss.conformance import expected
from agauss.conformance.expected import Truth, cancelled, total
from agauss.conformance.libraries import NotApplicable
from agauss.conformance.subject import WIDE, Checks, Findings, Subject, event, filled, ordinary, silent

FAULTS = Checks()
ONE = (1, 1, 1, 1)
LATENTS = (2, 3, 4, 5)
BATCH = (10, 4, 41, 41)  # of no round size, for generators may work on blocks of 16 numbers
ELEMENT = 4  # ulp: twice what libraries' own exp are off
SUM = 16  # ulp of the terms' sizes: 4 of the terms, and 12 of adding up some hundred, which in a row cost 5 or so


# Ranks


def a_sum_for_each_sample(shape: tuple[int, ...], s: Subject) -> Findings:
    (mean, logvar), (x, _) = ordinary(shape), ordinary(shape, seed=1)
    q = s.of(mean, logvar)
    yield s.near("kl", q.kl(), total(expected.kl(mean, logvar), event(shape)), SUM)
    yield s.near("nll", q.nll(s.library.array(x)), total(expected.nll(x, mean, logvar), event(shape)), SUM)


for shape in ((2, 3, 2, 4, 5), (2, 12), (2, 3, 4)):
    FAULTS.add(f"{len(shape)}-D: kl and nll", f"shape (B,), within {SUM} ulp")(partial(a_sum_for_each_sample, shape))


# deterministic=True


@FAULTS.add("deterministic: kl and nll", "zeros (B,), float32 or wider, on the parameters' device")
def deterministic_sums_are_zeros(s: Subject) -> Findings:
    for dtype in ("float16", *s.library.dtypes):
        q, (x, _) = s.of(*ordinary(LATENTS, dtype), deterministic=True), ordinary(LATENTS, dtype, seed=1)
        for name, value in (("kl", q.kl()), ("nll", q.nll(s.library.array(x)))):
            yield s.form(name, value, (2,), WIDE[dtype])
            yield s.equal(name, value, [0.0, 0.0])
    parameters = s.library.elsewhere(s.library.array(np.concatenate(ordinary(LATENTS), axis=1)))
    q = s.cls(parameters, deterministic=True)
    for name, value in (("kl", q.kl()), ("nll", q.nll(q.mode()))):
        yield silent(device_of(value) == device_of(parameters), f"{name} on {device_of(value)}")


@FAULTS.add("kl to a deterministic distribution", "inf, or 0 from the same point")
def kl_to_a_point(s: Subject) -> Findings:
    mean, logvar = ordinary(LATENTS)
    moved = mean.copy()
    moved[1, 0, 0, 0] += 1
    q, point, other = (
        s.of(mean, logvar),
        s.of(mean, logvar, deterministic=True),
        s.of(moved, logvar, deterministic=True),
    )
    yield s.equal("to its mean", q.kl(point), [np.inf, np.inf])
    yield s.equal("to another mean", q.kl(other), [np.inf, np.inf])
    yield s.equal("between two points", point.kl(other), [0.0, np.inf])


@FAULTS.add("deterministic: sample", "the mean, and no generator advances")
def a_point_draws_nothing(s: Subject) -> Findings:
    mean, logvar = ordinary(LATENTS)
    q = s.of(mean, logvar, deterministic=True)
    for untouched in s.source(5).values():
        (source,) = s.source(5).values()
        yield s.equal("sample", q.sample(**{str(s.source_name): source}), mean)
        same = s.library.next_number(source) == s.library.next_number(untouched)
        yield silent(same, f"{s.source_name} advanced")
    if s.library.has_global_generator:
        s.library.seed(5)
        untouched = s.library.next_number()
        s.library.seed(5)
        yield s.equal("sample", q.sample(), mean)
        yield silent(s.library.next_number() == untouched, "the global generator advanced")


# Arguments and memory


@FAULTS.add("odd channel count", "ValueError at construction that names the extent, 7")
def an_odd_channel_count_is_refused(s: Subject) -> Findings:
    parameters = s.library.array(np.zeros((2, 7, 4, 5), np.float32))
    try:
        s.cls(parameters)
    except ValueError as error:
        yield re.search(r"\b7\b", str(error)) is not None, f"ValueError: {error}"
    else:
        yield False, "no error"


@FAULTS.add("editing mean", "refused, harmless, or documented as a view")
def editing_the_mean(s: Subject) -> Findings:
    mean, logvar = ordinary(LATENTS)
    parameters = s.library.array(np.concatenate([mean, logvar], axis=1))
    if not s.library.edit(s.cls(parameters).mean):
        yield True, "refused"
    elif np.array_equal(s.library.host(parameters)[:, :3], mean):
        yield True, "harmless"
    else:
        documents = f"{s.cls.__doc__} {getattr(s.cls, 'mean', None).__doc__}"
        told = re.search(r"\bviews?\b", documents) is not None
        yield told, "documented as a view" if told else "the parameters changed"


@FAULTS.add("editing mode()", "refused or harmless")
def editing_the_mode(s: Subject) -> Findings:
    mean, logvar = ordinary(LATENTS)
    q = s.of(mean, logvar)
    effect = "harmless" if s.library.edit(q.mode()) else "refused"
    same = np.array_equal(s.library.host(q.mode()), mean)
    yield same, effect if same else "the distribution changed"


@FAULTS.add("memory held by a distribution", "the parameters' size at most, after use too")
def memory_held(s: Subject) -> Findings:
    parameters = s.library.array(np.concatenate(ordinary(LATENTS), axis=1))
    q = s.cls(parameters)
    q.kl(), q.nll(q.mode()), q.std, q.var, q.logvar
    held = sum(dict(map(s.library.storage, arrays_in(q, s.library.kind))).values())
    whole = s.library.storage(parameters)[1]
    yield held <= whole, f"{held / whole:.3g} x the parameters"


def arrays_in(holder: Any, kind: Any) -> list[Any]:
    """The arrays that an object refers to, by its attributes and its containers."""
    arrays, seen, left = [], set(), [holder]
    while left:
        x = left.pop()
        if id(x) in seen or isinstance(x, (type, ModuleType, FunctionType, BuiltinFunctionType)):
            continue
        seen.add(id(x))
        if isinstance(x, kind):
            arrays.append(x)
            continue
        left += x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple, set)) else ()
        left += getattr(x, "__dict__", {}).values()
        slots = [name for cls in type(x).__mro__ for name in np.atleast_1d(cls.__dict__.get("__slots__", ()))]
        left += [getattr(x, name) for name in slots if hasattr(x, name)]
    return arrays


# Half precision


@FAULTS.add("float16, logvar 20", f"var 4.8516520e8, kl 2.4258259e8, within {SUM} ulp")
def half_precision_at_the_upper_bound(s: Subject) -> Findings:
    mean, logvar = filled(ONE, 0.0, 20.0, "float16")
    q = s.of(mean, logvar)
    yield s.near("var", q.var, total(expected.var(logvar)), ELEMENT)
    yield s.near("kl", q.kl(), total(expected.kl(mean, logvar), event(ONE)), SUM)


@FAULTS.add("float16, logvar -30", f"float32: var 9.3576230e-14, nll at the mean -14.081061, within {SUM} ulp")
def half_precision_at_the_lower_bound(s: Subject) -> Findings:
    mean, logvar = filled(ONE, 1.0, -30.0, "float16")
    q = s.of(mean, logvar)
    nll = q.nll(s.library.array(mean))
    yield s.form("var", q.var, ONE, "float32")
    yield s.near("var", q.var, total(expected.var(logvar)), ELEMENT)
    yield s.form("nll", nll, (1,), "float32")
    yield s.near("nll", nll, total(expected.nll(mean, mean, logvar), event(ONE)), SUM)


@FAULTS.add("float16, 4 x 64 x 64, logvar -20", f"kl 155648, within {SUM} ulp")
def half_precision_sum(s: Subject) -> Findings:
    one, many = filled(ONE, 0.0, -20.0, "float16"), filled((1, 4, 64, 64), 0.0, -20.0, "float16")
    value, size = total(expected.kl(*one), event(ONE))
    yield s.near("kl", s.of(*many).kl(), Truth(value * many[0].size, size * many[0].size), SUM)


@FAULTS.add("float16: sample", "float16")
def half_precision_samples(s: Subject) -> Findings:
    yield s.form("sample", s.of(*ordinary(LATENTS, "float16")).sample(**s.source(1)), LATENTS, "float16")


# Near the prior


def kl_near_the_prior(logvar: float, s: Subject) -> Findings:
    given = filled(ONE, 0.0, logvar)
    yield s.near("kl", s.of(*given).kl(), cancelled(expected.kl(*given), event(ONE)), ELEMENT)


for logvar in (1e-2, 1e-3, 1e-4, 1e-5):
    true = float(cancelled(expected.kl(*filled((), 0.0, logvar))).value)
    FAULTS.add(f"kl at mean 0, logvar {logvar:.0e}", f"{true:.8g}, within {ELEMENT} ulp")(
        partial(kl_near_the_prior, logvar)
    )


# Log-variances outside the bounds


def gradients_by_logvar(s: Subject, **options: Any) -> Any:
    """The gradients of kl by log-variances under, within and over the bounds."""
    mean, logvar = filled(LATENTS, 0.0, 0.5)
    logvar[:, 0], logvar[:, 2] = -35.0, 25.0
    parameters = s.library.array(np.concatenate([mean, logvar], axis=1))
    gradient = s.library.gradient(lambda p: s.cls(p, **options).kl().sum(), parameters)
    return s.library.host(gradient)[0, 3:, 0, 0]


@FAULTS.add("logvar outside [-30, 20]: gradient", "0 outside, not inside")
def the_gradient_stops_outside(s: Subject) -> Findings:
    gradients = gradients_by_logvar(s)
    yield np.array_equal(gradients != 0, [False, True, False]), ", ".join(f"{g:.3g}" for g in gradients)


# normal_kl


@FAULTS.add("normal_kl: integer first array", "TypeError or ValueError that names its dtype")
def normal_kl_refuses_integers(s: Subject) -> Findings:
    if s.normal_kl is None:
        raise NotApplicable("no normal_kl in the module")
    integers = s.library.array(np.array([1, 2]))
    try:
        value = s.normal_kl(integers, 0.5, 0.0, 0.0)
    except (TypeError, ValueError) as error:
        yield dtype_name(integers.dtype) in str(error), f"{type(error).__name__}: {error}"
    else:
        true = total(expected.kl([1, 2], 0.5)).value.astype(float)
        yield False, f"no error; {s.library.host(value).tolist()} instead of {true.round(4).tolist()}"


# Noise


@FAULTS.add("one seed, CPU and GPU", "the same bits")
def one_seed_on_both_devices(s: Subject) -> Findings:
    for dtype in ("float16", *s.library.dtypes):
        # At the standard normal a sample is the noise itself.
        twins = s.library.twins(s.library.array(np.zeros((2, 6, 4, 5), dtype)))
        on_cpu, on_gpu = (s.sample(s.cls(parameters), 3) for parameters in twins)
        yield silent(np.array_equal(on_cpu, on_gpu), f"{dtype}: {np.sum(on_cpu != on_gpu)} of {on_cpu.size} differ")


@FAULTS.add("one seed, a batch of 10 and ten of 1", "the same bits")
def batches_of_one(s: Subject) -> Findings:
    """By `index=` where sample takes it, and otherwise in ten calls on one generator."""
    mean, logvar = ordinary(BATCH)
    whole, source = s.sample(s.of(mean, logvar), 3), s.source(3)
    differing = 0
    for b in range(10):
        one = s.of(mean[b : b + 1], logvar[b : b + 1])
        z = one.sample(**s.source(3), index=[b]) if "index" in s.sample_options else one.sample(**source)
        differing += not np.array_equal(s.library.host(z), whole[b : b + 1])
    yield silent(differing == 0, f"{differing} of 10 differ")
