"""`python -m agauss.conformance module:Class`: the table of what passes and what fails."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NoReturn

from agauss.conformance.libraries import LIBRARIES, library_of_class
from agauss.conformance.subject import SOURCES, Subject
from agauss.conformance.suite import Row, described, rows_of
from agauss.console import command

WIDEST = 80  # characters of what came


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table: 0, or 1 where a row failed; what cannot be run exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m agauss.conformance",
        description="Check a class of diagonal Gaussians, Class(parameters, deterministic=False), against the formulas "
        "and for the faults of the reference implementations.",
        epilog=f"Noise is seeded by sample's argument {', '.join(SOURCES[:-1])} or {SOURCES[-1]}, the first that it "
        "has, and else by the library's global seed. A row is n/a where it cannot be told: gradients where the library "
        "has no autograd, CPU against GPU without a GPU, normal_kl where the module has none, and extras that the "
        "class lacks. Exit code: 0, 1 where a row fails, 2 where nothing can be run.",
    )
    parser.add_argument("subject", metavar="module:Class", help="normal_kl is looked for in the module, too")
    parser.add_argument(
        "--arrays",
        choices=tuple(LIBRARIES),
        help="the library of the arrays; by default the one that the class's own module uses, or numpy",
    )
    args = parser.parse_args(argv)

    def unusable(why: str) -> NoReturn:
        parser.exit(2, f"{parser.prog}: error: {why}\n")

    module_name, _, name = args.subject.partition(":")
    if not module_name or not name:
        unusable(f"module:Class must name a module and a class; got {args.subject!r}")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # a module may do anything when it is imported
        unusable(f"cannot import {module_name}: {described(error)}")
    cls = getattr(module, name, None)
    if not isinstance(cls, type):
        unusable(f"{module_name} has no class {name}")
    arrays = args.arrays or library_of_class(cls)
    try:
        library = LIBRARIES[arrays]()
    except Exception as error:  # not installed, or without the device that it needs
        unusable(f"cannot use {arrays}: {described(error)}")

    subject = Subject(cls, library, getattr(module, "normal_kl", None))
    source = f"sample({subject.source_name}=)" if subject.source_name else "the global seed"
    print(f"{args.subject} on arrays of {arrays}, noise by {source}\n")
    rows = rows_of(subject)
    for line in table(rows):
        print(line)
    counts = Counter(row.result for row in rows)
    print("\n" + ", ".join(f"{counts[result]} {result}" for result in ("pass", "fail", "n/a")))
    return int(counts["fail"] > 0)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of aligned columns."""
    lines = [
        ("", "row", "expected", "came"),
        *((row.result, row.name, row.expected, shortened(row.came)) for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def shortened(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


if __name__ == "__main__":
    sys.exit(main())
