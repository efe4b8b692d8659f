"""Dask in other processes: a cluster's workers, more latents than fit in memory, and an environment without Dask."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import agauss as ag

ROOT = Path(ag.__file__).parent.parent


def finished(*command, timeout, **settings):
    """What a process prints, which must end well in time."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


CLUSTER = """
import dask, numpy as np, dask.array as da, agauss as ag

def threading_layer():
    from agauss.backends.cpu import threads
    return threads.layer()

def main():
    from distributed import Client, LocalCluster
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(50, 8, 30, 31)).astype("float32")
    ids = rng.permutation(50)
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        lazy = da.from_array(parameters, chunks=(20, 3, 30, 31))
        q = ag.DiagonalGaussianDistribution(lazy)
        z, kl, later = dask.compute(*q.sample_and_kl(7), q.sample(8, index=ids))
        g = ag.sample_and_kl_vjp(lazy, cotangent=(1.0, 2.0), rng=7).compute()
        assert len(client.scheduler_info()["workers"]) == 2
        print(set(client.run(threading_layer).values()))
    want = ag.DiagonalGaussianDistribution(parameters)
    assert np.array_equal(z, want.sample(7))
    assert np.array_equal(later, want.sample(8, index=ids))
    assert np.array_equal(g, ag.sample_and_kl_vjp(parameters, cotangent=(1.0, 2.0), rng=7))
    assert np.allclose(kl, want.kl(), rtol=4e-7, atol=0)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_workers_of_a_cluster_compute_the_same_bits_and_start_no_threads(tmp_path):
    """Two processes of two threads each, which compute blocks of 37,200 and more elements: enough for Numba's pool."""
    script = tmp_path / "script.py"
    script.write_text(CLUSTER)
    assert finished(script, timeout=120).strip() == "{'not started'}"


@pytest.mark.slow
def test_latents_that_do_not_fit_in_memory_do_not_have_to():
    """The peak is the process's own, as the system measures it; the bound and its reason are the example's."""
    example = ROOT / "examples" / "dask_latents.py"
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("dask_latents", {str(example)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import tempfile, pathlib
with tempfile.TemporaryDirectory() as folder:
    module.main(pathlib.Path(folder))
    import dask.array as da, numpy as np, agauss as ag
    latents = [da.from_zarr(folder + "/latents.zarr", component=name)[-3:].compute() for name in ("mean", "logvar")]
    z = da.from_zarr(folder + "/samples.zarr", component="z")[-3:].compute()
    size = module.SHAPE[0]
    ids = range(size - 3, size)
    assert np.array_equal(z, ag.sample(*latents, rng=ag.random.Key(2026), index=ids, bounds=(-30, 20)))
print(module.peak_mb(), module.BOUND_MB, module.LATENTS_MB)
"""
    peak, bound, latents = map(float, finished("-c", script, timeout=120).splitlines()[-1].split())
    assert 50 < peak < bound < latents


def test_without_dask_the_error_names_the_extra(tmp_path):
    script = """
import sys
sys.modules["dask.array"] = sys.modules["dask"] = None
try:
    import agauss.integrations.dask
except ImportError as error:
    print(error)
"""
    assert 'pip install "agauss[dask]"' in finished("-c", script, timeout=60)
