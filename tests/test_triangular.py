"""Products and solutions of lower triangular matrices against SciPy and NumPy: by loops, by halves and by CuPy."""

import sys
from types import ModuleType

import numpy as np
import pytest
import scipy.linalg
from factors import assert_close, factor
from oracles import same_bits

from agauss.backends.array_api.triangular import Triangular
from agauss.backends.cpu import triangular


@pytest.mark.parametrize(("b", "d"), [(3, 512), (1024, 7), (1, 400)])
def test_large_batches_and_dimensions_on_all_threads_have_the_bits_of_one(b, d):
    from agauss.backends.cpu import threads

    rng = np.random.default_rng(0)
    tril, rows, others = (a.astype(np.float32) for a in (factor(rng, b, d), *rng.standard_normal((2, b, 3, d))))
    lower = np.tril(tril).astype(np.float64)
    for name, want in (
        ("product", rows @ lower.mT),
        ("solve", scipy.linalg.solve_triangular(lower, rows.mT, lower=True).mT),
        ("solve_transposed", scipy.linalg.solve_triangular(lower, rows.mT, lower=True, trans="T").mT),
        ("outer", np.tril(rows.mT.astype(np.float64) @ others)),
    ):
        arguments = (rows, others) if name == "outer" else (tril, rows)
        got = getattr(triangular, name)(*arguments)
        with threads.alone():
            assert same_bits(got, getattr(triangular, name)(*arguments))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())  # 100 ulp, of up to 512 terms


@pytest.mark.parametrize("d", [1, 5, 16, 39, 250])
def test_triangles_of_solutions_are_those_of_the_whole_and_nothing_above_is_read(d):
    rng = np.random.default_rng(0)
    tril, matrices = factor(rng, 3, d), rng.standard_normal((2, 3, d, d))
    for a in (tril, matrices):
        a[..., *np.triu_indices(d, 1)] = np.nan
    for transposed in (False, True):
        plain = np.tril(tril).mT if transposed else np.tril(tril)
        want = np.tril(np.linalg.solve(plain, np.tril(matrices)))  # by LU factors, of the whole matrices
        for own in (triangular, Triangular(np)):
            got = own.solve_lower(tril, matrices, transposed)
            assert_close(got, want, 512)
            np.testing.assert_array_equal(got, np.tril(got))
    np.testing.assert_array_equal(triangular.lower(matrices.copy()), np.tril(matrices))


def test_substitution_by_halves_solves_where_a_namespace_has_no_routine():
    import array_api_strict as xp

    rng = np.random.default_rng(0)
    for d in (1, 2, 3, 8, 13):
        tril, rows = np.tril(factor(rng, 2, d)), rng.standard_normal((2, 3, d))
        own = Triangular(xp)
        for solve, trans in ((own.solve, "N"), (own.solve_transposed, "T")):
            want = scipy.linalg.solve_triangular(tril, rows.mT, lower=True, trans=trans).mT
            assert_close(solve(xp.asarray(tril), xp.asarray(rows)), want, 512)


def test_cupy_solves_by_its_own_routine(monkeypatch):
    """CuPy's takes SciPy's arguments, and needs a GPU: SciPy's own stands for it here."""
    from agauss.backends.cuda.triangular import solve_triangular

    module = ModuleType("cupyx.scipy.linalg")
    module.solve_triangular = scipy.linalg.solve_triangular
    monkeypatch.setitem(sys.modules, "cupyx.scipy.linalg", module)
    rng = np.random.default_rng(0)
    tril, rows = factor(rng, 2, 4), rng.standard_normal((2, 3, 4))
    own = Triangular(np, solve_triangular)
    assert_close(own.solve(tril, rows), triangular.solve(tril, rows))
    assert_close(own.solve_transposed(tril, rows), triangular.solve_transposed(tril, rows))
