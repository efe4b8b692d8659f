"""Each check of `python -m agauss.conformance` is seen to fail, by a class with one fault."""

import numpy as np
import pytest
import torch
from conformance_classes import CHECKS, CPU_AND_GPU, NEAR_THE_PRIOR, Right, came, results
from quick import nightly_unless

import agauss as ag
from agauss.conformance import run
from agauss.conformance.libraries import NumPy
from agauss.integrations import torch as agt

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")

# Each check is seen to fail: classes with one fault each

LATENTS = (2, 3, 4, 5)
MUTANTS = {}  # (row, fault) -> class, arrays, normal_kl


def mutant(row, fault, arrays="numpy", normal_kl=ag.normal_kl):
    def add(cls):
        MUTANTS[row, fault] = cls, arrays, normal_kl
        return cls

    return add


def method_mutant(row, fault, name, method, base=Right, arrays="numpy"):
    """A class that has one method, or property, of its own, which is given the right one's value."""
    right = getattr(base, name)

    def changed(self, *args, **kwargs):
        value = right.fget(self) if isinstance(right, property) else right(self, *args, **kwargs)
        return method(self, value, *args, **kwargs)

    if name == "sample":
        changed = sample_mutant(changed)
    changed = property(changed) if isinstance(right, property) else changed
    mutant(row, fault, arrays)(type(f"Wrong{len(MUTANTS)}", (base,), {name: changed, "__doc__": "Wrong."}))


def sample_mutant(changed):
    def sample(self, rng=None, *, index=None):
        return changed(self, rng, index=index)

    return sample


# Ranks
method_mutant("5-D: kl and nll", "shape", "kl", lambda q, v, *_: np.repeat(v, 5, 0) if len(q.shape) == 5 else v)
method_mutant("5-D: kl and nll", "nll", "nll", lambda q, v, *_: v * (1 + 1e-5) if len(q.shape) == 5 else v)
method_mutant("2-D: kl and nll", "value", "nll", lambda q, v, *_: v * (1 + 1e-5) if len(q.shape) == 2 else v)
method_mutant("3-D: kl and nll", "inf", "kl", lambda q, v, *_: v * np.inf if len(q.shape) == 3 else v)

# deterministic=True
method_mutant(
    "deterministic: kl and nll", "dtype", "kl", lambda q, v, *_: v.astype("float32") if q.deterministic and not _ else v
)
method_mutant("deterministic: kl and nll", "shape", "nll", lambda q, v, *_: v[:1] if q.deterministic else v)
method_mutant("deterministic: kl and nll", "value", "nll", lambda q, v, *_: v + 1 if q.deterministic else v)
method_mutant(
    "deterministic: kl and nll",
    "device",
    "kl",
    lambda q, v, *_: torch.zeros(v.shape, dtype=v.dtype) if q.deterministic and not _ else v,
    agt.DiagonalGaussianDistribution,
    "torch",
)
for fault, wrong in {
    "nan at its mean": lambda same: np.where(same, np.nan, np.inf),
    "finite elsewhere": lambda same: np.where(same, np.inf, 1.0),
}.items():
    method_mutant(
        "kl to a deterministic distribution",
        fault,
        "kl",
        lambda q, v, other=None, *, wrong=wrong: (
            wrong(np.full(v.shape, np.array_equal(q.mean, other.mean)))
            if other and other.deterministic and not q.deterministic
            else v
        ),
    )
method_mutant(
    "kl to a deterministic distribution",
    "points",
    "kl",
    lambda q, v, other=None: np.zeros_like(v) if other and other.deterministic and q.deterministic else v,
)
method_mutant(
    "deterministic: sample", "rng", "sample", lambda q, v, rng, **_: (q.deterministic and rng and rng.random(), v)[1]
)
method_mutant(
    "deterministic: sample",
    "global",
    "sample",
    lambda q, v, *_, **__: (q.deterministic and np.random.random(), v)[1],  # noqa: NPY002
)
method_mutant("deterministic: sample", "value", "sample", lambda q, v, *_, **__: v + q.deterministic)
method_mutant("deterministic: std, var and mode", "std", "std", lambda q, v: v + q.deterministic)


# Arguments and memory
@mutant("odd channel count", "accepted")
class AcceptsOdd(Right):
    def __init__(self, parameters, *args, **kwargs):
        super().__init__(parameters[:, : parameters.shape[1] // 2 * 2], *args, **kwargs)


@mutant("odd channel count", "unclear")
class UnclearAboutOdd(Right):
    def __init__(self, parameters, *args, **kwargs):
        if parameters.shape[1] % 2:
            raise ValueError("bad shape")
        super().__init__(parameters, *args, **kwargs)


@mutant("editing mean", "an alias")
class MeanIsAnAlias(Right):
    """Says nothing of it."""

    @property
    def mean(self):
        return self._mean


@mutant("editing mode()", "an alias of the parameters")
class ModeIsAnAlias(Right):
    def mode(self):
        return self._mean


@mutant("editing mode()", "an alias of a copy")
class ModeIsAnAliasOfACopy(Right):
    def mode(self):
        if not hasattr(self, "copy"):
            self.copy = self._mean.copy()
            self._mean = self.copy
            self._logvar = self._logvar.copy()
        return self.copy


@mutant("memory held by a distribution", "in a slot")
class KeepsStd(Right):
    __slots__ = ("kept",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = [super().std]


@mutant("memory held by a distribution", "after use")
class RemembersStd(Right):
    @property
    def std(self):
        if "kept" not in self.__dict__:
            self.kept = {"std": super().std}
        return self.kept["std"]


@mutant("memory held by a distribution", "torch", "torch")
class KeepsVar(agt.DiagonalGaussianDistribution):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = super().var


# Half precision


def is_half(q):
    return q.dtype == np.float16


method_mutant("float16, logvar 20", "var", "var", lambda q, v: v * (np.inf if is_half(q) and v.max() > 1e5 else 1))
method_mutant("float16, logvar 20", "kl", "kl", lambda q, v, *_: v * np.inf if is_half(q) and v.max() > 1e6 else v)
method_mutant(
    "float16, logvar -30", "dtype of var", "var", lambda q, v: v.astype("float16") if is_half(q) and v.max() < 1 else v
)
method_mutant(
    "float16, logvar -30",
    "dtype of nll",
    "nll",
    lambda q, v, *_: v.astype("float16") if is_half(q) and v.size == 1 else v,
)
method_mutant("float16, logvar -30", "var", "var", lambda q, v: v * (not is_half(q) or v.min() > 1e-9))
method_mutant("float16, logvar -30", "nll", "nll", lambda q, v, *_: v * np.nan if is_half(q) and v.size == 1 else v)
method_mutant(
    "float16, 4 x 64 x 64, logvar -20", "inf", "kl", lambda q, v, *_: v * np.inf if q.mean[0].size == 2**14 else v
)
method_mutant("float16: sample", "float32", "sample", lambda q, v, *_, **__: v.astype("float32") if is_half(q) else v)

# Near the prior
for row, near in zip(NEAR_THE_PRIOR, (1e-2, 1e-3, 1e-4, 1e-5), strict=True):
    method_mutant(
        row,
        "8 ulp",
        "kl",
        lambda q, v, *_, logvar=near: (
            v * np.float32(1 + 1e-6) if v.size == 1 and abs(q.logvar.max() / logvar - 1) < 0.1 else v
        ),
    )


# Log-variances outside the bounds


@mutant("logvar outside [-30, 20]: gradient", "passes", "torch")
class StraightThroughByDefault(agt.DiagonalGaussianDistribution):
    def __init__(self, parameters, deterministic=False, *, bounds="straight-through"):
        super().__init__(parameters, deterministic, bounds=bounds)


@mutant("extra: gradient outside the bounds", "ignored", "torch")
class AlwaysHard(agt.DiagonalGaussianDistribution):
    def __init__(self, parameters, deterministic=False, *, bounds=None):
        super().__init__(parameters, deterministic)


method_mutant("extra: count outside the bounds", "one more", "saturated", lambda q, v: v + 1)

# normal_kl


mutant("normal_kl: integer first array", "truncates", normal_kl=lambda a, *rest: ag.normal_kl(a * 1.0, *rest))(Right)


def unclear_normal_kl(mean1, *rest):
    if mean1.dtype.kind == "i":
        raise TypeError("wrong")
    return ag.normal_kl(mean1, *rest)


mutant("normal_kl: integer first array", "unclear", normal_kl=unclear_normal_kl)(Right)


def clamping_normal_kl(mean1, logvar1, mean2, logvar2):
    return ag.normal_kl(mean1, ag.clamp(logvar1, bounds="hard") if np.ndim(logvar1) else logvar1, mean2, logvar2)


mutant("normal_kl", "clamps", normal_kl=clamping_normal_kl)(Right)
mutant("normal_kl", "numbers", normal_kl=lambda a, b, c, d: ag.normal_kl(a, b, c, d) * (1 if np.ndim(b) else 1.1))(
    Right
)

# Noise


@mutant("one seed, a batch of 10 and ten of 1", "index ignored")
class IgnoresIndex(Right):
    def sample(self, rng=None, *, index=None):
        return super().sample(rng)


@mutant("sample: seeds", "a second call")
class DrawsAnew(Right):
    def sample(self, rng=None, *, index=None):
        again, self.drawn = getattr(self, "drawn", False), not self.deterministic
        return super().sample(rng.spawn(1)[0] if again else rng, index=index)


@mutant("sample: seeds", "one for all")
class OneSeed(Right):
    def sample(self, rng=None, *, index=None):
        return super().sample(None if self.deterministic else 1, index=index)


# Formulas
method_mutant("shapes and dtypes", "dtype", "nll", lambda q, v, *_: v if q.deterministic else v.astype("float32"))
method_mutant(
    "shapes and dtypes",
    "library",
    "kl",
    lambda q, v, other=None: list(v) if other is q else v,
)
method_mutant("mean, logvar and mode", "not clamped", "logvar", lambda q, v: q._logvar)
method_mutant("mean, logvar and mode", "mean", "mean", lambda q, v: v * (1 + (v.dtype == np.float64) * 1e-15))
method_mutant("mean, logvar and mode", "mode", "mode", lambda q, v: v * (1 + (v.dtype == np.float64) * 1e-15))
method_mutant("std and var", "std", "std", lambda q, v: v * v.dtype.type(1 + 1e-6 * (v.dtype == np.float32)))
method_mutant("std and var", "var", "var", lambda q, v: v * v.dtype.type(1 + 1e-15 * (v.dtype == np.float64)))


def here(q):
    return q.shape == LATENTS and not q.deterministic


method_mutant("kl", "value", "kl", lambda q, v, *other: v * v.dtype.type(1 + 1e-5) if here(q) and not other else v)
method_mutant(
    "kl to another", "value", "kl", lambda q, v, *other: v * v.dtype.type(1 + 1e-5) if here(q) and other else v
)
method_mutant("nll", "value", "nll", lambda q, v, *_: v * v.dtype.type(1 + 1e-5) if here(q) and len(_) == 1 else v)
method_mutant("nll over dims [2, 3]", "shape", "nll", lambda q, v, *_: v.sum(axis=1) if len(_) == 2 else v)
method_mutant(
    "sample",
    "var for std",
    "sample",
    lambda q, v, *_, **__: v if is_half(q) or q.deterministic else q.mean + q.std * (v - q.mean),
)
for fault, change in {
    "mean": lambda eps: eps + np.float32(0.1),
    "variance": lambda eps: eps * np.float32(1.1),
    "fourth moment": np.sign,
    "neighbours' product": lambda eps: np.repeat(eps[..., ::2], 2, axis=-1)[..., : eps.shape[-1]],
    "samples' product": lambda eps: np.concatenate([eps[:5], eps[:5]])[[0, 5, 1, 6, 2, 7, 3, 8, 4, 9]],
}.items():
    method_mutant(
        "noise",
        fault,
        "sample",
        lambda q, v, *_, change=change, **__: change(v) if len(v) == 10 and not q.logvar.any() else v,
    )

# Gradients: the value as it is, and a thousandth more of its slope
for row in ("kl", "nll", "sample"):
    name = row
    method_mutant(
        f"gradient of {row}",
        "value",
        name,
        lambda q, v, *_, **__: v + 0.001 * (v - v.detach()) if q._mean.requires_grad else v,
        agt.DiagonalGaussianDistribution,
        "torch",
    )


class DrawsElsewhere(Right):
    """Other noise for arrays that are read-only, which stand for those on a GPU."""

    def sample(self, rng=None, *, index=None):
        if not (self.deterministic or self._mean.flags.writeable):
            rng = rng.spawn(1)[0]
        return super().sample(rng, index=index)


mutant(CPU_AND_GPU, "other noise")(DrawsElsewhere)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setattr(NumPy, "twins", lambda self, x: (x, read_only(x)))


# Every run sees each row fail by one fault; the others are slow. The one that passes gradients on computes all there is
# under another kind of bound, for which kernels are compiled.
FAULTS = {row: fault for row, fault in reversed(MUTANTS) if fault != "passes"}
RUNS = nightly_unless(lambda row, fault: FAULTS.get(row) == fault, MUTANTS, slow=lambda row, fault: fault != "passes")


@pytest.mark.parametrize(("row", "fault"), RUNS, ids=lambda value: value.replace(" ", "_"))
def test_a_fault_fails_its_own_row_alone(row, fault, two_devices):
    cls, arrays, normal_kl = MUTANTS[row, fault]
    rows = run(cls, arrays, normal_kl)
    assert {found.name: found.came for found in rows if found.result == "fail"}.keys() == {row}
    if row == "noise":
        assert came(cls, row).startswith(fault)


def test_every_check_has_been_seen_to_fail():
    assert {row for row, _ in MUTANTS} == set(CHECKS)


def test_the_class_without_a_fault_passes_on_two_devices(two_devices):
    rows = run(Right, "numpy", ag.normal_kl)
    assert results(rows, "fail") == []
    assert CPU_AND_GPU in results(rows, "pass")
