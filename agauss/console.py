"""What a command owes its terminal: exit codes, not tracebacks, where its reader is gone or it is interrupted."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps

BROKEN_PIPE, INTERRUPTED = 141, 130  # what a shell says of a process that SIGPIPE or SIGINT has ended
Main = Callable[[Sequence[str] | None], int]


def command(main: Main) -> Callable[..., int]:
    """A command's main, which takes arguments and returns an exit code, with these two codes as well."""

    @wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed before the process began
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        try:
            try:
                return main(argv)
            finally:
                sys.stdout.flush()  # Python does so as it ends, but can only complain by then
        except BrokenPipeError:
            _discard_what_is_left()
            return BROKEN_PIPE
        except KeyboardInterrupt:
            return INTERRUPTED

    return run


def _discard_what_is_left() -> None:
    """Python will write once more to pipes that are broken: let it write nowhere."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
