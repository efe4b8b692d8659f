"""Run a kernel's tasks on this thread, or on Numba's threads where that pays and is safe; knows no array.

Numba's pool is one for the process. Two callers at once abort it under the layer `workqueue`, and a child forked after
it has started is killed under `omp`. So one caller at a time has the pool, others run their tasks themselves (kernels
need no GIL, so they run side by side), and in a forked child there is no pool.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agauss.backends import steps

PARTS_PER_THREAD = 4  # enough to even out threads that start late


class _Own(threading.local):
    """What each thread has of its own."""

    alone = False


def layer() -> str:
    """The threading layer that Numba has taken, where a large call has been made."""
    import numba

    try:
        return str(numba.threading_layer())  # type: ignore[attr-defined]
    except ValueError:
        return "not started"


def _is_fork() -> bool:
    """Whether this process was forked and has loaded no program since, which Linux knows."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # after the name, which may be anything
        return bool(int(fields[6]) & 0x40)  # PF_FORKNOEXEC
    except (OSError, IndexError, ValueError):
        return False


_own = _Own()
_pool = threading.Lock()
_forked = _is_fork() and layer() != "not started"  # before this was imported, so the pool may be the parent's
_parallel: Callable[..., None] | None = None


def _after_fork() -> None:
    global _forked, _pool
    _forked = True
    _pool = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads() -> int:
    """How many threads a large call runs on."""
    import numba

    try:
        return 1 if _forked else int(numba.get_num_threads())
    except ValueError:  # the layer that Numba is told to take is not there
        return 1


@contextmanager
def alone() -> Iterator[None]:
    """Within, this thread runs its tasks itself: others do the rest of its caller's work at the same time."""
    before, _own.alone = _own.alone, True
    try:
        yield
    finally:
        _own.alone = before


def run(kernel: Any, descriptor: int, tasks: int) -> None:
    """Call kernel(descriptor, first, last) over all of the tasks; `descriptor` is an address."""
    if tasks < 2 or _forked or _own.alone or not _pool.acquire(blocking=False):
        if steps.watching():
            steps.note(f"on one thread: {_reason(tasks)}")
        kernel(descriptor, 0, tasks)
        return
    try:
        _run_parallel(kernel, descriptor, tasks)
    finally:
        _pool.release()


def _reason(tasks: int) -> str:
    """Why a call runs on one thread."""
    if tasks < 2:
        return "it is one task"
    if _forked:
        return "this is a forked child"
    return "its block has no more" if _own.alone else "another call has Numba's threads"


def _run_parallel(kernel: Any, descriptor: int, tasks: int) -> None:
    global _parallel
    n = threads()
    if n == 1:
        steps.note("on one thread: Numba has no more")
        kernel(descriptor, 0, tasks)
        return
    if _parallel is None:
        from agauss.backends.cpu.kernels import parallel

        _parallel = parallel()
    steps.note(f"on {n} threads")
    _parallel(kernel.address, descriptor, tasks, min(tasks, PARTS_PER_THREAD * n))
