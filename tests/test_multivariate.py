"""MultivariateNormal against mpmath, SciPy and PyTorch's distributions with autograd, on every library."""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from factors import EPS, assert_close, factor
from oracles import EVERY_LIBRARY, LOG_2PI, array, host, library_of, mp, mp_expm1x, numpy_dtype, same_bits
from quick import nightly_unless, slow_in_jax
from refusals import assert_refused
from torch.distributions import MultivariateNormal as Theirs
from torch.distributions import kl_divergence

import agauss as ag

pytestmark = pytest.mark.usefixtures("double_precision_of_jax", "one_thread_of_torch")
Q, D = ag.MultivariateNormal, ag.DiagonalGaussianDistribution
# JAX compiles each step of a call for itself, half a minute a test.
libraries = pytest.mark.parametrize("library", nightly_unless(lambda library: library != "jax", EVERY_LIBRARY))
TINY = mp.mpf("1e-90")  # what 50 digits leave of 0


def variable(a):
    return torch.tensor(a, requires_grad=True)


# Batch axes of mean and L, D, and batch axes of the other's mean and L.
SHAPES = [
    ((3,), (3,), 4, (3,), (3,)),
    ((), (), 5, (), ()),
    ((5,), (), 3, (), (5,)),
    ((), (4,), 2, (4,), ()),
    ((2, 3), (3,), 3, (1, 1), (2, 1)),
    ((3,), (1,), 1, (), ()),
    ((2,), (2,), 64, (), (2,)),
]


class Case:
    """The same two Gaussians in a library's arrays and as PyTorch's distributions."""

    def __init__(self, library, shapes):
        batch, tril_batch, d, batch2, tril_batch2 = shapes
        self.rng, self.library, self.d = np.random.default_rng(0), library, d
        own = self.rng.standard_normal((*batch, d)), factor(self.rng, *tril_batch, d)
        other = self.rng.standard_normal((*batch2, d)), factor(self.rng, *tril_batch2, d)
        logvar = self.rng.standard_normal((*batch2, d))
        self.batch = np.broadcast_shapes(batch, tril_batch)
        self.q, self.p = (Q(*map(self.array, pair)) for pair in (own, other))
        second = self.array(other[0]), self.array(logvar)
        self.diagonal = D.from_mean_logvar(*second, bounds=None, event_axes=-1)
        self.own, self.other, self.logvar = tuple(map(variable, own)), tuple(map(variable, other)), variable(logvar)

    def array(self, values):
        return array(self.library, values)

    @property
    def theirs(self):
        return Theirs(self.own[0], scale_tril=torch.tril(self.own[1]))

    def assert_gradients(self, gradients, value, arguments, cotangent):
        want = torch.autograd.grad(value, arguments, torch.tensor(cotangent))
        assert len(gradients) == len(want)
        for got, true in zip(gradients, want, strict=True):
            assert library_of(got) == self.library
            assert_close(got, true, 512)


def runs_always(library, shapes):
    """Dask, which takes a second a case, keeps the one that broadcasts most; JAX has a test of its own, below."""
    return library != "jax" and (library != "dask" or shapes is SHAPES[4])


CASES = nightly_unless(
    runs_always,
    [(library, shapes) for library in EVERY_LIBRARY for shapes in SHAPES],
    slow=lambda library, shapes: library == "jax" and shapes is SHAPES[4],
)


@pytest.fixture(params=[pytest.param(case.values, marks=case.marks, id=str(case.values)) for case in CASES])
def case(request):
    return Case(*request.param)


def test_log_prob_and_its_gradients_are_theirs(case):
    x = case.rng.standard_normal((2, *case.batch, case.d))
    g, given = case.rng.standard_normal((2, *case.batch)), variable(x)
    value = case.theirs.log_prob(given)
    assert_close(case.q.log_prob(case.array(x)), value)
    gradients = case.q.log_prob_vjp(case.array(x), cotangent=case.array(g))
    case.assert_gradients(gradients, value, (given, *case.own), g)


def test_entropy_is_theirs(case):
    assert_close(case.q.entropy(), case.theirs.entropy())


@pytest.mark.parametrize("kind", ["the standard normal", "full", "diagonal"])
def test_kl_and_its_gradients_are_theirs(case, kind):
    other, arguments = None, ()
    theirs = Theirs(torch.zeros(case.d, dtype=torch.float64), torch.eye(case.d, dtype=torch.float64))
    if kind == "full":
        other, arguments = case.p, case.other
        theirs = Theirs(arguments[0], scale_tril=torch.tril(arguments[1]))
    elif kind == "diagonal":
        other, arguments = case.diagonal, (case.other[0], case.logvar)
        theirs = Theirs(arguments[0], scale_tril=torch.diag_embed(torch.exp(0.5 * case.logvar)))
    value = kl_divergence(case.theirs, theirs)
    g = case.rng.standard_normal(tuple(value.shape))
    assert_close(case.q.kl(other), value)
    gradients = case.q.kl_vjp(other, cotangent=case.array(g))
    case.assert_gradients(gradients, value, (*case.own, *arguments), g)


@pytest.mark.parametrize("draws", [(), (3,), (2, 2)])
def test_a_sample_is_the_mean_and_l_times_the_noise_of_sample(case, draws):
    shape = (*case.batch, case.d)
    eps = torch.tensor(ag.sample(np.zeros(shape), 0.0, rng=7, sample_shape=draws))
    z = case.own[0] + (torch.tril(case.own[1]) @ eps[..., None])[..., 0]
    assert_close(case.q.sample(rng=7, sample_shape=draws), z)
    g = case.rng.standard_normal(tuple(z.shape))
    gradients = case.q.sample_vjp(cotangent=case.array(g), rng=7, sample_shape=draws)
    case.assert_gradients(gradients, z, case.own, g)


def test_conversions_through_the_covariance_and_the_diagonal_give_the_same_distribution(case):
    true = np.tril(case.own[1].detach().numpy())
    again = Q.from_covariance(case.array(np.zeros(case.d)), case.q.covariance)
    assert_close(again.scale_tril, true, 512)
    marginals = case.q.to_diagonal()
    assert_close(marginals.var, np.broadcast_to((true**2).sum(-1), marginals.shape))
    assert_close(Q.from_diagonal(marginals).scale_tril, np.eye(case.d) * host(marginals.std)[..., None])


# Other oracles


@pytest.mark.parametrize("d", [1, 2, 17, 512])
@pytest.mark.parametrize("library", ["numpy", "array_api_strict"])
def test_log_prob_and_entropy_are_scipys(library, d):
    rng = np.random.default_rng(d)
    mean, tril, x = rng.standard_normal(d), factor(rng, d), rng.standard_normal((3, d))
    covariance = scipy.stats.Covariance.from_cholesky(np.tril(tril))
    theirs = scipy.stats.multivariate_normal(mean, covariance)
    q = Q(array(library, mean), array(library, tril))
    assert_close(q.log_prob(array(library, x)), theirs.logpdf(x))
    assert_close(q.entropy(), theirs.entropy())


def mp_matrix(a):
    return mp.matrix(np.tril(a).tolist()) if a.ndim == 2 else mp.matrix(a.tolist())


def mp_kl(mean, tril, mean2, tril2):
    """(tr(S2^-1 S) - D + |u|^2) / 2 + log det L2 - log det L, with the diagonal's part as a series near equality."""
    d = len(mean)
    w = mp_matrix(tril2) ** -1 * mp_matrix(tril)
    u = mp_matrix(tril2) ** -1 * (mp_matrix(mean) - mp_matrix(mean2))
    total = sum(mp_expm1x(2 * mp.log(w[i, i])) for i in range(d))
    total += sum(w[i, j] ** 2 for i in range(d) for j in range(i)) + sum(u[i] ** 2 for i in range(d))
    return total / 2


@cache
def near_pairs(dtype, distance):
    """(mean, L) of two Gaussians so far apart, twenty times, with their KL and that to the prior at 50 digits."""
    rng, found = np.random.default_rng(3), []
    for _ in range(20):
        mean2, tril2 = (a.astype(dtype) for a in (rng.standard_normal(4), factor(rng, 4)))
        mean = (mean2 + distance * rng.standard_normal(4)).astype(dtype)
        tril = (tril2 * np.exp(distance * 0.1 * rng.standard_normal((4, 4)))).astype(dtype)
        truth = mp_kl(mean, tril, mean2, tril2), mp_kl(mean, tril, np.zeros(4), np.eye(4))
        found.append(((mean, tril), (mean2, tril2), truth))
    return found


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("distance", [0.0, 1e-6, 1e-3, 0.1, 1.0, 30.0])
def test_kl_keeps_its_digits_however_near_the_two_are(library, dtype, distance):
    """All its terms are positive, and each is within some ulp: D = 4 of them, of a solution of four steps."""
    for *pair, (apart, to_prior) in near_pairs(dtype, distance):
        q, p = (Q(*(array(library, a) for a in given)) for given in pair)
        kl = float(host(q.kl(p)))
        assert kl >= 0
        assert abs(kl - apart) <= 64 * np.finfo(dtype).eps * apart + TINY, (kl, float(apart))
        assert abs(float(host(q.kl())) - to_prior) <= 64 * np.finfo(dtype).eps * to_prior


def test_log_prob_at_50_digits():
    rng = np.random.default_rng(5)
    mean, tril, x = rng.standard_normal(6), factor(rng, 6), rng.standard_normal(6)
    u = mp_matrix(tril) ** -1 * (mp_matrix(x) - mp_matrix(mean))
    true = -(sum(v**2 for v in u) / 2 + sum(mp.log(tril[i, i]) for i in range(6)) + 3 * LOG_2PI)
    assert abs(float(Q(mean, tril).log_prob(x)) - true) <= 16 * EPS * abs(true)


def test_draws_have_the_mean_and_the_covariance():
    """Each entry of n draws' covariance S has the standard error sqrt((S_ij^2 + S_ii S_jj) / n)."""
    rng, n, d = np.random.default_rng(2), 200_000, 5
    mean, tril = rng.standard_normal(d), factor(rng, d)
    z = Q(np.broadcast_to(mean, (n, d)), tril).sample(rng=11) - mean
    covariance = np.tril(tril) @ np.tril(tril).T
    variances = np.diag(covariance)
    errors = np.abs(z.T @ z / n - covariance) / np.sqrt((covariance**2 + np.outer(variances, variances)) / n)
    assert errors.max() < 4.5  # of 15 entries, passed by one in 10,000 keys
    assert (np.abs(z.mean(0)) / np.sqrt(variances / n)).max() < 4.5


# Noise


@libraries
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_diagonal_factor_gives_the_samples_of_sample(library, dtype):
    parameters = array(library, np.random.default_rng(0).standard_normal((6, 8, 2)), dtype)
    q = D(parameters)
    full = Q.from_diagonal(q)
    z, same = host(full.sample(rng=7)), host(q.sample(rng=7)).reshape(6, 8)
    np.testing.assert_allclose(z, same, rtol=0, atol=4 * np.finfo(dtype).eps * np.abs(same).max())
    np.testing.assert_allclose(host(full.kl()), host(q.kl()), rtol=64 * np.finfo(dtype).eps)
    np.testing.assert_allclose(host(full.kl(q)), 0, atol=64 * np.finfo(dtype).eps)


@libraries
def test_ids_choose_a_samples_noise(library):
    rng = np.random.default_rng(0)
    mean, tril = rng.standard_normal((6, 3)), factor(rng, 6, 3)
    whole = host(Q(array(library, mean), array(library, tril)).sample(rng=7))
    part = Q(array(library, mean[2:4]), array(library, tril[2:4]))
    assert_close(part.sample(rng=7, index=[2, 3]), whole[2:4])
    g = rng.standard_normal((2, 3))
    d_mean, d_tril = part.sample_vjp(cotangent=array(library, g), rng=7, index=[2, 3])
    eps = ag.random.normal((6, 3), rng=7, dtype="float64")[2:4]
    assert_close(d_mean, g)
    assert_close(d_tril, np.tril(g[:, :, None] * eps[:, None, :]))


def test_a_gradient_is_refused_where_the_noise_would_be_another():
    q = Q(np.zeros(2), np.eye(2))
    for rng in (None, np.random.default_rng(0)):
        assert_refused(q.sample_vjp, cotangent=1.0, rng=rng, kinds=TypeError, says=("rng", "got"))


# Dtypes, layouts, sizes


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_computed_in_float32_and_rounded_once(library, dtype):
    rng = np.random.default_rng(0)
    own = numpy_dtype(dtype)
    mean, tril, x = (
        a.astype(own) for a in (rng.standard_normal((3, 4)), factor(rng, 3, 4), rng.standard_normal((3, 4)))
    )
    half = Q(*(array(library, a, dtype) for a in (mean, tril)))
    wide = Q(*(array(library, a, "float32") for a in (mean, tril)))
    assert same_bits(host(half.sample(rng=7)), host(wide.sample(rng=7)).astype(own))
    assert same_bits(host(half.log_prob(array(library, x, dtype))), host(wide.log_prob(array(library, x, "float32"))))
    assert same_bits(host(half.kl()), host(wide.kl()))
    for got, want in zip(half.kl_vjp(cotangent=1.0), wide.kl_vjp(cotangent=1.0), strict=True):
        assert same_bits(host(got), host(want).astype(own))


@libraries
def test_what_is_above_the_diagonal_is_not_read(library):
    rng = np.random.default_rng(0)
    mean, tril = rng.standard_normal((2, 3)), factor(rng, 2, 3)
    missing = tril + np.triu(np.full((3, 3), np.nan), 1)
    q, same = (Q(array(library, mean), array(library, t)) for t in (missing, np.tril(tril)))
    x = array(library, np.ones((2, 3)))
    for call in (
        lambda q: [q.sample(rng=7), q.log_prob(x), q.entropy(), q.kl(), q.kl(q), q.covariance, q.to_diagonal().var],
        lambda q: [*q.sample_vjp(cotangent=1.0, rng=7), *q.log_prob_vjp(x, cotangent=1.0)],
        lambda q: [*q.kl_vjp(cotangent=1.0), *q.kl_vjp(same, cotangent=1.0)],
    ):
        for got, want in zip(call(q), call(same), strict=True):
            assert_close(got, host(want))


def test_strided_read_only_and_misaligned_factors_give_the_same():
    rng = np.random.default_rng(0)
    mean, tril = rng.standard_normal((4, 5)), factor(rng, 4, 5)
    fields = np.zeros((4, 5, 5), [("a", "i1"), ("tril", "f8")])
    fields["tril"] = tril
    fixed = tril.copy()
    fixed.flags.writeable = False
    want = Q(mean, tril).sample(rng=7), *Q(mean, tril).kl_vjp(cotangent=1.0)
    for other in (np.asfortranarray(tril), fields["tril"], fixed, np.repeat(tril, 2, axis=0)[::2]):
        q = Q(mean, other)
        for got, true in zip((q.sample(rng=7), *q.kl_vjp(cotangent=1.0)), want, strict=True):
            assert same_bits(got, true)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)])
@pytest.mark.parametrize("library", slow_in_jax(["numpy", "torch", "jax"]))
def test_empty_batches_and_events_give_empty_arrays_and_empty_sums(library, shape):
    q = Q(array(library, np.zeros(shape)), array(library, np.zeros((*shape, shape[-1]))))
    assert host(q.sample(rng=7)).shape == shape
    for value in (q.kl(), q.kl(q), q.entropy(), q.log_prob(array(library, np.zeros(shape)))):
        np.testing.assert_array_equal(host(value), np.zeros(shape[:-1]), strict=True)
    assert [host(g).shape for g in q.kl_vjp(cotangent=1.0)] == [shape, (*shape, shape[-1])]


@pytest.mark.slow
def test_machine_code_is_kept_for_the_next_process(tmp_path):
    program = "import numpy as np, agauss as ag; print(ag.MultivariateNormal(np.ones(2), np.eye(2)).log_prob(0.0))"
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    files = set()
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        assert float(done.stdout) == pytest.approx(-2.8378770664093453)
        found = {file.name for file in (tmp_path / "agauss").iterdir()}
        assert len(found) == 1
        assert files <= found
        files = found


# Libraries' own routines


def test_jax_compiles_and_differentiates_all_of_it():
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    mean, tril = rng.standard_normal((2, 3)), np.tril(factor(rng, 2, 3))

    @jax.jit
    def loss(mean, tril):
        q = Q(mean, tril)
        return (q.sample(rng=7) ** 2).sum() + q.kl().sum() + q.log_prob(jnp.ones(3)).sum() + q.entropy().sum()

    q = Q(mean, tril)
    value = (q.sample(rng=7) ** 2).sum() + q.kl().sum() + q.log_prob(1.0).sum() + q.entropy().sum()
    assert_close(loss(jnp.asarray(mean), jnp.asarray(tril)), value)
    d_mean, d_tril = jax.grad(loss, (0, 1))(jnp.asarray(mean), jnp.asarray(tril))
    parts = [q.sample_vjp(cotangent=2 * q.sample(rng=7), rng=7), q.kl_vjp(cotangent=1.0)]
    parts.append(q.log_prob_vjp(1.0, cotangent=1.0)[1:])
    assert_close(d_mean, sum(part[0] for part in parts))
    assert_close(
        jnp.tril(d_tril), sum(part[1] for part in parts) + np.eye(3) / (tril + 1 - np.eye(3))
    )  # the entropy's is 1 / L


def test_dask_computes_by_blocks_and_later():
    import dask.array as da

    rng = np.random.default_rng(0)
    mean, tril = rng.standard_normal((6, 4)), factor(rng, 6, 4)
    lazy = Q(da.from_array(mean, chunks=(2, 2)), da.from_array(tril, chunks=(3, 2, 4)))
    z, kl = lazy.sample(rng=7), lazy.kl()
    assert isinstance(z, da.Array)
    assert kl.numblocks[0] > 1
    assert_close(z, Q(mean, tril).sample(rng=7))
    assert_close(kl, Q(mean, tril).kl())


# Errors

GOOD = np.zeros((2, 3)), np.broadcast_to(np.eye(3), (2, 3, 3))


@pytest.mark.parametrize(
    ("mean", "tril", "kinds", "says"),
    [
        (GOOD[0], [[1.0]], TypeError, ("scale_tril", "array", "list")),
        ([0.0], GOOD[1], TypeError, ("mean", "array", "list")),
        (GOOD[0], np.ones((3, 3), int), TypeError, ("scale_tril", "floating", "int64")),
        (GOOD[0], np.eye(3, dtype=np.float32), TypeError, ("scale_tril", "dtype of mean", "float64", "float32")),
        (GOOD[0], torch.eye(3), TypeError, ("scale_tril", "library", "numpy", "torch")),
        (GOOD[0], np.ones(3), ValueError, ("scale_tril", r"\(..., D, D\)", r"\(3,\)")),
        (GOOD[0], np.ones((3, 2)), ValueError, ("scale_tril", r"\(3, 2\)")),
        (GOOD[0], np.eye(4), ValueError, ("mean", "broadcast", r"\(2, 3\)", r"\(4, 4\)")),
        (GOOD[0], np.eye(1), ValueError, ("mean", "broadcast", r"\(2, 3\)", r"\(1, 1\)")),
        (np.zeros((4, 3)), GOOD[1], ValueError, ("mean", "broadcast", r"\(4, 3\)", r"\(2, 3, 3\)")),
        (GOOD[0], np.diag([1.0, 0.0, 1.0]), ValueError, ("scale_tril", "positive diagonal", "0.0", r"\(1, 1\)")),
        (GOOD[0], GOOD[1] * [[[1.0]], [[-2.0]]], ValueError, ("scale_tril", "-2.0", r"\(1, 0, 0\)")),
    ],
    ids=str,
)
def test_arrays_that_do_not_fit_are_refused(mean, tril, kinds, says):
    assert_refused(Q, mean, tril, kinds=kinds, says=says)


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_a_covariance_that_is_not_positive_definite_is_named(library):
    covariances = np.stack([np.eye(2), np.ones((2, 2)), -np.eye(2)])
    says = ("covariance", "positive definite", r"\(1,\)")
    assert_refused(Q.from_covariance, 0.0, array(library, covariances), kinds=ValueError, says=says)
    assert_refused(
        Q.from_covariance, 0.0, array(library, -np.eye(2)), kinds=ValueError, says=("covariance", "it is not")
    )


def test_other_arguments_that_do_not_fit_are_refused():
    q = Q(*GOOD)
    assert_refused(q.kl, Q(np.zeros(4), np.eye(4)), kinds=ValueError, says=("other's mean", "broadcast"))
    assert_refused(q.kl, Q(np.zeros(1), np.eye(1)), kinds=ValueError, says=("other", "extent of 3", "1"))
    assert_refused(
        q.kl, torch.distributions.Normal(0, 1), kinds=TypeError, says=("other", "MultivariateNormal", "Normal")
    )
    assert_refused(q.kl, D(np.zeros((2, 8)), event_axes=0), kinds=ValueError, says=("other", "event axes", "-2"))
    assert_refused(q.log_prob, np.zeros(4), kinds=ValueError, says=("broadcast", "4"))
    assert_refused(q.log_prob, np.zeros(3, np.float32), kinds=TypeError, says=("x", "dtype", "float32"))
    assert_refused(q.kl_vjp, cotangent=np.zeros(3), kinds=ValueError, says=("cotangent", r"\(2,\)", r"\(3,\)"))
    assert_refused(q.sample, "seed", kinds=TypeError, says=("rng", "str"))
    assert_refused(Q.from_diagonal, q, kinds=TypeError, says=("q", "DiagonalGaussian", "MultivariateNormal"))


@libraries
def test_missing_and_infinite_entries_give_nan_or_inf_and_never_raise(library):
    tril = np.stack([np.eye(2)] * 3)
    tril[1, 1, 0], tril[2, 0, 0] = np.nan, np.inf
    q = Q(array(library, np.zeros((3, 2))), array(library, tril))
    kl, log_prob = host(q.kl()), host(q.log_prob(1.0))
    assert np.isfinite([kl[0], log_prob[0]]).all()
    assert np.isnan([kl[1], log_prob[1]]).all()
    assert kl[2] == np.inf
    assert log_prob[2] == -np.inf
