"""Scripts in processes of their own, which may die or hang."""

import os
import subprocess
import sys

import pytest

TIMEOUT = 150  # seconds; a hung child takes them all, a good one a few, or some ten where kernels must be compiled
NOT_THERE = 77

# Before every script: inputs of 50,035 elements, which are worked on in parallel, and of 1,029, which are not.
PRELUDE = """
import hashlib, os, sys, threading
import numpy as np
import agauss as ag

def inputs(seed, shape=(5, 10_007), dtype="float32"):
    return np.random.default_rng(seed).normal(size=(2, *shape)).astype(dtype)

ARRAYS = {seed: inputs(seed, (5, 10_007) if seed % 2 else (3, 343)) for seed in range(8)}

def work(seed):
    mean, logvar = ARRAYS[seed]
    values = [ag.kl(mean, logvar), ag.kl(mean, logvar, axis=1), ag.sample(mean, logvar, rng=seed)]
    values += ag.sample_vjp(mean, logvar, cotangent=1.0, rng=seed)
    return b"".join(np.asarray(v).tobytes() for v in values)
"""


def environment(**settings):
    """This process's, without settings of Numba's own, but for those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "OMP_"))}
    return {**inherited, **{name: str(value) for name, value in settings.items()}}


def run(script, tmp_path, *, prelude=PRELUDE, code=0, timeout=TIMEOUT, **settings):
    """What the script prints, in a process that must end with the code in time."""
    file = tmp_path / "script.py"
    file.write_text(prelude + script)
    done = subprocess.run(
        [sys.executable, file],
        cwd=tmp_path,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.returncode == NOT_THERE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == code, done.stderr[-3000:]
    return done
