"""Replacing one import is enough; the noise is the same in every library, and memory is not held."""

import sys
import tracemalloc

import numpy as np
import pytest
import torch
from conformance_classes import (
    HALF,
    PLAIN,
    PlainDistribution,
    dtypes,
    libraries,
    parameters_of,
    plain_normal_kl,
    torch_dtypes,
)
from oracles import (
    EVERY_LIBRARY,
    array,
    assert_relative,
    host,
    plain_kl,
    same_bits,
)

import agauss as ag

# Memory


def test_a_distribution_holds_its_parameters_and_nothing_more():
    parameters = np.zeros((4, 8, 128, 128), np.float32)  # 2 MiB
    q = ag.DiagonalGaussianDistribution(parameters)
    assert not hasattr(q, "__dict__")
    for name in type(q).__slots__:
        held = getattr(q, name)
        if isinstance(held, np.ndarray):
            assert np.shares_memory(held, parameters), name
        else:
            assert sys.getsizeof(held) < 1000, name


def test_building_a_distribution_and_asking_it_leaves_no_memory_behind():
    parameters = np.zeros((4, 8, 128, 128), np.float32)
    x = np.zeros((4, 4, 128, 128), np.float32)

    def ask():
        q = ag.DiagonalGaussianDistribution(parameters)
        q.kl(), q.nll(x), q.kl(q), q.entropy(), q.saturated()
        return q

    ask()  # compiles, fills the caches
    tracemalloc.start()
    try:
        q = ask()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert q.shape == (4, 4, 128, 128)
    assert held < 20_000
    # The bound is 1 MB a thread whatever the size: here less than the 4 MiB of parameters would take once.
    assert peak < parameters.nbytes / 2


def test_torch_distributions_hold_views_of_the_parameters():
    parameters = torch.zeros(4, 8, 16, 16)
    q = ag.DiagonalGaussianDistribution(parameters)
    assert q.mean.untyped_storage().data_ptr() == parameters.untyped_storage().data_ptr()
    assert not hasattr(q, "__dict__")
    for name in type(q).__slots__:
        held = getattr(q, name)
        if isinstance(held, torch.Tensor):
            assert held.untyped_storage().data_ptr() == parameters.untyped_storage().data_ptr(), name


# normal_kl with integers


@libraries
@pytest.mark.parametrize("position", range(4))
def test_normal_kl_refuses_an_integer_tensor(library, position):
    arguments = [array(library, np.ones(3), "float32") for _ in range(4)]
    arguments[position] = array(library, np.ones(3), "int64")
    name = ("mean1", "logvar1", "mean2", "logvar2")[position]
    with pytest.raises(TypeError, match=rf"{name} .*floating.*int64"):
        ag.normal_kl(*arguments)


@libraries
def test_normal_kl_does_not_truncate_float_logvars_beside_an_integer_number(library):
    logvar = array(library, np.array([0.5, -0.5]), "float32")
    got = ag.normal_kl(1, logvar, 0, 0)
    assert_relative(host(got), plain_kl(1.0, np.array([0.5, -0.5])), 5e-7)


# Noise


@pytest.mark.parametrize(
    ("library", "dtype"),
    [
        *((name, "float32") for name in EVERY_LIBRARY if name != "numpy"),
        *((name, "float64") for name in EVERY_LIBRARY if name not in ("numpy", "jax")),  # which compiles for seconds
    ],
)
def test_one_seed_gives_the_same_noise_in_every_library_within_2_ulp(library, dtype):
    import jax

    shape = (5, 6, 7)
    expected = ag.random.normal(shape, rng=123, dtype=dtype)
    with jax.enable_x64(True):
        zeros = array(library, np.zeros(shape), dtype)
        got = host(ag.sample(zeros, zeros, rng=123))
    assert got.dtype == expected.dtype
    assert np.max(np.abs(got - expected) / np.spacing(np.abs(expected))) <= 2


@libraries
def test_half_and_single_precision_see_the_same_noise_before_rounding(library):
    shape = (4, 3, 5)
    eps = ag.random.normal(shape, rng=9, dtype="float32")
    for dtype in HALF:
        zeros = array(library, np.zeros(shape), dtype)
        assert same_bits(host(ag.sample(zeros, zeros, rng=9)), host(array("numpy", eps, dtype)))


@libraries
@dtypes
@pytest.mark.parametrize("shape", [(10, 6), (10, 2, 3), (10, 6, 5, 7), (10, 4, 2, 3, 5)], ids=str)
def test_a_batch_of_ten_equals_ten_batches_of_one(library, dtype, shape):
    parameters = parameters_of(library, shape, dtype)
    whole = host(ag.DiagonalGaussianDistribution(parameters).sample(rng=77))
    z, kl = ag.DiagonalGaussianDistribution(parameters).sample_and_kl(rng=77)
    for b in range(10):
        one = ag.DiagonalGaussianDistribution(parameters[b : b + 1])
        assert same_bits(host(one.sample(rng=77, index=[b])), whole[b : b + 1])
        z1, kl1 = one.sample_and_kl(rng=77, index=np.array([b]))
        assert same_bits(host(z1), host(z)[b : b + 1])
        assert same_bits(host(kl1), host(kl)[b : b + 1])


@libraries
def test_the_index_is_a_name_for_each_sample_and_not_its_place(library):
    parameters = parameters_of(library, (6, 4, 5))
    whole = host(ag.DiagonalGaussianDistribution(parameters).sample(rng=77))
    order = np.array([5, 0, 3])
    picked = array(library, host(parameters)[order])
    assert same_bits(host(ag.DiagonalGaussianDistribution(picked).sample(rng=77, index=order)), whole[order])
    ids = array(library, order)
    assert same_bits(host(ag.DiagonalGaussianDistribution(picked).sample(rng=77, index=ids)), whole[order])


@libraries
def test_large_ids_give_noise_of_their_own(library):
    zeros = array(library, np.zeros((4, 5)), "float32")
    ids = [0, 2**31, 2**32, 2**40 + 1]
    z = host(ag.sample(zeros, zeros, rng=1, index=ids))
    assert len({row.tobytes() for row in z}) == 4
    again = host(ag.sample(zeros[3:], zeros[3:], rng=1, index=ids[3:]))
    assert same_bits(again, z[3:])


@pytest.mark.parametrize("library", [name for name in EVERY_LIBRARY if name != "numpy"])
def test_numpy_and_the_array_api_agree_in_counts_exactly_and_in_values_within_a_few_ulp(library):
    values = np.random.default_rng(8).normal(size=(4, 6, 9)).astype(np.float32) * 12
    ours, theirs = ag.DiagonalGaussianDistribution(values), ag.DiagonalGaussianDistribution(array(library, values))
    np.testing.assert_array_equal(host(theirs.saturated()), ours.saturated())
    assert ours.saturated().sum() > 0
    # exp differs by 1 or 2 ulp between libraries: 8 leaves room for what is built on it.
    for name in ("std", "var"):
        a, b = getattr(ours, name), host(getattr(theirs, name))
        assert a.dtype == b.dtype
        assert np.max(np.abs(a - b) / np.spacing(a)) <= 8, name
    # Sums of 27 terms of one sign.
    for a, b in ((ours.kl(), theirs.kl()), (ours.kl(ours), theirs.kl(theirs))):
        assert_relative(host(b), a, 1e-6)


# Replacing one import


@torch_dtypes
def test_replacing_the_import_of_the_distribution_is_enough(dtype):
    generator = torch.Generator().manual_seed(0)
    parameters, parameters2 = (torch.randn(3, 8, 4, 6, dtype=dtype, generator=generator) * 2 for _ in range(2))
    parameters[0, 4:] *= 20  # some of it outside the bounds
    parameters[0, :4] *= 0.1
    plain, plain2 = PlainDistribution(parameters), PlainDistribution(parameters2)
    q, q2 = ag.DiagonalGaussianDistribution(parameters), ag.DiagonalGaussianDistribution(parameters2)
    x = torch.randn(3, 4, 4, 6, dtype=dtype, generator=generator)
    assert_close = lambda a, b: torch.testing.assert_close(a, b, **PLAIN[dtype])  # noqa: E731
    for name in ("mean", "logvar", "std", "var"):
        assert_close(getattr(q, name), getattr(plain, name))
    assert_close(q.kl(), plain.kl())
    assert_close(q2.kl(q), plain2.kl(plain))
    assert_close(q.kl(q2), plain.kl(plain2))
    assert_close(q2.nll(x), plain2.nll(x))
    assert_close(q2.nll(x, dims=[1, 2, 3]), plain2.nll(x))
    assert_close(q2.nll(x, [2, 3]), plain2.nll(x, [2, 3]))
    assert_close(q.mode(), plain.mode())
    eps = torch.from_numpy(
        ag.random.normal((3, 4, 4, 6), rng=5, dtype="float32" if dtype == torch.float32 else "float64")
    )
    assert_close(q.sample(5), plain.sample(eps))


@torch_dtypes
def test_replacing_the_import_is_enough_where_deterministic(dtype):
    parameters = torch.randn(3, 8, 4, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))
    plain, q = PlainDistribution(parameters, True), ag.DiagonalGaussianDistribution(parameters, True)
    for name in ("mean", "logvar", "std", "var"):
        torch.testing.assert_close(getattr(q, name), getattr(plain, name), rtol=0, atol=0)
    torch.testing.assert_close(q.sample(), plain.mean, rtol=0, atol=0)
    torch.testing.assert_close(q.mode(), plain.mean, rtol=0, atol=0)


def test_sample_without_arguments_is_standard_normal_noise_that_differs_each_time():
    q = ag.DiagonalGaussianDistribution(torch.zeros(4, 8, 32, 32))
    first, second = q.sample(), q.sample()
    assert first.shape == (4, 4, 32, 32)
    assert not torch.equal(first, second)
    # 16,384 draws: the mean is normal with standard deviation 0.0078, the variance with 0.011; six of each.
    assert abs(float(first.mean())) < 0.047
    assert abs(float(first.var()) - 1) < 0.067


@libraries
def test_a_dirac_gives_its_value(library):
    value = parameters_of(library, (3, 8))
    dirac = ag.DiracDistribution(value)
    assert same_bits(host(dirac.sample()), host(value))
    assert same_bits(host(dirac.mode()), host(value))


@torch_dtypes
def test_normal_kl_agrees_with_the_plain_form_and_broadcasts(dtype):
    generator = torch.Generator().manual_seed(0)
    mean1, logvar1 = (
        torch.randn(2, 3, 4, 5, dtype=dtype, generator=generator),
        torch.randn(3, 1, 1, dtype=dtype, generator=generator),
    )
    mean2, logvar2 = torch.randn(1, 3, 1, 1, dtype=dtype, generator=generator), torch.tensor(0.3, dtype=dtype)
    for arguments in ((mean1, logvar1, mean2, logvar2), (mean1, mean1, mean1, logvar2)):
        got = ag.normal_kl(*arguments)
        assert got.shape == (2, 3, 4, 5)
        torch.testing.assert_close(got, plain_normal_kl(*arguments), **PLAIN[dtype])
    zero = torch.zeros((), dtype=dtype)
    torch.testing.assert_close(
        ag.normal_kl(mean1, logvar1, 0.0, 0.0), plain_normal_kl(mean1, logvar1, zero, zero), **PLAIN[dtype]
    )


def test_normal_kl_does_not_clamp():
    logvar = torch.tensor([-60.0, 40.0], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    torch.testing.assert_close(
        ag.normal_kl(zero, logvar, zero, zero), plain_normal_kl(zero, logvar, zero, zero), rtol=1e-14, atol=0
    )
