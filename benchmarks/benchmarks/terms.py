"""The terms beside kl, nll and sample, from 2^20 elements: agauss, and what one writes by hand in each library.

A form here is the textbook's, safe at the same edges: bins by the logarithm of the normal distribution function,
entropies by `entr`, and PyTorch's own binary cross-entropy. It takes a vocabulary, the term's arrays and no more.
"""

import re
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from . import common, peers
from .common import BOUNDS, PARAMETERS, Call, Inputs, imported

SHAPE = "256x8x32x32" if len(common.SHAPES) > 1 else common.MAIN
PEERS = ["torch eager", "torch.compile", "jax.jit", "numpy"]
Form = Callable[..., Any]


def within(m: Any, logvar: Any) -> Any:
    return m.clip(logvar, *BOUNDS)


def kl_of_two(m: Any, mean: Any, logvar: Any, mean2: Any, logvar2: Any) -> Any:
    logvar2 = within(m, logvar2)
    t = within(m, logvar) - logvar2
    return 0.5 * ((mean - mean2) ** 2 * m.exp(-logvar2) + m.exp(t) - 1.0 - t)


def nll(m: Any, x: Any, mean: Any, logvar: Any) -> Any:
    return 0.5 * peers.nll_term(m, mean, logvar, x)


def wasserstein2_squared(m: Any, mean: Any, logvar: Any, mean2: Any, logvar2: Any) -> Any:
    return (mean - mean2) ** 2 + (m.exp(0.5 * within(m, logvar)) - m.exp(0.5 * within(m, logvar2))) ** 2


def jeffreys(m: Any, mean: Any, logvar: Any, mean2: Any, logvar2: Any) -> Any:
    logvar, logvar2 = within(m, logvar), within(m, logvar2)
    t = logvar - logvar2
    return 0.5 * ((mean - mean2) ** 2 * (m.exp(-logvar) + m.exp(-logvar2)) + m.exp(t) + m.exp(-t) - 2.0)


def bhattacharyya(m: Any, mean: Any, logvar: Any, mean2: Any, logvar2: Any) -> Any:
    logvar, logvar2 = within(m, logvar), within(m, logvar2)
    v = m.exp(logvar) + m.exp(logvar2)
    return 0.25 * (mean - mean2) ** 2 / v + 0.5 * m.log(0.5 * v) - 0.25 * (logvar + logvar2)


def renyi(alpha: float, m: Any, mean: Any, logvar: Any, mean2: Any, logvar2: Any) -> Any:
    """inf where the mixed variance is not positive."""
    logvar, logvar2, c = within(m, logvar), within(m, logvar2), 1.0 - alpha
    v = c * m.exp(logvar) + alpha * m.exp(logvar2)
    safe = m.where(v > 0, v, 1.0)
    value = 0.5 * (alpha * (mean - mean2) ** 2 / safe + (m.log(safe) - c * logvar - alpha * logvar2) / c)
    return m.where(v > 0, value, float("inf"))


def log_density_ratio(m: Any, z: Any, mean: Any, logvar: Any, mean2: Any, logvar2: Any) -> Any:
    logvar, logvar2 = within(m, logvar), within(m, logvar2)
    return 0.5 * ((z - mean2) ** 2 * m.exp(-logvar2) + logvar2 - (z - mean) ** 2 * m.exp(-logvar) - logvar)


def log_density_ratio_prior(m: Any, z: Any, mean: Any, logvar: Any) -> Any:
    logvar = within(m, logvar)
    return 0.5 * (z * z - (z - mean) ** 2 * m.exp(-logvar) - logvar)


def discretized_nll(m: Any, x: Any, mean: Any, logvar: Any) -> Any:
    """A bin above the mean is taken as its mirror image below, where logarithms of masses keep their digits."""
    width, low, high = PARAMETERS["discretized_nll"].values()
    inverse, d, infinity = m.exp(-0.5 * within(m, logvar)), x - mean, float("inf")
    is_above, is_low, is_high = d > 0, x <= low, x >= high
    lower, upper = (-0.5 * width - abs(d)) * inverse, (0.5 * width - abs(d)) * inverse
    lower = m.where(m.where(is_above, is_high, is_low), -infinity, lower)
    top = m.log_ndtr(m.where(m.where(is_above, is_low, is_high), infinity, upper))
    return -(top + m.log1p(-m.exp(m.log_ndtr(lower) - top)))


def bernoulli_nll(m: Any, x: Any, logits: Any) -> Any:
    return m.cross_entropy(x, logits)


def bernoulli_entropy(m: Any, x: Any) -> Any:
    return m.entr(x) + m.entr(1.0 - x)


FORMS: dict[str, Form] = {
    "nll": nll,
    "bernoulli nll": bernoulli_nll,
    "bernoulli entropy": bernoulli_entropy,
    "log density ratio": log_density_ratio,
    "log density ratio prior": log_density_ratio_prior,
    "discretized nll": discretized_nll,
    "kl of two": kl_of_two,
    "jeffreys": jeffreys,
    "bhattacharyya": bhattacharyya,
    "wasserstein2 squared": wasserstein2_squared,
    **{name: partial(renyi, PARAMETERS[name.replace(" ", "_")]["alpha"]) for name in ("renyi", "renyi above one")},
}


def vocabulary(library: str) -> Any:
    """A library's own functions under the names of NumPy and scipy.special."""
    if library == "torch":
        torch = imported("torch")
        cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
        return SimpleNamespace(
            **{name: getattr(torch, name) for name in ("clip", "exp", "log", "log1p", "where", "sum")},
            **{name: getattr(torch.special, name) for name in ("entr", "log_ndtr")},
            cross_entropy=lambda x, logits: cross_entropy(logits, x, reduction="none"),
        )
    xp = peers.configured_jax().numpy if library == "jax" else imported("numpy")
    special = imported("jax.scipy.special" if library == "jax" else "scipy.special")
    return SimpleNamespace(
        **{name: getattr(xp, name) for name in ("clip", "exp", "log", "log1p", "where", "sum")},
        entr=special.entr,
        log_ndtr=special.log_ndtr,
        cross_entropy=lambda x, logits: xp.maximum(logits, 0.0) - x * logits + xp.log1p(xp.exp(-abs(logits))),
    )


def peer_call(work: str, peer: str, a: Inputs) -> Call:
    """A peer's sum of a term over each sample, ready to be timed; of the very arrays that agauss gets."""
    library = re.split("[. ]", peer)[0]
    m, form = vocabulary(library), FORMS[work]
    # The parameters as they lie, to be halved within what is compiled, and what else the term takes.
    names = common.inputs_of(common.ROWS[work][0])
    whole = [getattr(a, {"mean": "parameters", "mean2": "parameters2"}.get(name, name)) for name in ("mean", "mean2")]
    halved = {"mean": (0, 0), "logvar": (0, 1), "logits": (0, 0), "mean2": (1, 0), "logvar2": (1, 1)}
    others = [name for name in names if name not in halved]

    def summed(p: Any, p2: Any, *rest: Any) -> Any:
        parts, rest_of = (peers.halves(p), peers.halves(p2)), dict(zip(others, rest, strict=True))
        given = [rest_of[name] if name in rest_of else parts[halved[name][0]][halved[name][1]] for name in names]
        return m.sum(form(m, *given), axis=a.axes)

    arrays = [*whole, *(getattr(a, name) for name in others)]
    if library == "jax":
        jax = peers.configured_jax()
        compiled, given = jax.jit(summed), [jax.numpy.asarray(array) for array in arrays]
        call: Call = lambda: jax.block_until_ready(compiled(*given))  # noqa: E731
    elif library == "torch":
        torch = imported("torch")
        if peer == "torch.compile":
            torch.compiler.reset()
            summed = torch.compile(summed, dynamic=False)
        call = partial(summed, *map(peers.tensor, arrays))
    else:
        call = partial(summed, *arrays)
    call()
    return call


class Terms:
    """Our time over a peer's, and over nll's for as many bytes."""

    params = (list(FORMS), ["nll", *PEERS])
    param_names = ("term", "beside")
    unit = "ours / theirs"

    def setup(self, term, beside):
        a = common.inputs(SHAPE, "float32")
        theirs = partial(common.OURS["nll"], a) if beside == "nll" else peer_call(term, beside, a)
        self.calls = {"ours": partial(common.OURS[term], a), "theirs": theirs}
        self.calls["ours"]()

    def track_ratio(self, term, beside):
        seconds = common.interleaved(self.calls, rounds=common.ROUNDS)
        return seconds["ours"] / seconds["theirs"] / (bytes_over_nll(term) if beside == "nll" else 1.0)


def bytes_over_nll(term: str) -> float:
    """How many arrays a term reads, for each one that nll reads."""
    return len(common.moved(term)[0]) / len(common.moved("nll")[0])
