"""What the operations are at infinite and missing arguments: a test runs each row, docs/numerics.md prints it."""

from typing import NamedTuple

from agauss.operations import OPERATIONS

inf, nan = float("inf"), float("nan")
huge = "the largest number"


class Edge(NamedTuple):
    operation: str
    given: tuple  # a number for each of the operation's arguments
    value: float | None  # None: not said
    gradients: tuple | None = None

    def where(self):
        """The arguments, by name."""
        names = OPERATIONS[self.operation].arguments
        return ", ".join(f"{name} = {shown(x)}" for name, x in zip(names, self.given, strict=True))


def shown(x):
    return {huge: "max", f"-{huge}": "-max"}.get(x) or f"{x:g}".replace("nan", "NaN")


ROWS = [
    # KL to the standard normal
    Edge("kl_prior", (inf, 0), inf, (inf, 0)),
    Edge("kl_prior", (-inf, 0), inf, (-inf, 0)),
    Edge("kl_prior", (0, inf), inf, (0, inf)),
    Edge("kl_prior", (0, -inf), inf, (0, -0.5)),
    Edge("kl_prior", (inf, inf), inf),
    Edge("kl_prior", (inf, -inf), inf),
    Edge("kl_prior", (nan, 0), nan, (nan, 0)),
    Edge("kl_prior", (0, nan), nan, (0, nan)),
    Edge("kl_prior", (nan, inf), nan),
    Edge("kl_prior", (inf, nan), nan),
    # KL to another
    Edge("kl", (inf, 0, 0, 0), inf, (inf, 0, -inf, -inf)),
    Edge("kl", (0, 0, inf, 0), inf),
    Edge("kl", (0, inf, 0, 0), inf, (0, inf, 0, -inf)),
    Edge("kl", (0, -inf, 0, 0), inf, (0, -0.5, 0, 0.5)),
    Edge("kl", (0, 0, 0, inf), inf, (0, -0.5, 0, 0.5)),  # the wider it is, the less it says of the other
    Edge("kl", (1, 0, 0, inf), None, (0, -0.5, 0, 0.5)),
    Edge("kl", (1, 0, 0, -inf), inf, (inf, inf, -inf, -inf)),  # no spread: infinitely far
    Edge("kl", (0, 0, 0, -inf), inf),  # and where the means match
    Edge("kl", (0, -inf, 0, inf), None, (0, -0.5, 0, 0.5)),
    Edge("kl", (0, -inf, 0, -inf), 0),  # the very same point
    Edge("kl", (0, huge, 0, f"-{huge}"), None, (0, inf, 0, -inf)),  # whose difference overflows
    Edge("kl", (0, f"-{huge}", 0, huge), None, (0, -0.5, 0, 0.5)),
    Edge("kl", (0, f"-{huge}", 0, 1), None, (0, -0.5, 0, 0.5)),
    Edge("kl", (nan, 0, 0, 0), nan, (nan, 0, nan, nan)),
    Edge("kl", (0, nan, 0, 0), nan, (0, nan, 0, nan)),
    Edge("kl", (0, 0, nan, 0), nan, (nan, 0, nan, nan)),
    Edge("kl", (0, 0, 0, nan), nan),
    Edge("kl", (1, 2, 0, nan), nan, (nan, nan, nan, nan)),
    Edge("kl", (1, 2, 1, nan), nan, (nan, nan, nan, nan)),  # with equal means too
    # The 2-Wasserstein distance
    Edge("wasserstein2_squared", (inf, 0, 0, 0), inf, (inf, 0, -inf, 0)),
    Edge("wasserstein2_squared", (0, inf, 0, inf), 0, (0, 0, 0, 0)),  # equal, were they infinite
    Edge("wasserstein2_squared", (0, -inf, 0, -inf), 0, (0, 0, 0, 0)),
    Edge("wasserstein2_squared", (0, inf, 0, 0), inf, (0, inf, 0, -inf)),
    Edge("wasserstein2_squared", (0, -inf, 0, 0), 1, (0, 0, 0, 1)),  # from a point
    Edge("wasserstein2_squared", (3, 0, 0, -inf), 10, (6, 1, -6, 0)),
    Edge("wasserstein2_squared", (nan, 0, 0, 0), nan, (nan, 0, nan, 0)),
    Edge("wasserstein2_squared", (0, nan, 0, 0), nan, (0, nan, 0, nan)),
    # Likelihood
    Edge("nll", (inf, 0, 0), inf, (inf, -inf, -inf)),
    Edge("nll", (0, -inf, 0), inf),
    Edge("nll", (0, 0, inf), inf, (0, 0, 0.5)),  # spread over everything: no density anywhere
    Edge("nll", (1, 0, inf), inf, (0, 0, 0.5)),
    Edge("nll", (1, 0, -inf), inf),  # a point elsewhere
    Edge("nll", (0, 0, -inf), -inf),  # at the point: infinite density
    Edge("nll", (nan, 0, 0), nan, (nan, nan, nan)),
    Edge("nll", (0, nan, 0), nan),
    Edge("nll", (0, 0, nan), nan, (nan, nan, nan)),
    # A bin, half a unit wide, the end ones at -1 and 1
    Edge("discretized_nll", (inf, 0, 0), inf, (inf, -inf, -inf)),
    Edge("discretized_nll", (0, inf, 0), inf, (-inf, inf, -inf)),
    Edge("discretized_nll", (0.5, 0, inf), inf, (0, 0, 0.5)),  # spread over everything: all of it beyond the ends
    Edge("discretized_nll", (1, 0, inf), None, (0, 0, 0)),  # one half
    Edge("discretized_nll", (0, 0, -inf), 0, (0, 0, 0)),  # a point inside
    Edge("discretized_nll", (0.5, 0, -inf), inf, (inf, -inf, -inf)),  # and elsewhere
    Edge("discretized_nll", (2, 3, -inf), 0, (0, 0, 0)),
    Edge("discretized_nll", (nan, 0, 0), nan, (nan, nan, nan)),
    Edge("discretized_nll", (0, nan, 0), nan, (nan, nan, nan)),
    Edge("discretized_nll", (0, 0, nan), nan, (nan, nan, nan)),
    Edge("log_prob", (inf, 0, 0), -inf),
    Edge("log_prob", (0, 0, inf), -inf),
    Edge("log_prob", (1, 0, -inf), -inf),
    Edge("log_prob", (0, 0, -inf), inf),
    Edge("log_prob", (nan, 0, 0), nan),
    # Moments
    Edge("entropy", (inf,), inf),
    Edge("entropy", (-inf,), -inf),
    Edge("entropy", (nan,), nan),
    Edge("std", (inf,), inf, (inf,)),
    Edge("std", (-inf,), 0, (0,)),
    Edge("std", (nan,), nan, (nan,)),
    Edge("std", (huge,), inf),
    Edge("std", (f"-{huge}",), 0),
    Edge("var", (inf,), inf, (inf,)),
    Edge("var", (-inf,), 0, (0,)),
    Edge("var", (nan,), nan, (nan,)),
    Edge("var", (huge,), inf),
    Edge("var", (f"-{huge}",), 0),
    # A sample, whatever the noise
    Edge("sample", (1.5, -inf), 1.5),
    Edge("sample", (inf, -inf), inf),
    Edge("sample", (-inf, -inf), -inf),
]


def table():
    """The rows as docs/numerics.md has them."""
    lines = ["| operation | at | value | gradients |", "|---|---|---|---|"]
    for row in ROWS:
        value = "" if row.value is None else shown(row.value)
        gradients = "" if row.gradients is None else ", ".join(map(shown, row.gradients))
        lines.append(f"| {row.operation} | {row.where()} | {value} | {gradients} |")
    return "\n".join(lines)
