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
    Edge("wasserstein2_squared", (0, inf, 0, inf), 0, (0, 0, 0, 0)),  # equal, even if infinite
    Edge("wasserstein2_squared", (0, -inf, 0, -inf), 0, (0, 0, 0, 0)),
    Edge("wasserstein2_squared", (0, inf, 0, 0), inf, (0, inf, 0, -inf)),
    Edge("wasserstein2_squared", (0, -inf, 0, 0), 1, (0, 0, 0, 1)),  # from a point
    Edge("wasserstein2_squared", (3, 0, 0, -inf), 10, (6, 1, -6, 0)),
    Edge("wasserstein2_squared", (nan, 0, 0, 0), nan, (nan, 0, nan, 0)),
    Edge("wasserstein2_squared", (0, nan, 0, 0), nan, (0, nan, 0, nan)),
    # The Jeffreys divergence and the Bhattacharyya distance
    Edge("jeffreys", (inf, 0, 0, 0), inf, (inf, -inf, -inf, -inf)),
    Edge("jeffreys", (0, inf, 0, 0), inf, (0, inf, 0, -inf)),
    Edge("jeffreys", (0, -inf, 0, 0), inf, (0, -inf, 0, inf)),
    Edge("jeffreys", (0, -inf, 0, -inf), 0, (0, 0, 0, 0)),  # the very same point
    Edge("jeffreys", (1, -inf, 0, -inf), inf, (inf, -inf, -inf, -inf)),
    Edge("jeffreys", (nan, 0, 0, 0), nan, (nan, nan, nan, nan)),
    Edge("jeffreys", (0, nan, 0, 0), nan, (nan, nan, nan, nan)),
    Edge("bhattacharyya", (inf, 0, 0, 0), inf, (inf, -inf, -inf, -inf)),
    Edge("bhattacharyya", (1, inf, 0, 0), inf, (0, 0.25, 0, -0.25)),
    Edge("bhattacharyya", (0, -inf, 0, 0), inf, (0, -0.25, 0, 0.25)),
    Edge("bhattacharyya", (0, inf, 0, inf), 0, (0, 0, 0, 0)),  # equal, even if infinite
    Edge("bhattacharyya", (0, -inf, 0, -inf), 0, (0, 0, 0, 0)),
    Edge("bhattacharyya", (1, -inf, 0, -inf), inf, (inf, -inf, -inf, -inf)),  # two points
    Edge("bhattacharyya", (nan, 0, 0, 0), nan, (nan, nan, nan, nan)),
    Edge("bhattacharyya", (0, nan, 0, 0), nan, (nan, nan, nan, nan)),
    # The Renyi divergence of an order under 1 and of one above it, by which what is too wide is infinitely far
    Edge("renyi", (inf, 0, 0, 0), inf, (inf, -inf, -inf, -inf)),
    Edge("renyi", (0, inf, 0, 0), inf),
    Edge("renyi", (0, -inf, 0, 0), inf),
    Edge("renyi", (0, -inf, 0, -inf), 0, (0, 0, 0, 0)),
    Edge("renyi", (0, inf, 0, inf), 0, (0, 0, 0, 0)),
    Edge("renyi", (nan, 0, 0, 0), nan, (nan, nan, nan, nan)),
    Edge("renyi", (0, nan, 0, 0), nan, (nan, nan, nan, nan)),
    Edge("renyi_above_one", (inf, 0, 0, 0), inf, (inf, inf, -inf, -inf)),
    Edge("renyi_above_one", (0, inf, 0, 0), inf, (nan, nan, nan, nan)),
    Edge("renyi_above_one", (0, -inf, 0, 0), inf),
    Edge("renyi_above_one", (0, 0, 0, -inf), inf, (nan, nan, nan, nan)),
    Edge("renyi_above_one", (0, -inf, 0, -inf), 0, (0, 0, 0, 0)),
    Edge("renyi_above_one", (0, 12, 0, 0), inf, (nan, nan, nan, nan)),
    Edge("renyi_above_one", (nan, 0, 0, 0), nan, (nan, nan, nan, nan)),
    Edge("renyi_above_one", (0, nan, 0, 0), nan, (nan, nan, nan, nan)),
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
    Edge("discretized_nll", (1, inf, 0), 0, (0, 0, 0)),  # all of it in an open bin, whatever its spread
    Edge("discretized_nll", (-1, -inf, -inf), 0, (0, 0, 0)),
    Edge("discretized_nll", (nan, 0, 0), nan, (nan, nan, nan)),
    Edge("discretized_nll", (0, nan, 0), nan, (nan, nan, nan)),
    Edge("discretized_nll", (0, 0, nan), nan, (nan, nan, nan)),
    Edge("log_prob", (inf, 0, 0), -inf),
    Edge("log_prob", (0, 0, inf), -inf),
    Edge("log_prob", (1, 0, -inf), -inf),
    Edge("log_prob", (0, 0, -inf), inf),
    Edge("log_prob", (nan, 0, 0), nan),
    # The ratio of two densities, and to the standard normal's
    Edge("log_density_ratio", (2, 1, 0, 1, 0), 0, (0, 1, 0, -1, 0)),
    Edge("log_density_ratio", (0, 0, -inf, 0, 0), inf),  # at the first one's point
    Edge("log_density_ratio", (1, 0, -inf, 0, 0), -inf),  # and elsewhere
    Edge("log_density_ratio", (0, 0, 0, 0, -inf), -inf),
    Edge("log_density_ratio", (1, 0, 0, 0, -inf), inf),
    Edge("log_density_ratio", (1, 0, -inf, 0, -inf), 0),  # the very same point
    Edge("log_density_ratio", (1, 0, inf, 0, 0), -inf),
    Edge("log_density_ratio", (1, 0, 0, 0, inf), inf),
    Edge("log_density_ratio", (nan, 0, 0, 0, 0), nan, (0, nan, nan, nan, nan)),
    Edge("log_density_ratio", (0, 0, nan, 0, 0), nan),
    Edge("log_density_ratio_prior", (2, 0, 0), 0, (0, 2, 1.5)),
    Edge("log_density_ratio_prior", (0, 0, -inf), inf),
    Edge("log_density_ratio_prior", (1, 0, -inf), -inf),
    Edge("log_density_ratio_prior", (1, 0, inf), -inf),
    Edge("log_density_ratio_prior", (nan, 0, 0), nan, (nan, nan, nan)),
    # Pixels
    Edge("bernoulli_nll", (1, inf), 0, (-inf, 0)),
    Edge("bernoulli_nll", (0, -inf), 0, (inf, 0)),
    Edge("bernoulli_nll", (0, inf), inf, (-inf, 1)),
    Edge("bernoulli_nll", (0.5, -inf), inf, (inf, -0.5)),
    Edge("bernoulli_nll", (2, 0), nan, (nan, nan)),  # outside [0, 1]
    Edge("bernoulli_nll", (-1, -inf), nan, (nan, nan)),
    Edge("bernoulli_nll", (nan, 0), nan, (nan, nan)),
    Edge("bernoulli_nll", (1, nan), nan, (nan, nan)),
    Edge("bernoulli_entropy", (0,), 0, (inf,)),
    Edge("bernoulli_entropy", (1,), 0, (-inf,)),
    Edge("bernoulli_entropy", (0.5,), None, (0,)),
    Edge("bernoulli_entropy", (2,), nan, (nan,)),
    Edge("bernoulli_entropy", (-1,), nan, (nan,)),
    Edge("bernoulli_entropy", (nan,), nan, (nan,)),
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
