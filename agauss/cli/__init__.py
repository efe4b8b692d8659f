"""The command line: finds the command and runs it; what a command does and needs is in its own file."""

import argparse
from collections.abc import Sequence

import agauss
from agauss.cli import demo
from agauss.console import command

COMMANDS = (demo,)  # each has register(subparsers), which sets `run`: a function of the arguments to the exit code


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command: 0, or 1 where it failed; no command, and wrong arguments, exit with 2."""
    parser = argparse.ArgumentParser(prog="agauss", description="Diagonal Gaussians for every array library.")
    parser.add_argument("--version", action="version", version=f"agauss {agauss.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="command")
    for each in COMMANDS:
        each.register(subparsers)
    args = parser.parse_args(argv)
    if "run" not in args:
        parser.print_help()
        return 2
    return int(args.run(args))
