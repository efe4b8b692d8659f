"""Calls from many threads, in forked and spawned processes, under each of Numba's threading layers; with any number of
threads. All in processes of their own, which may die or hang.
"""

import os

import pytest
from processes import NOT_THERE, PRELUDE, run
from quick import slow_unless

LAYERS = {"omp": "omppool", "tbb": "tbbpool", "workqueue": "workqueue"}
layers = pytest.mark.parametrize("layer", slow_unless(lambda layer: layer == "omp", LAYERS))


def under(layer, script, tmp_path, *, prelude=PRELUDE, **settings):
    """The script under a threading layer, where that can be loaded; the script must have used it."""
    check = f"""
import importlib, sys
try:
    importlib.import_module("numba.np.ufunc.{LAYERS[layer]}")
except ImportError as error:
    print("threading layer {layer} cannot be loaded here:", error)
    sys.exit({NOT_THERE})
"""
    script += f"""
    import numba
    assert numba.threading_layer() == "{layer}", numba.threading_layer()
    print("done")
"""
    done = run(script, tmp_path, prelude=check + prelude, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS=2, **settings)
    assert done.stdout.splitlines()[-1] == "done"
    return done


EIGHT_THREADS = """
if __name__ == "__main__":
    want = None if COLD else {seed: work(seed) for seed in ARRAYS}
    got = {seed: [] for seed in ARRAYS}
    barrier = threading.Barrier(8)

    def run(seed):
        barrier.wait()
        for _ in range(125):
            got[seed].append(work(seed))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in ARRAYS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    want = want or {seed: work(seed) for seed in ARRAYS}
    for seed, values in got.items():
        assert len(values) == 125
        assert set(values) == {want[seed]}, seed
"""


@layers
def test_eight_threads_make_a_thousand_calls_each_with_the_serial_results(layer, tmp_path):
    under(layer, "COLD = False" + EIGHT_THREADS, tmp_path)


@pytest.mark.slow
def test_eight_threads_may_make_the_very_first_calls(tmp_path):
    run("COLD = True" + EIGHT_THREADS, tmp_path)


AFTER_A_PARALLEL_CALL = """
import multiprocessing

def check(want):
    os._exit(0 if work(1) == want else 1)

if __name__ == "__main__":
    want = work(1)
    child = os.fork()
    if child == 0:
        check(want)
    assert os.waitpid(child, 0)[1] == 0

    process = multiprocessing.get_context("fork").Process(target=check, args=(want,))
    process.start()
    process.join(100)
    assert process.exitcode == 0, process.exitcode

    child = os.fork()  # and a grandchild
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            check(want)
        os._exit(0 if os.waitpid(grandchild, 0)[1] == 0 and work(1) == want else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert work(1) == want
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@layers
def test_forked_children_work_after_a_parallel_call(layer, tmp_path):
    under(layer, AFTER_A_PARALLEL_CALL, tmp_path)


PARALLEL_CODE_OF_OTHERS = """
import numba
import numpy as np

@numba.njit(parallel=True)
def total(x):
    s = 0.0
    for i in numba.prange(x.size):
        s += x[i]
    return s
"""
AFTER_IT = """
import os, sys

if __name__ == "__main__":
    assert total(np.ones(100_000)) == 100_000
    child = os.fork()
    if child == 0:
        import agauss as ag
        x = np.full((5, 10_007), 0.5, np.float32)
        os._exit(0 if np.isclose(ag.kl(x, x), x.size * (0.5**2 + np.exp(0.5) - 1 - 0.5) / 2) else 1)
    status = os.waitpid(child, 0)[1]
    assert status == 0, status
    assert "agauss" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@layers
def test_forked_children_work_after_parallel_code_that_is_not_ours(layer, tmp_path):
    """The child is the first to import agauss, which finds a pool that has started."""
    under(layer, PARALLEL_CODE_OF_OTHERS + AFTER_IT, tmp_path, prelude="")


AMID_PARALLEL_CALLS = """
if __name__ == "__main__":
    want = {seed: work(seed) for seed in (1, 3)}
    stop = threading.Event()

    def run(seed):
        while not stop.is_set():
            assert work(seed) == want[seed]

    threads = [threading.Thread(target=run, args=(seed,)) for seed in want]
    for thread in threads:
        thread.start()
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os._exit(0 if work(1) == want[1] and work(3) == want[3] else 1)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    for thread in threads:
        thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@layers
def test_forked_children_work_while_other_threads_are_in_parallel_calls(layer, tmp_path):
    """A lock held by a thread of the parent's is held for ever in the child, unless it is made anew."""
    under(layer, AMID_PARALLEL_CALLS, tmp_path)


POOL = """
import multiprocessing

if __name__ == "__main__":
    want = [work(seed) for seed in ARRAYS]
    with multiprocessing.get_context(METHOD).Pool(2) as pool:
        assert pool.map_async(work, ARRAYS).get(100) == want
    print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_pools_give_the_parents_results(method, tmp_path):
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    assert run(f"METHOD = {method!r}\n" + POOL, tmp_path).stdout == "done\n"


DATA_LOADER = """
import torch

class Latents(torch.utils.data.Dataset):
    def __init__(self, parameters):
        self.parameters = parameters

    def __len__(self):
        return len(self.parameters)

    def __getitem__(self, i):
        mean, logvar = self.parameters[i : i + 1, :4], self.parameters[i : i + 1, 4:]
        z = ag.sample(mean, logvar, rng=7, index=[i])
        tensors = ag.sample(torch.from_numpy(mean), torch.from_numpy(logvar), rng=7, index=[i])
        return torch.from_numpy(z[0]), tensors[0]

if __name__ == "__main__":
    parameters = inputs(0, (6, 8, 96, 96))[0]
    want = torch.from_numpy(ag.sample_and_kl(parameters, rng=7, bounds=None)[0])
    batches = list(torch.utils.data.DataLoader(Latents(parameters), 3, num_workers=2, multiprocessing_context="fork"))
    assert torch.equal(torch.cat([z for z, _ in batches]), want)
    torch.testing.assert_close(torch.cat([z for _, z in batches]), want, rtol=1e-5, atol=1e-6)
    print("done")
"""


@pytest.mark.slow
def test_a_torch_data_loader_with_workers_gives_the_batchs_samples(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    # From a parent that has run parallel code; 36,864 elements a sample, enough to run in parallel again.
    assert run(DATA_LOADER, tmp_path).stdout == "done\n"


# The number of threads

DIGESTS = """
import numba
assert numba.get_num_threads() == int(os.environ["NUMBA_NUM_THREADS"])

def show(name, *values):
    print(name, hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in values)).hexdigest())

for dtype in ("float32", "float64", "float16"):
    for shape in ((16, 8, 64, 64), (7, 33, 331), (100_003,), (300, 1025), (50_021, 3), (1, 999_983)):
        if dtype != "float32" and shape != (7, 33, 331):
            continue
        mean, logvar = inputs(1, shape, dtype)
        events = tuple(range(1, len(shape)))
        show(f"{dtype} {shape} all", ag.kl(mean, logvar))
        show(f"{dtype} {shape} events", ag.kl(mean, logvar, axis=events))
        show(f"{dtype} {shape} first", ag.nll(mean, logvar, logvar, axis=0))
        show(f"{dtype} {shape} sample", ag.sample(mean, logvar, rng=7), ag.sample(mean, logvar, rng=7, sample_shape=2))
        show(f"{dtype} {shape} vjp", *ag.sample_vjp(mean, logvar, cotangent=1.0, rng=7))
        show(f"{dtype} {shape} broadcast vjp", *ag.kl_vjp(mean[:1], logvar, cotangent=1.0))
q = ag.DiagonalGaussianDistribution(inputs(2, (16, 8, 64, 64))[0])
show("distribution", *q.sample_and_kl(7), q.kl(), q.entropy())
"""


def test_the_number_of_threads_changes_no_bit(tmp_path):
    alone = run(DIGESTS, tmp_path, NUMBA_NUM_THREADS=1).stdout
    assert len(alone.splitlines()) == 49
    assert run(DIGESTS, tmp_path, NUMBA_NUM_THREADS=5).stdout == alone


@pytest.mark.slow
def test_the_layer_of_threads_changes_no_bit(tmp_path):
    alone = run(DIGESTS, tmp_path, NUMBA_NUM_THREADS=1).stdout
    assert len(alone.splitlines()) == 49
    for layer in ("omp", "workqueue"):
        assert run(DIGESTS, tmp_path, NUMBA_NUM_THREADS=2, NUMBA_THREADING_LAYER=layer).stdout == alone


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["nonsense", "tbb"])
def test_calls_are_serial_where_the_layer_that_is_asked_for_is_not_there(layer, tmp_path):
    script = "print(hashlib.sha256(work(1)).hexdigest())"
    assert run(script, tmp_path, NUMBA_THREADING_LAYER=layer).stdout == run(script, tmp_path).stdout


# What is imported

LIBRARIES = ("numba", "llvmlite", "cupy", "torch", "jax", "dask", "scipy", "ml_dtypes")


def test_importing_agauss_imports_no_array_library_and_no_compiler(tmp_path):
    script = f"import sys, agauss; print([name for name in {LIBRARIES} if name in sys.modules])"
    assert run(script, tmp_path, prelude="").stdout == "[]\n"


def test_numpy_calls_import_no_other_array_library(tmp_path):
    script = """
work(1), work(2)
q = ag.DiagonalGaussianDistribution(inputs(0, (2, 8, 4))[0])
q.sample(None), q.kl(), q.kl(q), q.nll(q.mean), q.entropy(), q.std, q.var, q.mode(), repr(q)
ag.sample_and_kl_vjp(inputs(0, (2, 8))[0], cotangent=(1.0, 1.0), rng=7)
ag.random.normal(5, rng=np.random.default_rng(7))
print([name for name in ("cupy", "torch", "jax", "dask", "ml_dtypes") if name in sys.modules])
"""
    assert run(script, tmp_path).stdout == "[]\n"


@pytest.mark.slow
def test_numba_may_have_been_used_before(tmp_path):
    script = """
assert total(np.ones(100_000)) == 100_000
numba.set_num_threads(1)
alone = work(1)
numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
assert work(1) == alone
assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
assert total(np.ones(100_000)) == 100_000
print("done")
"""
    assert run(PARALLEL_CODE_OF_OTHERS + script, tmp_path, NUMBA_NUM_THREADS=2).stdout == "done\n"
