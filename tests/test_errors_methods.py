"""Errors of the distributions' methods name the methods' own arguments, and not those of the functions inside."""

import copy
import pickle
import re

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from refusals import assert_refused

import agauss as ag
from agauss.integrations import jax as agj
from agauss.integrations import torch as agt

OURS = {"numpy": (ag, np.asarray), "torch": (agt, torch.from_numpy), "jax": (agj, jnp.asarray)}
BOTH = (TypeError, ValueError)
ours = pytest.mark.parametrize(("module", "array"), OURS.values(), ids=list(OURS))
deterministic = pytest.mark.parametrize("deterministic", [False, True])


def ones(array, *shape, dtype="float32"):
    return array(np.ones(shape, dtype))


def of(module, array, *shape, dtype="float32", logvar=0.0, deterministic=False):
    return module.DiagonalGaussianDistribution.from_mean_logvar(ones(array, *shape, dtype=dtype), logvar, deterministic)


def bad_points(array):
    return [None, "1.0", [1.0], 1j, object(), ones(array, 2, 3, dtype="int32"), ones(array, 5, 7), ones(array, 7)]


@deterministic
@ours
def test_a_bad_sample_of_nll_and_a_bad_x_of_log_prob_are_named_so(module, array, deterministic):
    q = of(module, array, 2, 3, deterministic=deterministic)
    for bad in [*bad_points(array), ones(array, 2, 3, dtype="float16")]:
        assert_refused(q.nll, bad, kinds=BOTH, says=("^sample must",))
        assert_refused(q.nll, bad, dims=-1, kinds=BOTH, says=("^sample must",))
        assert_refused(q.log_prob, bad, kinds=BOTH, says=("^x must",))


@deterministic
@ours
def test_bad_dims_of_nll_are_named_so(module, array, deterministic):
    q = of(module, array, 2, 3, deterministic=deterministic)
    for bad in ("1", 1.5, (0.5,), 2, -3, (1, 1), (1, -1)):
        assert_refused(q.nll, ones(array, 2, 3), dims=bad, kinds=BOTH, says=("^dims must",))


@deterministic
@ours
def test_another_distribution_that_does_not_fit_is_named_other(module, array, deterministic):
    q = of(module, array, 2, 3, deterministic=deterministic)
    wide = of(module, array, 1, 1, logvar=ones(array, 5, 7))  # it is the log-variance that does not fit
    foreign = of(*OURS["numpy" if module is agt else "torch"], 2, 3)
    for bad in (of(module, array, 5, 7), of(module, array, 2, 3, dtype="float16"), foreign):
        assert_refused(q.kl, bad, kinds=BOTH, says=("^other must",))
    if not deterministic:
        assert_refused(q.kl, wide, kinds=ValueError, says=("^other must",))


@pytest.mark.parametrize("deterministic", [False, True])
def test_jaxs_class_takes_a_sample_of_numpy_with_and_without_dims(deterministic):
    q = of(agj, jnp.asarray, 2, 3, deterministic=deterministic)
    x = np.zeros((2, 3), np.float32)
    assert q.nll(x).shape == q.nll(x, dims=1).shape == q.log_prob(x).shape == (2,)


def test_where_torchs_x_is_on_another_device_x_is_named():
    q, x = of(agt, torch.from_numpy, 2, 3), torch.ones(2, 3, device="meta")
    for call, name in ((q.nll, "sample"), (q.log_prob, "x")):
        with pytest.raises(ValueError, match=f"^{name} must be on the device"):
            call(x)
    with pytest.raises(ValueError, match=r"^x must be on the device"):
        agt.nll(x, torch.ones(2, 3), 0.0)


def test_a_list_of_generators_of_another_length_is_named_as_it_was_given():
    q, generators = of(agt, torch.from_numpy, 2, 3), [torch.Generator()]
    assert_refused(q.sample, generators, kinds=ValueError, says=("^rng must", "2 samples", "got 1"))
    assert_refused(q.sample, generator=generators, kinds=ValueError, says=("^generator must", "got 1"))


@ours
def test_other_bad_arguments_of_constructors_are_named(module, array):
    other = of(module, array, 2, 3)
    full = module.MultivariateNormal
    assert_refused(full, other, ones(array, 3, 3), kinds=TypeError, says=("^mean must", "DiagonalGaussianDistribution"))
    assert_refused(full.from_covariance, other, ones(array, 3, 3), kinds=TypeError, says=("^mean must",))
    for bad in (np.ones(2), None, 3):
        made = module.DiagonalGaussianDistribution.from_moments
        assert_refused(made, ones(array, 2, 4), second=bad, kinds=ValueError, says=("^second must",))


def test_an_error_that_names_no_argument_is_left_as_it_is(monkeypatch):
    q = of(ag, np.asarray, 2, 3)
    monkeypatch.setattr(type(q), "_ops", type("Ops", (), {"nll": lambda *_, **__: int("sample of something else")}))
    with pytest.raises(ValueError, match="invalid literal"):
        q.nll(np.ones((2, 3)))


ATTRIBUTES = ("mean", "logvar", "std", "var", "shape", "dtype", "deterministic", "bounds", "event_axes")


@ours
def test_the_attributes_of_a_distribution_are_documented_and_cannot_be_set(module, array):
    q = module.DiagonalGaussianDistribution(ones(array, 2, 6))
    documented = ag.DiagonalGaussianDistribution.__doc__.partition("    Attributes\n")[2].partition("    Raises\n")[0]
    for name in (*ATTRIBUTES, *(["parameters"] if module is agt else [])):
        assert getattr(type(q), name).__doc__
        assert name == "parameters" or re.search(rf"^    (\w+, )?{name}\b.* :", documented, re.MULTILINE), name
        with pytest.raises(AttributeError):
            setattr(q, name, getattr(q, name))
    with pytest.raises(AttributeError):
        q.other = 1
    for other in (copy.copy(q), pickle.loads(pickle.dumps(q))):
        assert all(str(getattr(other, name)) == str(getattr(q, name)) for name in ATTRIBUTES)


def test_the_value_of_a_point_cannot_be_set():
    with pytest.raises(AttributeError):
        ag.DiracDistribution(np.ones(2)).value = np.zeros(2)
