"""Two checkouts of agauss side by side: the same calls in turns, each checkout in a process of its own.

python benchmarks/compare.py FOLDER_OF_THE_OTHER [--rounds 9] [--only TEXT]

Prints the median time of the other and of this one, and the ratio, for each row whose name has the text. Only the
public interface is used, so the other checkout may be an old one: `git worktree add FOLDER COMMIT`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BOUNDS = (-30.0, 20.0)
MAIN = (256, 8, 64, 64)
SHAPES = {
    "float32": [MAIN, (1_000_000, 8), (1, 32, 13, 60, 90), (8, 128, 2048), (16, 40)],
    "float16": [MAIN],
    "bfloat16": [MAIN],
    "float64": [MAIN],
}


def calls(dtype: str, shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    import ml_dtypes
    import numpy as np

    import agauss as ag

    rng = np.random.default_rng(0)
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    p, p2 = ((rng.standard_normal(shape, dtype=np.float32) / 2).astype(kind) for _ in range(2))
    half, axes = shape[1] // 2, tuple(range(1, len(shape)))
    mean, logvar, mean2, logvar2 = p[:, :half], p[:, half:], p2[:, :half], p2[:, half:]
    x, z, d_x, d_p, d_p2 = mean.copy(), mean.copy(), mean.copy(), p.copy(), p2.copy()
    d_z, d_kl = np.ones_like(x), np.ones(shape[0], np.float64 if dtype == "float64" else np.float32)
    out, out2 = (d_p[:, :half], d_p[:, half:]), (d_p2[:, :half], d_p2[:, half:])
    one = {"axis": axes, "bounds": BOUNDS}
    two = one | {"bounds2": BOUNDS}
    return {
        "kl": lambda: ag.kl(mean, logvar, **one),
        "kl of two": lambda: ag.kl(mean, logvar, mean2, logvar2, **two),
        "nll": lambda: ag.nll(x, mean, logvar, **one),
        "noise": lambda: ag.random.normal(z.shape, rng=1, dtype=d_kl.dtype.name),
        "sample": lambda: ag.sample(mean, logvar, rng=1, bounds=BOUNDS, out=z),
        "sample and kl": lambda: ag.sample_and_kl(p, rng=1, out=z),
        "kl vjp": lambda: ag.kl_vjp(mean, logvar, cotangent=d_kl, out=out, **one),
        "kl vjp, new arrays": lambda: ag.kl_vjp(mean, logvar, cotangent=d_kl, **one),
        "kl of two vjp": lambda: ag.kl_vjp(mean, logvar, mean2, logvar2, cotangent=d_kl, out=(*out, *out2), **two),
        "nll vjp": lambda: ag.nll_vjp(x, mean, logvar, cotangent=d_kl, out=(d_x, *out), **one),
        "sample vjp": lambda: ag.sample_vjp(mean, logvar, cotangent=d_z, rng=1, bounds=BOUNDS, out=out),
        "sample and kl vjp": lambda: ag.sample_and_kl_vjp(p, cotangent=(d_z, d_kl), rng=1, out=d_p),
        "q.kl()": lambda: ag.DiagonalGaussianDistribution(p).kl(),
    }


def serve(folder: Path) -> None:
    """Time what is asked for on stdin, a line each: dtype, shape, row."""
    import agauss

    if not Path(agauss.__file__).is_relative_to(folder):
        sys.exit(f"agauss must be imported from {folder}; got {agauss.__file__}")
    known: tuple[str, tuple[int, ...]] | None = None
    for line in sys.stdin:
        dtype, shape, row = json.loads(line)
        if known != (dtype, tuple(shape)):
            known = dtype, tuple(shape)
            made = calls(*known)
        time.sleep(0.02)  # the other's threads look out for more to do, for a while
        made[row]()  # and its arrays are in the cache
        number = 1
        while True:
            start = time.perf_counter()
            for _ in range(number):
                made[row]()
            seconds = time.perf_counter() - start
            if seconds > 0.005:
                break
            number *= 4
        print(seconds / number, flush=True)


class Checkout:
    def __init__(self, folder: Path) -> None:
        command = [sys.executable, __file__, "--serve", str(folder)]
        self.process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(folder)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def seconds(self, *work: Any) -> float:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(work), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="rows whose name has this, as 'float16' or 'nll vjp'")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if options.other is None or not (options.other / "agauss").is_dir():
        parser.error(f"give the folder of another checkout; got {options.other}")
    checkouts = [Checkout(options.other.resolve()), Checkout(ROOT)]
    for dtype, shapes in SHAPES.items():
        for shape in shapes:
            of = f"{dtype} {'x'.join(map(str, shape))}"
            rows = [row for row in calls(dtype, (1, 2)) if options.only in f"{of} {row}"]
            if rows:
                print(f"\n{of}: the other, this one, and the ratio")
            for row in rows:
                times: list[list[float]] = [[], []]
                for turn in range(-1, options.rounds):  # the first compiles
                    for own, checkout in zip(times, checkouts, strict=True):
                        seconds = checkout.seconds(dtype, shape, row)
                        own += [seconds] if turn >= 0 else []
                old, new = map(median, times)
                print(f"{row:20} {old * 1e6:10.1f} us {new * 1e6:10.1f} us {new / old:6.2f}", flush=True)


if __name__ == "__main__":
    main()
