"""KL and fresh samples of a zarr of latents that is larger than the memory that this takes; Dask schedules the blocks.

    pip install '.[dask]' zarr
    python examples/dask_latents.py [folder]

Writes latents (mean and log-variance, float16) to a zarr, and then what agauss makes of them to another: a sample of
each, and each one's KL to the standard normal. A thread holds a few blocks at a time, so the peak depends on the blocks
and the threads, and not on how many latents there are. Start a `distributed.Client()` before, and the same lines run on
all the machines of a cluster, with the same bits.
"""

import resource
import sys
import tempfile
from math import prod
from pathlib import Path

import dask
import dask.array as da

import agauss as ag

SHAPE = (32_768, 4, 32, 32)
BLOCK = (512, 4, 32, 32)  # 4 MB
THREADS = 2
LATENTS_MB = 2 * 2 * prod(SHAPE) // 10**6  # 536; their samples take half as much again
# The process as a whole stays under this, though its latents alone would not: Python and its packages take 240 MB,
# and each thread some ten blocks, of mean, logvar and z, and zarr's copies of them.
BOUND_MB = 400


def write_latents(store: Path) -> None:
    """Latents as an encoder leaves them, made block by block."""
    zeros = da.zeros(SHAPE, chunks=BLOCK, dtype="float16")
    for key, name in enumerate(("mean", "logvar")):
        da.to_zarr(ag.sample(zeros, -1.0, rng=key), str(store), component=name)


def sample_latents(store: Path, out: Path, key: ag.random.Key) -> None:
    """A sample of each latent and its KL, in one pass over the blocks."""
    mean, logvar = (da.from_zarr(str(store), component=name) for name in ("mean", "logvar"))
    q = ag.DiagonalGaussianDistribution.from_mean_logvar(mean, logvar)
    z, kl = q.sample_and_kl(key)
    dask.compute(*(da.to_zarr(a, str(out), component=name, compute=False) for name, a in (("z", z), ("kl", kl))))


def peak_mb() -> float:
    """The most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose getrusage counts what the process held that started this one
        (kib,) = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(kib) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main(folder: Path) -> None:
    latents, samples = folder / "latents.zarr", folder / "samples.zarr"
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        write_latents(latents)
        sample_latents(latents, samples, ag.random.Key(2026))
        mean_kl = float(da.from_zarr(str(samples), component="kl").mean())
    print(f"{SHAPE[0]} latents of {LATENTS_MB} MB together, with a mean KL of {mean_kl:.1f} nats")
    print(f"peak memory {peak_mb():.0f} MB, bound {BOUND_MB} MB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
