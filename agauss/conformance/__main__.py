"""`python -m agauss.conformance module:Class`: the table of what passes and what fails."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import import_module

from agauss.conformance.libraries import LIBRARIES, library_of_class
from agauss.conformance.subject import SOURCES
from agauss.conformance.suite import Row, run

WIDEST = 100  # characters of what came


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table: 0, or 1 where a row failed; what cannot be run exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m agauss.conformance",
        description="Check a class of diagonal Gaussians, Class(parameters, deterministic=False), against the formulas "
        "and for the faults of the reference implementations.",
        epilog=f"Noise is seeded by sample's argument {', '.join(SOURCES[:-1])} or {SOURCES[-1]}, where it has one, and "
        "else by the library's global seed. A row is n/a where the library or the machine cannot tell: gradients "
        "without autograd, CPU and GPU without a GPU. Exit code: 0, 1 where a row fails, 2 where nothing could be run.",
    )
    parser.add_argument("subject", metavar="module:Class")
    parser.add_argument(
        "--arrays", choices=tuple(LIBRARIES), help="the library of the arrays; by default what the class's module imports"
    )
    args = parser.parse_args(argv)
    name, _, class_name = args.subject.partition(":")

    def unusable(why: str) -> None:
        parser.exit(2, f"{parser.prog}: error: {why}\n")

    if not name or not class_name:
        unusable(f"a class must be named as module:Class; got {args.subject!r}")
    try:
        module = import_module(name)
    except Exception as error:  # a module may raise anything
        unusable(f"cannot import {name}: {described(error)}")
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        unusable(f"{name} has no class {class_name}")
    arrays = args.arrays or library_of_class(cls)
    normal_kl = getattr(module, "normal_kl", None)
    try:
        rows = run(cls, arrays, normal_kl)
    except Unavailable as error:
        unusable(str(error))
    source = Subject(
    print(f"{args.subject} on arrays of {arrays}; noise from {source}\n")
    for line in table(rows):
        print(line)
    counts = Counter(row.result for row in rows)
    print("\n" + ", ".join(f"{counts[result]} {result}" for result in ("pass", "fail", "n/a")))
    return int(counts["fail"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
