"""The kernels that have been asked for: from disk, or compiled once each and kept there."""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from agauss.backends.cpu import cache


class LoopSpec(NamedTuple):
    """All that tells one loop from another."""

    term: Callable[..., Any]
    dtype: type[np.float32] | type[np.float64]
    inputs: int
    outputs: int
    kinds: tuple[str, ...] = ()
    bounded: tuple[int, int] = (-1, -1)
    chained: tuple[int, int] = (-1, -1)
    calm: bool = False  # whether the bounds are so near that calm.py will do
    halves: bool = False  # whether the loop converts half types itself
    summed: int | None = None  # the value that a row-reduce adds up; None is a map


class Kernel:
    """Machine code, called without the GIL: of a kernel with the descriptor's address and a range of tasks."""

    def __init__(self, key: str, function: cache.Function, arguments: int) -> None:
        self.key = key
        self.address, self._owner = function
        self.call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(self.address)

    def __call__(self, descriptor: int, begin: int, end: int) -> None:
        self.call(descriptor, begin, end)


_kernels: dict[Any, Kernel] = {}  # by what they do, and for what: a dtype, or a LoopSpec


def walk(dtype: type) -> Kernel:
    """A function (descriptor, first task, last task) for all passes of a computing dtype. It calls the other two."""
    return _of("walk", dtype)


def noise(dtype: type) -> Kernel:
    """A function (descriptor, frame, elements) that makes the noise of a tile."""
    return _of("noise", dtype)


def loop(spec: LoopSpec) -> Kernel:
    """A function (descriptor, frame, elements) that computes a tile."""
    return _of("loop", spec)


def parallel() -> Callable[[int, int, int, int], None]:
    """The function (walk, descriptor, tasks, parts) that calls the walk at an address on Numba's threads."""
    return _of("parallel", None).call


def _of(kind: str, what: Any) -> Kernel:
    return _kernels.get((kind, what)) or made(
        _kernels,
        (kind, what),
        lambda: _named(kind, what),
        lambda key: _compile(kind, key, what),
        arguments=4 if kind == "parallel" else 3,
    )


def made(
    known: dict[Any, Kernel],
    spec: Any,
    named: Callable[[], tuple[object, ...]],
    make: Callable[[str], Any],
    arguments: int,
) -> Kernel:
    """The kernel of a spec: a known one, or from disk by what names it, or else compiled by `make` under the name that
    it is given."""
    return known.get(spec) or _aside(_make, known, spec, named(), make, arguments)


def _aside(work: Callable[..., Kernel], *args: Any) -> Kernel:
    """work(*args) on a thread of its own: a signal's handler, which may interrupt the main thread anywhere, may call
    agauss, and Numba cannot compile within its own compiling."""
    if global_compiler_lock.is_locked():  # by this thread, for which the other would wait
        return work(*args)
    result: Future[Kernel] = Future()

    def run() -> None:
        try:
            result.set_result(work(*args))
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, name="agauss compiles")
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending, and starts no more threads
        return work(*args)
    made = result.result()
    thread.join()
    return made


def _make(
    known: dict[Any, Kernel], spec: Any, named: tuple[object, ...], make: Callable[[str], Any], arguments: int
) -> Kernel:
    """From disk, or compiled by one thread at a time."""
    key = cache.key(*named)
    function = cache.load(key)
    if function is None:
        with global_compiler_lock:
            if spec in known:  # while this thread waited
                return known[spec]
            compiled = make(key)
            cache.save(key, compiled)
            function = cache.Function(compiled.address, compiled)
    # Of several threads' the first is kept: some have its address alone.
    return known.setdefault(spec, Kernel(key, function, arguments))


def _named(kind: str, what: Any) -> tuple[object, ...]:
    if isinstance(what, LoopSpec):
        return kind, what.term.__module__, what.term.__qualname__, what.dtype.__name__, *what[2:]
    return kind, getattr(what, "__name__", what)


def _compile(kind: str, name: str, what: Any) -> Any:
    from agauss.backends.cpu import loops, normals, walk

    make = {"walk": walk.make, "noise": normals.make, "loop": loops.make, "parallel": walk.make_parallel}[kind]
    return make(name, what)
