"""The speed, start and memory that agauss is to reach, measured in one run on two threads: a Markdown table.

python benchmarks/targets.py [--quick] [--out FILE]
"""

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

THREADS = 2
# Before any library looks how many processors there are; JAX has no other way to be told.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import common, peers, process, small  # noqa: E402

# How many times faster than each peer at least, in float32; half of that in float64.
FASTER = {
    ("kl", common.MAIN): {"torch.compile": 2.0, "torch eager": 15.0, "numpy": 15.0, "jax.jit": 15.0},
    ("sample", common.MAIN): {"torch eager": 8.0, "jax.jit": 10.0, "torch normal_ alone": 4.0},
    ("forward and backward", common.MAIN): {"torch eager": 8.0, "jax.jit": 8.0},
}
OVER_SUM = 1.6  # kl at common.LARGE, over a plain sum of the same bytes; twice that in float64
SMALL_SECONDS = 10e-6
IMPORT_SECONDS = 60e-3
FIRST_CALL_SECONDS = 1.5
PEAK_BYTES = 8e6


class Row(NamedTuple):
    what: str
    against: str
    ours: str
    theirs: str
    measured: str
    target: str
    met: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and processes")
    parser.add_argument("--out", type=Path, help="write the table there too")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    rounds, processes, shapes = (5, 3, [common.MAIN]) if options.quick else (40, 11, process.PEAK_SHAPES)
    load = os.getloadavg()[0]

    rows: list[Row] = []
    rows += speed(rounds)
    rows += against_sum(rounds)
    rows += on_small_arrays(rounds)
    rows += in_new_processes(processes)
    rows += memory(shapes)
    lines = [
        f"{processor()}, {THREADS} threads, load before {load:.1f}; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("agauss", "numpy", "numba", "torch", "jax")),
        "",
        "| what | against | ours | theirs | measured | target | met |",
        "|---|---|---|---|---|---|---|",
        *("| " + " | ".join([*row[:-1], "yes" if row.met else "**no**"]) + " |" for row in rows),
    ]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def speed(rounds: int) -> Iterator[Row]:
    for dtype, factor in (("float32", 1.0), ("float64", 0.5)):
        for (work, shape), targets in FASTER.items():
            seconds = measured(work, shape, dtype, list(targets), rounds)
            for peer, times in targets.items():
                yield faster(f"{work}, {dtype}, {shape}", peer, seconds["ours"], seconds[peer], times * factor)


def against_sum(rounds: int) -> Iterator[Row]:
    for dtype, target in (("float32", OVER_SUM), ("float64", 2 * OVER_SUM)):
        peer = "torch sum alone"
        seconds = measured("kl", common.LARGE, dtype, [peer], rounds)
        ratio = seconds["ours"] / seconds[peer]
        yield Row(
            f"kl, {dtype}, {common.LARGE}",
            peer,
            duration(seconds["ours"]),
            duration(seconds[peer]),
            f"{ratio:.2f} x its time",
            f"at most {target:g} x",
            ratio <= target,
        )


def on_small_arrays(rounds: int) -> Iterator[Row]:
    inputs = common.Inputs(small.SHAPE, "float32")
    seconds = common.interleaved({name: make(inputs) for name, make in small.CALLS.items()}, rounds)
    function, constructed, numpy = (seconds[name] for name in ("kl function", "q.kl() with construction", "numpy"))
    what = f"q.kl() with construction, float32, {small.SHAPE}"
    yield faster(what, "numpy", constructed, numpy, 1.0)
    yield limit(f"kl function, float32, {small.SHAPE}", function, SMALL_SECONDS)


def in_new_processes(processes: int) -> Iterator[Row]:
    yield limit("import agauss, NumPy imported", process.import_seconds(processes), IMPORT_SECONDS)
    for work in process.FIRST:
        seconds = process.first_call_seconds(work, processes)
        yield limit(f"first call in a new process, warm cache: {work}", seconds, FIRST_CALL_SECONDS)


def memory(shapes: list[str]) -> Iterator[Row]:
    """The worst of all the work at all the shapes."""
    for dtype in ("float32", "float64"):
        peaks = {
            f"{work}, {shape}": peak for shape in shapes for work, peak in process.peak_bytes(shape, dtype).items()
        }
        worst = max(peaks, key=peaks.__getitem__)
        what = f"peak memory over inputs and outputs, {dtype}; most in {worst}"
        yield Row(
            what,
            "",
            f"{peaks[worst] / 1e6:.2f} MB",
            "",
            "",
            f"under {PEAK_BYTES / 1e6:g} MB",
            peaks[worst] < PEAK_BYTES,
        )


def measured(work: str, shape: str, dtype: str, rivals: list[str], rounds: int) -> dict[str, float]:
    """Median seconds of ours and of each rival, in turns, after a look at whether they compute the same."""
    inputs = common.Inputs(shape, dtype)
    calls: dict[str, Callable[[], Any]] = {"ours": partial(common.OURS[work], inputs)}
    calls |= {peer: peers.PEERS[work][peer](inputs) for peer in rivals}
    results = {name: call() for name, call in calls.items()}
    if work == "kl":
        for name in [name for name in rivals if not name.endswith("alone")]:
            np.testing.assert_allclose(np.asarray(results[name]), results["ours"], rtol=1e-3, err_msg=name)
    del results
    return common.interleaved(calls, rounds)


def faster(what: str, against: str, ours: float, theirs: float, target: float) -> Row:
    times = theirs / ours
    told = f"{times:.1f} x faster", f"{target:g} x faster"
    return Row(what, against, duration(ours), duration(theirs), *told, times >= target)


def limit(what: str, seconds: float, target: float) -> Row:
    return Row(what, "", duration(seconds), "", "", f"under {duration(target)}", seconds < target)


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
