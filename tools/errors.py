"""Draw docs/errors-*.svg, the figures of docs/derivations.md: errors in ulp over the domain, beside other forms.

    python tools/errors.py

The page says what the figures show. True values are in long double.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import ml_dtypes
import numpy as np
import torch
from matplotlib.figure import Figure
from torch.distributions import Normal, kl_divergence

import agauss as ag

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
from oracles import PI, array, host, long, ulp  # noqa: E402

BINS, COUNT = 80, 100  # and arguments in each bin
TOP = 2.0**26  # of the axes, over which all that is not finite is drawn
LOG_2PI = np.log(2 * PI)


class Panel(NamedTuple):
    title: str
    label: str
    edges: Any  # of the bins
    arguments: Callable[[Any, Any], list[Any]]  # of a number from each bin, and a Generator
    truth: Callable[..., Any]
    forms: dict[str, Callable[..., Any]]
    dtype: str = "float32"
    bottom: float = 0.05


def true_kl(mean, logvar, mean2=0.0, logvar2=0.0):
    t = logvar - logvar2
    return ((mean - mean2) ** 2 * np.exp(-logvar2) + np.expm1(t) - t) / 2


def true_nll(x, mean, logvar):
    return (LOG_2PI + logvar + (x - mean) ** 2 * np.exp(-logvar)) / 2


def textbook_kl(mean, logvar):
    return 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar)


def textbook_normal_kl(mean, logvar, mean2, logvar2):
    return 0.5 * (-1 + logvar2 - logvar + np.exp(logvar - logvar2) + (mean - mean2) ** 2 * np.exp(-logvar2))


def textbook_nll(x, mean, logvar):
    return 0.5 * (np.float32(LOG_2PI) + logvar + (x - mean) ** 2 / np.exp(logvar))


def normal(mean, logvar):
    """PyTorch's distribution, which holds a std."""
    return Normal(array("torch", mean), torch.exp(0.5 * array("torch", logvar)))


def near_the_prior(size, rng):
    return [0 * size, rng.choice([-1, 1], size.shape) * size]


def far_apart(t, rng):
    mean, mean2, logvar2 = rng.uniform(-1, 1, t.shape), rng.uniform(-1, 1, t.shape), rng.uniform(-4, 4, t.shape)
    return [mean, t + logvar2, mean2, logvar2]


def stds_away(distance, rng):
    mean = rng.uniform(-1, 1, distance.shape)
    return [mean + rng.choice([-1, 1], mean.shape) * np.exp(-1.5) * distance, mean, 0 * mean - 3]


def half(dtype):
    def textbook(mean, logvar):
        m, v = array("torch", mean), array("torch", logvar)
        return 0.5 * (m**2 + v.exp() - 1 - v)

    return Panel(
        f"KL from the standard normal, mean 0, {dtype}",
        "logvar",
        np.linspace(-20, 20, BINS + 1),
        lambda logvar, rng: [0 * logvar, logvar],
        true_kl,
        {"agauss": lambda *q: ag.kl(*q, axis=()), f"textbook form, PyTorch in {dtype}": textbook},
        dtype,
        1e-6,
    )


FIGURES = {
    "kl": [
        Panel(
            "KL from the standard normal, mean 0",
            "|logvar|",
            np.logspace(-6, 1, BINS + 1),
            near_the_prior,
            true_kl,
            {
                "agauss": lambda *q: ag.kl(*q, axis=()),
                "textbook form, NumPy": textbook_kl,
                "torch.distributions": lambda *q: kl_divergence(normal(*q), Normal(0.0, 1.0)),
            },
        ),
        Panel(
            "KL between two",
            "logvar - logvar2",
            np.linspace(-80, 80, BINS + 1),
            far_apart,
            true_kl,
            {
                "agauss": lambda *both: ag.kl(*both, axis=()),
                "textbook form, NumPy": textbook_normal_kl,
                "torch.distributions": lambda *both: kl_divergence(normal(*both[:2]), normal(*both[2:])),
            },
        ),
    ],
    "nll": [
        Panel(
            "nll, logvar -3",
            "|x - mean|, in stds",
            np.linspace(0, 6, BINS + 1),
            stds_away,
            true_nll,
            {
                "agauss": lambda *given: ag.nll(*given, axis=()),
                "textbook form, NumPy": textbook_nll,
                "torch.distributions": lambda x, *q: -normal(*q).log_prob(array("torch", x)),
            },
        ),
        Panel(
            "std",
            "logvar",
            np.linspace(-87, 87, BINS + 1),
            lambda logvar, rng: [logvar],
            lambda logvar: np.exp(logvar / 2),
            {
                "agauss": ag.std,
                "exp(logvar / 2), NumPy": lambda logvar: np.exp(0.5 * logvar),
                "exp(logvar / 2), PyTorch": lambda logvar: torch.exp(0.5 * array("torch", logvar)),
            },
        ),
    ],
    "half": [half("float16"), half("bfloat16")],
}


def errors(panel):
    """The largest error in each bin of each form, in ulp, and what half an ulp of each argument makes."""
    rng = np.random.default_rng(0)
    x = rng.uniform(panel.edges[:-1], panel.edges[1:], (COUNT, BINS))
    given = [array("numpy", a, panel.dtype) for a in panel.arguments(x, rng)]
    wide = [long(a) for a in given]
    true = panel.truth(*wide)
    unit = ulp(panel.dtype, true)
    found = {}
    for name, form in panel.forms.items():
        with np.errstate(all="ignore"):
            off = np.abs(long(host(form(*given))) - true) / unit
        found[name] = np.where(np.isfinite(off), off, np.inf).max(axis=0)
    moved = [[*wide[:k], a + ulp(panel.dtype, a) / 2, *wide[k + 1 :]] for k, a in enumerate(wide)]
    envelope = sum(np.abs(panel.truth(*other) - true) for other in moved) / unit
    return found, envelope.max(axis=0)


def draw(axes, panel):
    found, envelope = errors(panel)
    middles = (panel.edges[:-1] + panel.edges[1:]) / 2
    grey = {"color": "0.5", "alpha": 0.25, "lw": 0}
    axes.fill_between(middles, panel.bottom, envelope.astype(float), label="half an ulp of each argument", **grey)
    for (name, off), style in zip(found.items(), ("-", "--", ":"), strict=False):
        axes.plot(middles, np.minimum(off.astype(float), 2 * TOP), style, label=name, lw=1.5)
        print(f"{panel.title}: {name}: {np.median(off):.3g} in the median bin, {off.max():.3g} at most")
    axes.axhline(2.0 ** (ml_dtypes.finfo(panel.dtype).nmant + 1), color="0.5", ls=(0, (1, 3)), lw=1)
    axes.set(title=panel.title, xlabel=panel.label, ylabel=f"error, ulp of {panel.dtype}", yscale="log")
    axes.set(ylim=(panel.bottom, TOP), xlim=middles[[0, -1]], xscale="log" if panel.label == "|logvar|" else "linear")
    axes.legend(fontsize="small", loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def main():
    matplotlib.rc_file(ROOT / "docs" / "gallery" / "matplotlibrc")
    for name, panels in FIGURES.items():
        figure = Figure(figsize=(10, 4), layout="constrained")
        for axes, panel in zip(figure.subplots(1, 2), panels, strict=True):
            draw(axes, panel)
        figure.savefig(ROOT / "docs" / f"errors-{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
