"""How many instructions of sm_90 a float32 element costs in each CUDA kernel: no GPU is needed, but NVRTC and nvdisasm.

python tools/instructions.py [path of nvdisasm]
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

import agauss as ag
from agauss.arrays import NUMPY
from agauss.backends.cuda import source
from agauss.backends.cuda.backend import Backend

P, X = np.zeros((64, 8, 64, 64), np.float32), np.zeros((64, 4, 64, 64), np.float32)
Q, KL = ag.DiagonalGaussianDistribution(P), np.zeros(64, np.float32)
MEAN, LOGVAR, EVENTS = Q.mean, Q.logvar, {"axis": (1, 2, 3), "bounds": (-30, 20)}
WORK: dict[str, Callable[[], Any]] = {
    "noise": lambda: ag.random.normal(X.shape, rng=7),
    "sample": lambda: Q.sample(rng=7),
    "kl": lambda: Q.kl(),
    "nll": lambda: Q.nll(X),
    "sample and KL": lambda: Q.sample_and_kl(rng=7),
    "its backward": lambda: ag.sample_and_kl_vjp(P, cotangent=(X, KL), rng=7),
    "KL's backward": lambda: ag.kl_vjp(MEAN, LOGVAR, cotangent=KL, **EVENTS),
    "backward of KL between two": lambda: ag.kl_vjp(
        MEAN, LOGVAR, MEAN, LOGVAR, cotangent=KL, bounds2=(-30, 20), **EVENTS
    ),
}


class Recorder:
    """A runtime that notes the kernel and launches nothing."""

    def __init__(self) -> None:
        self.specs: list[source.Spec] = []

    def on(self, a: Any) -> Any:
        return nullcontext()

    def empty(self, shape: Any, dtype: Any, like: Any) -> Any:
        return np.zeros(shape, dtype)

    def address(self, a: Any) -> int:
        return int(a.ctypes.data)

    def processors(self) -> int:
        return 132

    def partials(self, count: int) -> tuple[Any, int, int]:
        return None, 0, 0

    def launch(self, spec: source.Spec, blocks: int, threads: int, words: Any) -> None:
        self.specs.append(spec)


def loops(assembly: str) -> Iterator[list[str]]:
    """The instructions between each branch backwards and its target."""
    lines: list[str] = []
    labels: dict[str, int] = {}
    for line in assembly.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(lines)
        elif instruction := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            lines.append(instruction[1])
            target = re.search(r"BRA `\((\.L_x_\d+)\)", instruction[1])
            if target and target[1] in labels:
                yield lines[labels[target[1]] :]


def main() -> None:
    nvdisasm = sys.argv[1] if len(sys.argv) > 1 else "nvdisasm"
    recorder = Recorder()
    NUMPY.backend = Backend(recorder)
    for name, call in WORK.items():
        call()
        spec = recorder.specs.pop()
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(source.compiled(source.source(spec), "sm_90")[0])
            file.flush()
            assembly = subprocess.run([nvdisasm, "-c", file.name], check=True, capture_output=True, text=True).stdout
        # The innermost loop that moves 16 bytes at a time; around it, in a row-reduce, is the one of a tile's sum.
        found = [len(loop) for loop in loops(assembly) if any(".E.128" in line for line in loop)]
        per_element = f"{found[0] / spec.vector:.1f}"
        if spec.loop == "row_reduce":
            per_element += f", and {(found[1] - found[0]) / 64:.1f} for the sum"
        print(f"{name:28} {per_element}")


if __name__ == "__main__":
    main()
