"""Others' ways to do the same work on the device, CogVideo's formulas, and the clocks that time them and ours.

A peer here takes the name of the work and the inputs, and returns the call to time with its clock. The formulas are
those of benchmarks/peers.py.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from agauss.arrays import library_of
from benchmarks import common, peers
from benchmarks.common import Call
from benchmarks.peers import FORWARD

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


def array_api(work: str, a: common.Inputs) -> Timed:
    """agauss's own form for any array library, in place of the kernels."""

    def call() -> Any:
        with common.on_reference(library_of(a.parameters)):
            return common.OURS[work](a)

    return Timed(call, clock_of(a.xp))


def expression(work: str, a: common.Inputs, fused: bool = False) -> Timed:
    """The formulas as one writes them in CuPy; fused, each formula's elementwise part is one kernel of CuPy's."""
    xp = a.xp
    generator = xp.random.default_rng(7)
    fuse = _fused(xp) if fused else lambda term: term
    f = peers.forward(work, xp, lambda mean, key: generator.standard_normal(mean.shape, dtype=mean.dtype), fuse)

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
        if term.func is peers.kl_term:
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
    return Timed(peers.torch_form(work, a, compiled), clock)


def jax_peer(work: str, a: common.Inputs, ours: bool = False) -> Timed:
    """JAX on arrays of its own, of the same sizes; agauss's functions in what it compiles, or its own way."""
    jax = peers.configured_jax()
    if a.xp is not np and jax.devices()[0].platform != "gpu":
        raise RuntimeError("this JAX finds no GPU")
    key = jax.random.key(7)
    own = (jax.random.normal(key, v.shape, v.dtype) for v in (a.parameters, a.x, a.d_z, a.d_kl))

    def of_ours(work: str) -> peers.Form:
        def form(p: Any, x: Any, _: Any) -> Any:
            inputs = common.Inputs(jax.numpy, p, p, fills=False)
            inputs.x = x
            return common.OURS[work](inputs)

        return form

    call = peers.jax_form(work, *own, of_ours if ours else None)
    return Timed(call, WallClock(jax.block_until_ready))


# The slowest to get ready comes last: there the time may run out.
PEERS = [
    Peer("CuPy expression", expression, FORWARD),
    Peer("torch eager", torch_peer, FORWARD + BACKWARD),
    Peer("jax.jit", jax_peer, FORWARD + BACKWARD),
    Peer("agauss in jax.jit", partial(jax_peer, ours=True), FORWARD + BACKWARD),
    Peer("torch.compile", partial(torch_peer, compiled=True), FORWARD + BACKWARD),
    Peer("cupy.fuse", partial(expression, fused=True), FORWARD),
    Peer("array-API form", array_api, FORWARD + BACKWARD),
]
