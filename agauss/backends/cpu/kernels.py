"""The kernels that have been asked for: from disk, or compiled once each and kept there."""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from agauss.backends.cpu import cache


class LoopSpec(NamedTuple):
    """All that tells one kernel from another."""

    term: Callable[..., Any]
    dtype: type[np.float32] | type[np.float64]
    inputs: int
    outputs: int
    noisy: bool
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


_kernels: dict[Any, Kernel] = {}  # by their LoopSpec; None is the loop over parts of a kernel's tasks


def kernel(spec: LoopSpec) -> Kernel:
    return _kernels.get(spec) or _of(spec)


def parallel() -> Callable[[int, int, int, int], None]:
    """The function (kernel, descriptor, tasks, parts) that calls the kernel at an address on Numba's threads."""
    return (_kernels.get(None) or _of(None)).call


def _of(spec: LoopSpec | None) -> Kernel:
    if spec is not None:
        for name in ("copy_in", "copy_out", "next_tile", *(("noise_in",) if spec.noisy else ())):
            _share(name, spec.dtype)

    def named() -> tuple[object, ...]:
        return ("parallel" if spec is None else _named(spec),)

    return made(_kernels, spec, named, lambda key: _compile(spec, key), arguments=4 if spec is None else 3)


_shared: dict[Any, Kernel] = {}  # by their name and dtype


def _share(name: str, dtype: type) -> None:
    """Make a function of shared.py known to LLVM, for the kernels that call it."""

    def make(key: str) -> Any:
        from agauss.backends.cpu import loops

        return loops.make_shared(key, name, dtype)

    function = made(_shared, (name, dtype), lambda: (name, dtype.__name__), make, arguments=5)
    llvm.add_symbol(function.key, function.address)


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


def _named(spec: LoopSpec) -> tuple[object, ...]:
    return spec.term.__module__, spec.term.__qualname__, spec.dtype.__name__, *spec[2:]


def _compile(spec: LoopSpec | None, name: str) -> Any:
    from agauss.backends.cpu import loops

    return loops.make_parallel(name) if spec is None else loops.make_loop(name, spec)
