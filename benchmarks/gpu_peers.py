"""Others' ways to do the same work on the device, CogVideo's formulas, and the clocks that time them and ours.

A peer here takes the name of the work and the inputs, and returns the call to time with its clock. The formulas are
written once, for any namespace `m` with NumPy's names: CuPy's, PyTorch's and jax.numpy's own.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from agauss import dispatch
from agauss.reference import Reference
from benchmarks import common

Call = Callable[[], Any]
FORWARD = ["kl", "nll", "sample", "sample and kl"]
BACKWARD = ["kl vjp", "nll vjp", "sample and kl vjp"]


class Clock(Protocol):
    def time(self, call: Call, number: int = 1, ahead: Call | None = None) -> float: ...


class EventClock:
    """Seconds of a call between two events of the device.

    `ahead`, the call itself by default, goes first and is not counted: while the device is busy with it the host queues
    up the rest, so that what Python costs does not show, unless it is more than the device's own time.
    """

    def __init__(self, event: Callable[[], Any], milliseconds: Callable[[Any, Any], float]) -> None:
        self.event, self.milliseconds = event, milliseconds

    def time(self, call: Call, number: int = 1, ahead: Call | None = None) -> float:
        start, stop = self.event(), self.event()
        (ahead or call)()
        start.record()
        for _ in range(number):
            call()
        stop.record()
        stop.synchronize()
        return self.milliseconds(start, stop) / 1e3 / number


class WallClock:
    """Seconds of a call on the host's clock, over calls of which the last is waited for."""

    def __init__(self, wait: Callable[[Any], Any] = lambda result: None) -> None:
        self.wait = wait

    def time(self, call: Call, number: int = 1, ahead: Call | None = None) -> float:
        self.wait((ahead or call)())
        start = time.perf_counter()
        for _ in range(number):
            result = call()
        self.wait(result)
        return (time.perf_counter() - start) / number


def clock_of(xp: Any) -> Clock:
    """CuPy's events; the host's clock for NumPy, whose calls return when they are done."""
    return WallClock() if xp is np else EventClock(xp.cuda.Event, xp.cuda.get_elapsed_time)


class Timed(NamedTuple):
    call: Call
    clock: Clock


class Peer(NamedTuple):
    name: str
    make: Callable[[str, common.Inputs], Timed]
    works: list[str]


def kl_term(m: Any, mean: Any, logvar: Any) -> Any:
    logvar = m.clip(logvar, -30.0, 20.0)
    return mean * mean + m.exp(logvar) - 1.0 - logvar


def nll_term(m: Any, mean: Any, logvar: Any, x: Any) -> Any:
    logvar = m.clip(logvar, -30.0, 20.0)
    d = x - mean
    return math.log(2.0 * math.pi) + logvar + d * d / m.exp(logvar)


def sample_term(m: Any, mean: Any, logvar: Any, noise: Any) -> Any:
    return mean + m.exp(0.5 * m.clip(logvar, -30.0, 20.0)) * noise


def forward(work: str, m: Any, noise: Callable[[Any, Any], Any], fuse: Callable[[Any], Any] = lambda term: term) -> Any:
    """The work as a function of (parameters, x, key); `fuse` makes one kernel of a term, where the library can."""
    kl_of, nll_of, sample_of = (fuse(partial(term, m)) for term in (kl_term, nll_term, sample_term))

    def kl(p: Any, x: Any, key: Any) -> Any:
        return 0.5 * m.sum(kl_of(*_halves(p)), axis=tuple(range(1, p.ndim)))

    def nll(p: Any, x: Any, key: Any) -> Any:
        return 0.5 * m.sum(nll_of(*_halves(p), x), axis=tuple(range(1, p.ndim)))

    def sample(p: Any, x: Any, key: Any) -> Any:
        mean, logvar = _halves(p)
        return sample_of(mean, logvar, noise(mean, key))

    def sample_and_kl(p: Any, x: Any, key: Any) -> Any:
        return sample(p, x, key), kl(p, x, key)

    return {"kl": kl, "nll": nll, "sample": sample, "sample and kl": sample_and_kl}[work]


def _halves(parameters: Any) -> Any:
    channels = parameters.shape[1] // 2
    return parameters[:, :channels], parameters[:, channels:]


def array_api(work: str, a: common.Inputs) -> Timed:
    """agauss's own form for any array library, in place of the kernels."""

    def call() -> Any:
        with on_reference(dispatch.library_of(a.parameters)):
            return common.OURS[work](a)

    return Timed(call, clock_of(a.xp))


@contextmanager
def on_reference(library: Any) -> Iterator[None]:
    backend, fills = library.backend, library.fills
    library.backend, library.fills = Reference(library.xp), False
    try:
        yield
    finally:
        library.backend, library.fills = backend, fills


def expression(work: str, a: common.Inputs, fused: bool = False) -> Timed:
    """The formulas as one writes them in CuPy; fused, each formula's elementwise part is one kernel of CuPy's."""
    xp = a.xp
    generator = xp.random.default_rng(7)
    fuse = _fused(xp) if fused else lambda term: term
    f = forward(work, xp, lambda mean, key: generator.standard_normal(mean.shape, dtype=mean.dtype), fuse)

    def call() -> Any:
        return f(a.parameters, a.x, None)

    result = call()
    for array in result if isinstance(result, tuple) else (result,):
        if array.dtype != a.parameters.dtype:
            raise TypeError(f"computes in {array.dtype}")
    return Timed(call, clock_of(xp))


def _fused(xp: Any) -> Callable[[Any], Any]:
    def fuse(term: Any) -> Any:
        # cupy.fuse wants as many plain arguments as the function is called with, and a name.
        if term.func is kl_term:
            return xp.fuse(kernel_name="peer_kl")(lambda mean, logvar: term(mean, logvar))
        return xp.fuse(kernel_name=f"peer_{term.func.__name__}")(lambda mean, logvar, x: term(mean, logvar, x))

    return fuse


def torch_peer(work: str, a: common.Inputs, compiled: bool = False) -> Timed:
    """PyTorch on the very same memory. A backward is that alone: its forward has run, and what it saved is kept."""
    import torch

    clock: Clock = WallClock()
    if a.xp is not np:
        if not torch.cuda.is_available():
            raise RuntimeError("this PyTorch finds no GPU")
        clock = EventClock(partial(torch.cuda.Event, enable_timing=True), lambda start, stop: start.elapsed_time(stop))
    p, x, d_z, d_kl = (torch.from_dlpack(array) for array in (a.parameters, a.x, a.d_z, a.d_kl))
    f = forward(work.removesuffix(" vjp"), torch, lambda mean, key: torch.randn_like(mean))
    if compiled:
        import torch._functorch.config

        torch._functorch.config.donated_buffer = False  # or a compiled backward cannot run twice
        torch.compiler.reset()
        f = torch.compile(f, dynamic=False)
    if not work.endswith("vjp"):
        return Timed(lambda: f(p, x, None), clock)
    wanted = (p, x) if work == "nll vjp" else (p,)
    for array in wanted:
        array.requires_grad_()
    values = f(p, x, None)
    cotangent = (d_z, d_kl) if work == "sample and kl vjp" else d_kl
    return Timed(lambda: torch.autograd.grad(values, wanted, cotangent, retain_graph=True), clock)


def jax_peer(work: str, a: common.Inputs) -> Timed:
    """JAX on arrays of its own, of the same sizes."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    if a.xp is not np and jax.devices()[0].platform != "gpu":
        raise RuntimeError("this JAX finds no GPU")
    key = jax.random.key(7)
    p, x, d_z, d_kl = (jax.random.normal(key, v.shape, v.dtype) for v in (a.parameters, a.x, a.d_z, a.d_kl))
    f = forward(work.removesuffix(" vjp"), jax.numpy, lambda mean, key: jax.random.normal(key, mean.shape, mean.dtype))
    clock = WallClock(jax.block_until_ready)
    if not work.endswith("vjp"):
        compiled = jax.jit(f)
        return Timed(lambda: compiled(p, x, key), clock)

    @jax.jit
    def backward(p: Any, x: Any, key: Any, cotangent: Any) -> Any:
        if work == "nll vjp":
            return jax.vjp(lambda p, x: f(p, x, key), p, x)[1](cotangent)
        return jax.vjp(lambda p: f(p, x, key), p)[1](cotangent)

    cotangent = (d_z, d_kl) if work == "sample and kl vjp" else d_kl
    return Timed(lambda: backward(p, x, key, cotangent), clock)


# The slowest to get ready comes last: there the time may run out.
PEERS = [
    Peer("CuPy expression", expression, FORWARD),
    Peer("torch eager", torch_peer, FORWARD + BACKWARD),
    Peer("jax.jit", jax_peer, FORWARD + BACKWARD),
    Peer("torch.compile", partial(torch_peer, compiled=True), FORWARD + BACKWARD),
    Peer("cupy.fuse", partial(expression, fused=True), FORWARD),
    Peer("array-API form", array_api, FORWARD + BACKWARD),
]
