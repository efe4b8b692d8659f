"""Diagnostics against plain NumPy of all data at once, and p-values against counting."""

from itertools import pairwise

import dask
import dask.array as da
import numpy as np
import pytest
from oracles import EVERY_LIBRARY, array, library_of, plain_kl, wide
from quick import slow_in_jax
from refusals import assert_refused

import agauss as ag
from agauss import vae
from agauss.backends.cpu import columns
from agauss.options import bound_on

Q = ag.DiagonalGaussianDistribution.from_mean_logvar
libraries = pytest.mark.parametrize("library", slow_in_jax(EVERY_LIBRARY))
INF, NAN = np.inf, np.nan


def posteriors(n=50, shape=(3, 2), seed=0):
    rng = np.random.default_rng(seed)
    mean, logvar = rng.normal(5, 1, (n, *shape)), rng.normal(-1, 0.5, (n, *shape))
    mean[:, 1] = 5 + 0.01 * rng.normal(size=(n, *shape[1:]))  # moves, but not enough
    logvar[:, 2] = -0.7
    return mean.astype(np.float32), logvar.astype(np.float32)


def seen(*batches, **options):
    diagnostics = vae.Diagnostics(**options)
    for batch in batches:
        diagnostics.update(*batch)
    return diagnostics


@libraries
def test_all_that_is_found_is_what_plain_numpy_finds_at_once(library):
    mean, logvar = posteriors()
    fit = np.random.default_rng(1).normal(size=50)
    q = Q(array(library, mean), array(library, logvar), bounds=(-1.5, 2.0))
    found = seen((q, array(library, fit, "float32"))).result()
    clamped, mean = np.clip(logvar.astype(float), -1.5, 2.0), mean.astype(float)
    close = {"rtol": 2e-5, "atol": 1e-5}  # float32 sums; without 64 bits JAX's means lose digits to their size of 5
    want = plain_kl(mean, clamped).mean(0)
    np.testing.assert_allclose(found.kl, want, **close)
    np.testing.assert_allclose(found.kl_total, want.sum(), **close)
    np.testing.assert_allclose(found.variance_of_means, mean.var(0), **close)
    np.testing.assert_allclose(found.mean_variance, np.exp(clamped).mean(0), **close)
    variance = mean.var(0) + np.exp(clamped).mean(0)
    np.testing.assert_allclose(found.aggregate_mean, mean.mean(0), **close)
    np.testing.assert_allclose(found.aggregate_variance, variance, **close)
    np.testing.assert_allclose(found.aggregate_kl, plain_kl(mean.mean(0), np.log(variance)).sum(), **close)
    np.testing.assert_allclose(found.information, found.kl_total - found.aggregate_kl, **close)
    np.testing.assert_array_equal(found.active, [[True, True], [False, False], [True, True]])
    assert found.active_units == 4
    assert (found.n, found.constant_logvar, found.non_finite) == (50, 2, 0)
    assert found.saturated == ((logvar < -1.5) | (logvar > 2)).sum() > 0
    np.testing.assert_allclose(found.log_likelihood, fit.mean(), **close)
    np.testing.assert_allclose(found.elbo, fit.mean() - want.sum(), **close)


@pytest.mark.parametrize("cuts", [(50,), (1, 49), (7, 0, 20, 23), (1,) * 50])
@pytest.mark.parametrize("merged", [False, True])
def test_batches_and_merges_are_the_whole(cuts, merged):
    mean, logvar = (a.astype(np.float64) + 1000 * (k == 0) for k, a in enumerate(posteriors()))
    fit = np.arange(50.0)
    whole = seen((Q(mean, logvar), fit)).result()
    places = np.cumsum((0, *cuts))
    parts = [(Q(mean[a:b], logvar[a:b]), fit[a:b]) for a, b in pairwise(places)]
    if merged:
        diagnostics = vae.Diagnostics()
        for part in parts:
            assert diagnostics.merge(seen(part)) is diagnostics
    else:
        diagnostics = seen(*parts)
    found = diagnostics.result()
    for name in ("n", "kl", "variance_of_means", "mean_variance", "aggregate_mean", "information", "elbo"):
        # Means of 1005 with a deviation of 1: squares of 1e6 lose six digits where they are not centred.
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-9)
    np.testing.assert_allclose(whole.variance_of_means, mean.var(0), rtol=1e-9)
    assert found.constant_logvar == whole.constant_logvar == 2


def by_hand(mean, logvar, clamped):
    """The sums that the loop of NumPy's arrays makes, in float64."""
    mean, logvar, clamped = (np.asarray(a, np.float64) for a in (mean, logvar, clamped))
    apart = mean - mean[0]
    varies = (logvar != logvar[0]).any(0)
    return plain_kl(mean, clamped).sum(0), apart.sum(0), (apart**2).sum(0), np.exp(clamped).sum(0), varies


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((2500, 3), "halves"),  # three chunks of data, and a few latents
        ((3, 2, 517), "halves"),  # three blocks of latents
        ((9, 4, 6), "transposed"),
        ((9, 4, 6), "reversed"),
        ((5, 0), "halves"),
    ],
)
def test_the_loop_adds_up_what_is_there_in_any_layout(shape, layout):
    both = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
    if layout == "halves":
        both = np.moveaxis(np.stack(both, 1), 1, 0)
    elif layout == "transposed":
        both = np.swapaxes(np.ascontiguousarray(np.swapaxes(both, 2, 3)), 2, 3)
    elif layout == "reversed":
        both = both[:, ::-1, ::-1, ::-1]
    mean, logvar = both
    found = columns.sums(mean, logvar, ((1, "hard", -1.0, 0.75),))
    *sums, varies = by_hand(mean, logvar, np.clip(logvar, -1.0, 0.75))
    np.testing.assert_array_equal(found[4] > 0, varies)
    for own, plain in zip(found[:4], sums, strict=True):
        assert own.shape == shape[1:]
        np.testing.assert_allclose(own, plain, rtol=1e-6, atol=1e-6 * len(mean))  # eight at a time add up in float32
    assert found[5:] == (((logvar < -1) | (logvar > 0.75)).sum(), 0)


def test_soft_bounds_and_none_are_those_of_kl_and_infinities_count_once_each():
    mean, logvar = (np.linspace(-3, 3, 24).reshape(4, 6).astype(np.float32) * k for k in (1, 5))
    below = 4 - np.logaddexp(0, 4 - np.float64(logvar))
    soft = np.logaddexp(0, below + 4) - 4
    for bounds, high, within in (((-4.0, 4.0, "soft"), 4.0, soft), (None, INF, logvar)):
        kl, _, _, variance, *_ = columns.sums(mean, logvar, bound_on(bounds, 1))
        np.testing.assert_allclose(kl, plain_kl(mean, within).sum(0), rtol=2e-6)
        np.testing.assert_allclose(variance, np.exp(np.float64(within)).sum(0), rtol=2e-6)
        mean[0, 0], logvar[1, 1], logvar[2, 2] = NAN, INF, NAN
        saturated = (np.abs(logvar) > high).sum()  # NaN is on neither side
        assert columns.sums(mean, logvar, bound_on(bounds, 1))[5:] == (saturated, 3)
        mean[0, 0], logvar[1, 1], logvar[2, 2] = 0, 1, 2


def test_information_is_never_negative_and_0_where_nothing_is_said():
    same = seen((Q(np.full((9, 4), 0.3), np.full((9, 4), -0.8)),)).result()
    assert abs(same.information) < 1e-14
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert seen((Q(rng.normal(size=(5, 3)) * 0.1, rng.normal(size=(5, 3)) * 0.1),)).result().information > 0


def test_information_bounds_that_about_well_separated_data():
    """Of n posteriors that do not overlap, z tells which of the n it is: log(n) nats."""
    mean = np.arange(8.0).reshape(8, 1) * 1000
    found = seen((Q(mean, np.zeros((8, 1))),)).result()
    assert np.log(8) < found.information < found.kl_total


# Verdicts


def varied(n, active, latents, seed=0):
    rng = np.random.default_rng(seed)
    return Q(rng.normal(size=(n, latents)) * (np.arange(latents) < active), rng.normal(-1, 0.1, (n, latents)))


@pytest.mark.parametrize(
    ("active", "says"),
    [
        (0, r"collapsed: 0 of 6 latents have a variance of means over 0.01 \(the largest is 0\), so z says next to"),
        (2, "partly collapsed: 2 of 6 latents have a variance of means over 0.01; the other 4 have .* of the KL's"),
        (6, "not collapsed: all 6 latents have a variance of means over 0.01; the KL is .* nats"),
    ],
)
def test_the_verdict_says_in_words_what_the_numbers_are(active, says):
    import re

    found = seen((varied(100, active, 6),)).result()
    assert found.active_units == active
    assert re.match(says, found.verdict), found.verdict
    assert f"{found.kl_total:.3g} nats" in found.verdict
    assert str(found) == found.verdict


def test_one_datum_and_missing_values_give_no_verdict():
    assert seen((varied(1, 2, 4),)).result().verdict.startswith("unknown: too few data (1) or latents (4)")
    mean = np.zeros((3, 2))
    mean[1, 0], mean[2, 1] = NAN, INF
    found = seen((Q(mean, np.zeros((3, 2))),)).result()
    assert found.non_finite == 2
    assert found.verdict == "unknown: 2 means and log-variances of 3 data are inf or NaN"


def test_a_warm_up_that_never_was_is_warned_of():
    schedule = vae.linear(0.0, 1.0, 5000)
    (warning,) = seen((varied(9, 2, 2),), schedule=schedule, step=400).result().warnings
    assert warning == (
        "the linear schedule was never finished: training ended at step 400 of 5000, at 0.08 on the way to 1"
    )
    assert seen((varied(9, 2, 2),), schedule=schedule, step=5000).result().warnings == ()


def test_a_constant_log_variance_and_saturated_ones_are_warned_of():
    q = Q(np.random.default_rng(0).normal(size=(4, 3)), np.array([0.0, -40.0, 0.0]))
    warnings = seen((q,)).result().warnings
    assert warnings == (
        "the log-variance is the same for all 4 data in 3 of 3 latents: does the encoder compute it?",
        "4 of 12 log-variances are outside the bounds",
    )
    # Constant in each batch, and another in each: not constant.
    first, second = (Q(np.zeros((2, 1)), np.full((2, 1), v)) for v in (0.0, 1.0))
    assert seen((first,), (second,)).result().constant_logvar == 0


def test_a_plot_has_the_bars_and_the_verdict():
    axes = seen((varied(50, 3, 5),)).plot()
    active, every = (patch.get_data().values for patch in axes.patches)
    assert (active > 0).sum() == 3
    assert np.all(np.diff(every) <= 0)
    assert axes.get_title().startswith("partly collapsed")
    from matplotlib.figure import Figure

    given = Figure().subplots()
    assert seen((varied(50, 3, 5),)).plot(given) is given


# Dask


def test_each_block_of_a_dask_array_is_made_once_and_held_no_longer():
    made = []

    def block(block_info=None):
        place = block_info[None]["chunk-location"]
        made.append(place)
        return np.random.default_rng(place[0]).normal(size=(64, 4)).astype(np.float32)

    mean = da.map_blocks(block, chunks=((64,) * 20, (4,)), dtype=np.float32, meta=np.empty((0, 0), np.float32))
    with dask.config.set(scheduler="synchronous"):
        found = seen((Q(mean, mean * 0.1 - 1),)).result()
    assert len(made) == 20
    assert found.n == 1280
    host = np.concatenate([np.random.default_rng(k).normal(size=(64, 4)) for k in range(20)])
    np.testing.assert_allclose(found.variance_of_means, host.var(0), rtol=1e-5)


# Refusals


@pytest.mark.parametrize(
    ("call", "arguments", "options", "says"),
    [
        (vae.Diagnostics, (-0.1,), {}, "threshold must be a number, and not negative; got -0.1"),
        (vae.Diagnostics, (), {"step": 3}, "schedule and step must be given together"),
        (vae.Diagnostics, (), {"schedule": 1.0, "step": 3}, "schedule must be one of agauss.vae; got float"),
        (vae.Diagnostics().result, (), {}, "update must have had at least 1 datum before result; got none"),
        (vae.Diagnostics().merge, (None,), {}, "other must be Diagnostics of agauss.vae; got NoneType"),
        (vae.Diagnostics().update, (np.ones((2, 4)),), {}, "q must be a DiagonalGaussianDistribution of agauss"),
        (
            seen((varied(9, 2, 2),)).update,
            (varied(9, 2, 3),),
            {},
            r"q must have samples of shape \(2,\), as before; got \(3,\)",
        ),
        (seen((varied(9, 2, 2),)).merge, (seen((varied(9, 2, 3),)),), {}, r"other must have samples of shape \(2,\)"),
        (
            vae.Diagnostics().update,
            (varied(9, 2, 2), np.ones(8)),
            {},
            r"log_likelihood must have shape \(9,\); got \(8,\)",
        ),
        (vae.Diagnostics().update, (varied(2, 2, 2), [0.0, 1.0]), {}, "log_likelihood must be an array"),
        (vae.Diagnostics().update, (varied(2, 2, 2), 1.0), {}, r"log_likelihood must have shape \(2,\); got \(\)"),
        (
            vae.Diagnostics().update,
            (ag.DiagonalGaussianDistribution(np.zeros((2, 4)), deterministic=True),),
            {},
            "q must not be deterministic",
        ),
        (vae.anomaly, (np.ones(2), np.ones(0)), {}, r"reference must not be empty; got shape \(0,\)"),
        (vae.anomaly, (np.ones(2), np.ones(2, np.float32)), {}, "reference must have the dtype of elbo"),
    ],
)
def test_bad_input_is_refused_by_name(call, arguments, options, says):
    assert_refused(call, *arguments, says=(says,), **options)


# Anomalies


@libraries
def test_p_values_are_by_counting_with_ties_and_missing_values(library):
    elbo = np.float32([[-3.0, -1.0, 0.5], [2.0, NAN, INF]])
    reference = np.float32([2.0, NAN, -1.0, -1.0, 0.0, -INF])
    valid = reference[~np.isnan(reference)]
    want = [[(1 + (valid <= e).sum()) / (len(valid) + 1) if e == e else NAN for e in row] for row in elbo]
    got = vae.anomaly(array(library, elbo), array(library, reference))
    assert library_of(got) == library
    np.testing.assert_allclose(wide(got), want, rtol=1e-7)


def test_a_reference_that_is_all_missing_says_nothing():
    np.testing.assert_array_equal(vae.anomaly(np.array([1.0, -1.0]), np.full(3, NAN)), [1.0, 1.0])


def test_p_values_of_exchangeable_data_are_valid():
    """P(p <= alpha) <= alpha, over references too; a p-value without the 1 + would be 0 too often."""
    rng = np.random.default_rng(0)
    p = np.concatenate([vae.anomaly(rng.normal(size=1), rng.normal(size=9)) for _ in range(4000)])
    for alpha in (0.1, 0.2, 0.5):
        assert abs((p <= alpha + 1e-12).mean() - alpha) < 4.5 * np.sqrt(alpha * (1 - alpha) / 4000)
    assert p.min() == pytest.approx(0.1)
