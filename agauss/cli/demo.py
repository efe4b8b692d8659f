"""`agauss demo`: train a VAE on real handwritten digits in NumPy alone, judge it and draw it.

What is trained, and how, is in training.py; here are the options, what is printed, and the figure.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import agauss as ag
from agauss import vae
from agauss.cli.training import (
    EVALUATION,
    HIDDEN,
    LABELS,
    LEVELS,
    PRIOR,
    SIDE,
    VAE,
    WEIGHTS,
    Array,
    histogram_log_likelihood,
    ink,
    load_digits,
    log_likelihood,
    log_odds_of_ink,
    objective_of,
    steps_of,
    train,
)

IN_USE = 0.01  # nats; a latent with less says nothing about the digit
SAMPLES = 64  # for each digit, in the IWAE bound that is printed
OBJECTIVES: dict[str, dict[str, float]] = {  # the options that each one has, and their defaults
    "elbo": {},
    "beta": {"beta": 4.0},
    "free-bits": {"beta": 1.0, "floor": 0.5},
    "annealed": {"beta": 1.0},
    "iwae": {},
}


def register(subparsers: Any) -> None:
    """Add the command to a parser's."""
    parser = subparsers.add_parser(
        "demo",
        help="train a VAE on handwritten digits, in seconds",
        description="Train a VAE on scikit-learn's 1,797 handwritten digits, in NumPy and agauss alone.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("agauss-demo.png"), metavar="PNG", help="the figure to write")
    parser.add_argument(
        "--epochs", type=_whole(1, 10_000), default=40, metavar="N", help="passes over the training digits"
    )
    parser.add_argument(
        "--latents", type=_whole(1, 1024), default=16, metavar="N", help="dimensions of the latent Gaussian"
    )
    parser.add_argument(
        "--seed", type=_whole(0, 2**64 - 1), default=0, metavar="N", help="the same seed, the same numbers"
    )
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default=argparse.SUPPRESS,
        help="what is trained: the ELBO unless given. With this option or --conditional, diagnostics are printed too",
    )
    parser.add_argument(
        "--beta",
        type=_number,
        default=argparse.SUPPRESS,
        metavar="B",
        help=f"weight of the KL, which annealing ends at ({_defaults('beta')}); too large a one collapses the latents",
    )
    parser.add_argument(
        "--floor",
        type=_number,
        default=argparse.SUPPRESS,
        metavar="NATS",
        help=f"KL that each latent has for free ({_defaults('floor')})",
    )
    parser.add_argument(
        "--conditional", action="store_true", help="a prior with a mean and a log-variance for each label"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, print, draw; whatever could stop the figure is found out before the training."""
    objective = vars(args).get("objective", "elbo")
    options = OBJECTIVES[objective]
    given = {name: vars(args)[name] for name in ("beta", "floor") if name in args}
    for name in given:
        if name not in options:
            users = " or ".join(each for each, theirs in OBJECTIVES.items() if name in theirs)
            return _fail(f"--{name} must come with --objective {users}; got {objective}", 2)
    try:
        import matplotlib.figure  # noqa: F401
        import sklearn.datasets  # noqa: F401
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        return _fail(f"needs scikit-learn and matplotlib: pip install 'agauss[demo]' ({error})")
    out: Path = args.out.absolute()
    if out.is_dir():
        return _fail(f"--out must be a file; got the folder {out}")
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        return _fail(f"--out must be in a folder that can be written; {out.parent}: {error.strerror}")

    # BLAS's threads make these small products no faster, and on a busy machine many times slower.
    with threadpool_limits(limits=1, user_api="blas"):
        figure = _demo(args, objective, options | given)
    try:
        _save(figure, out)
    except OSError as error:
        return _fail(f"cannot write {out}: {error.strerror}")
    print(f"figure: {out}")
    return 0


def _demo(args: argparse.Namespace, name: str, options: dict[str, float]) -> Any:
    started = perf_counter()
    judged = "objective" in args or args.conditional
    epochs, seed = args.epochs, args.seed
    training, held_out, training_labels, labels = load_digits()
    log_odds = log_odds_of_ink(training)
    independent = log_likelihood(held_out, log_odds).mean()
    histograms = histogram_log_likelihood(training, held_out).mean()
    print(
        f"{len(training) + len(held_out)} handwritten digits of {SIDE}x{SIDE} pixels, {len(held_out)} of them held out"
    )
    print(f"likelihood: a binomial({LEVELS}) for each pixel, so the ELBO is a bound on log p(digit); nats per digit")
    print(f"held-out log p with no latents: {independent:.2f} by a binomial for each pixel,")
    print(f"                                {histograms:.2f} by a histogram of the {LEVELS + 1} levels for each pixel")
    if judged:
        chosen = [f"objective {name}", *(f"{option} {value:g}" for option, value in options.items())]
        print(", ".join([*chosen, *["a prior for each label"] * args.conditional]))
    print("epoch   held-out ELBO = log p(digit | z) -    KL")

    model = VAE(HIDDEN, args.latents, ag.random.Key(seed, WEIGHTS), conditional=args.conditional)
    model.decoder.weights[-1][:] = log_odds  # begin at the average digit
    steps = epochs * steps_of(training)
    objective = objective_of(name, steps, **options)
    progress = Progress(steps)
    curve: list[float] = []
    for epoch in train(model, training, training_labels, objective, epochs, seed, advance=progress.advance):
        # One key for all epochs: the same noise each time, so that the ELBO moves by what was learnt alone.
        fit, kl = model.elbo(held_out, labels, ag.random.Key(seed, EVALUATION))
        curve.append(float(vae.elbo(fit, kl).mean()))
        progress.clear()
        print(f"{epoch:5d} {curve[-1]:15.2f} {fit.mean():17.2f} {kl.mean():7.2f}", flush=True)
    first, last = curve[0], curve[-1]
    print(f"held-out ELBO: {first:.2f} untrained, {last:.2f} after {epochs} epochs: {last - first:+.2f} nats")
    print(f"over no latents: {last - independent:+.2f} nats (binomials), {last - histograms:+.2f} nats (histograms)")
    diagnostics = None
    if judged:
        bound = model.iwae(held_out, labels, SAMPLES, ag.random.Key(seed, EVALUATION)).mean()
        print(f"held-out IWAE bound, of {SAMPLES} samples: {bound:.2f}")
        diagnostics = vae.Diagnostics(schedule=objective.beta, step=steps)
        diagnostics.update(model.posterior_by_prior(held_out, labels), fit)
        print(f"verdict: {diagnostics.result()}")
        for kind, auc in _anomalies(model, held_out, labels, seed).items():
            print(f"anomalies: AUC {auc:.3f} of {kind} against digits")
    print(f"time: {perf_counter() - started:.1f} s, with the loops' compilation the first time")
    return _draw(model, held_out, curve, (independent, histograms), seed, diagnostics)


def _anomalies(model: VAE, held_out: Array, labels: Array, seed: int) -> dict[str, float]:
    """How well p-values of the ELBO tell digits from what is none: 1 is always, and 0.5 is a coin."""
    half = len(held_out) // 2  # to be the reference, and the other half to be judged

    def elbo(digits: Array, of: slice) -> Array:
        fit, kl = model.elbo(digits, labels[of], ag.random.Key(seed, EVALUATION))
        return vae.elbo(fit, kl)

    reference = elbo(held_out[:half], slice(half))
    digits = held_out[half:]
    turned = digits[:, ::-1]  # the last pixel first; by 90 degrees would be too easy, as digits are tall
    shuffled = np.random.default_rng(seed).permuted(digits, axis=1)  # noise of as much ink
    usual, *odd = (vae.anomaly(elbo(x, slice(half, None)), reference) for x in (digits, turned, shuffled))
    names = "digits turned upside down", "digits' pixels in random order"
    return {name: area_under_curve(p, usual) for name, p in zip(names, odd, strict=True)}


def area_under_curve(low: Array, high: Array) -> float:
    """The probability that one of the first is below one of the second; a tie counts half."""
    return float(((low[:, None] < high) + 0.5 * (low[:, None] == high)).mean())


class Progress:
    """A bar on a terminal's stderr; nothing anywhere else."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.shown = total, 0, sys.stderr.isatty()

    def advance(self) -> None:
        self.done += 1
        if self.shown:
            filled = 40 * self.done // self.total
            print(f"\r[{'#' * filled:40}] {self.done}/{self.total} steps", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.shown:
            print("\r" + " " * 79 + "\r", end="", file=sys.stderr, flush=True)


def _draw(
    model: VAE,
    held_out: Array,
    curve: list[float],
    baselines: tuple[float, float],
    seed: int,
    diagnostics: vae.Diagnostics | None,
) -> Any:
    from matplotlib.figure import Figure

    across, down = 12, 3
    figure = Figure(figsize=(11, 6.8), layout="constrained")
    (digits, draws), (learning, bars) = figure.subplots(2, 2, height_ratios=(1, 1.15))
    q = model.encode(held_out)

    shown = held_out[: across * down]
    pairs = [image.reshape(-1, SIDE, SIDE) for image in (shown, LEVELS * ink(model.decode(q.mean[: len(shown)])))]
    above, below = (np.pad(image, ((0, 0), (0, gap), (0, 0))) for image, gap in zip(pairs, (1, 2), strict=True))
    _tiles(digits, np.concatenate([above, below], axis=1), across)
    digits.set_title("Held-out digits, and below each its reconstruction")
    columns = LABELS if model.conditional else across
    eps = ag.random.normal((2 * down * columns, model.latents), rng=ag.random.Key(seed, PRIOR))
    p = model.prior(np.arange(len(eps)) % columns) if model.conditional else None
    z = eps if p is None else p.mean + p.std * eps
    _tiles(draws, LEVELS * ink(model.decode(z)).reshape(-1, SIDE, SIDE), columns)
    draws.set_title("Samples from the prior, decoded" if p is None else "Samples from each label's prior, decoded")

    learning.plot(curve, color="C0", label="VAE: ELBO")
    for value, style, label in zip(baselines, ("--", ":"), ("binomial", "histogram"), strict=True):
        learning.axhline(value, color="0.5", linestyle=style, label=f"no latents: a {label} for each pixel")
    learning.set(
        xlabel="epoch", ylabel="nats per digit", title=f"Held-out ELBO: {curve[0]:.1f} to {curve[-1]:.1f} nats"
    )
    learning.legend(frameon=False)
    learning.margins(x=0)
    learning.set_ylim(bottom=1.25 * baselines[0])  # the untrained ELBO would press all the rest together

    if diagnostics is not None:
        diagnostics.plot(bars).title.set_fontsize("small")  # the verdict is long
    else:
        _bars(bars, ag.kl(q.mean, q.logvar, axis=0) / len(held_out))
    for axes in (learning, bars):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _bars(axes: Any, each: Array) -> None:
    """The KL of each latent, the largest first."""
    order = np.argsort(-each)
    axes.bar(np.arange(len(each)), each[order], color="C0")
    axes.set(xlabel="latent, sorted", ylabel="nats per digit")
    axes.set_title(f"KL of each latent: {each.sum():.1f} nats, {(each > IN_USE).sum()} of {len(each)} in use")
    if len(each) <= 32:
        axes.set_xticks(np.arange(len(each)), [str(latent) for latent in order])


def _tiles(axes: Any, images: Array, across: int) -> None:
    """Show images, shape (N, height, width), in rows with a gap around each, dark on light."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    _, height, width = padded.shape
    grid = padded.reshape(-1, across, height, width).swapaxes(1, 2).reshape(-1, across * width)
    axes.imshow(grid, cmap="gray_r", vmin=0, vmax=LEVELS)
    axes.set_axis_off()
    axes.set_anchor("N")


def _save(figure: Any, out: Path) -> None:
    """Write to a file beside it first: nobody sees half a figure, and an older one is kept if this fails."""
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        figure.savefig(part, format="png", dpi=150)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _whole(least: int, most: int) -> Callable[[str], int]:
    """The type of a flag: a whole number within limits."""

    def whole(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}; got {text!r}")
        return int(text)

    return whole


def _number(text: str) -> float:
    """The type of a flag: a number that is not negative, nor so large that float32 overflows."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1e6; got {text!r}")
    return value


def _defaults(option: str) -> str:
    """Which objectives have an option, and what it is unless given."""
    return ", ".join(f"{name}: {options[option]:g}" for name, options in OBJECTIVES.items() if option in options)


def _fail(message: str, code: int = 1) -> int:
    print(f"agauss demo: {message}", file=sys.stderr)
    return code
