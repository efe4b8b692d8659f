"""`agauss demo`: train a VAE on real handwritten digits in NumPy alone; knows no formula of the Gaussian.

The layers' gradients are written out below. The latents' samples, KL and gradients are agauss's, and so is all the
noise: that of the first weights, the training, the held-out ELBO and the prior.
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

import agauss as ag

Array = npt.NDArray[Any]

SIDE = 8
PIXELS = SIDE * SIDE
LEVELS = 16  # a pixel counts the inked dots of a 4x4 block of the scanned bitmap
HELD_OUT = 360  # a fifth
SPLIT_SEED = 0  # one split for every --seed, so that their ELBOs compare
HIDDEN = 512
BATCH = 96
LEARNING_RATE = 0.002
WEIGHTS, STEPS, EVALUATION, PRIOR = range(4)  # a stream of the seed for each use of noise
IN_USE = 0.01  # nats; a latent with less says nothing about the digit


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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, print, draw; whatever could stop the figure is found out before the training."""
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
        figure = _demo(args.epochs, args.latents, args.seed)
    try:
        _save(figure, out)
    except OSError as error:
        return _fail(f"cannot write {out}: {error.strerror}")
    print(f"figure: {out}")
    return 0


def _demo(epochs: int, latents: int, seed: int) -> Any:
    started = perf_counter()
    training, held_out = load_digits()
    rate = (training.sum(axis=0) + 0.5) / (LEVELS * len(training) + 1)  # of ink; never 0 or 1
    log_odds = np.log(rate / (1 - rate))
    independent = log_likelihood(held_out, log_odds).mean()
    histograms = histogram_log_likelihood(training, held_out).mean()
    print(
        f"{len(training) + len(held_out)} handwritten digits of {SIDE}x{SIDE} pixels, {len(held_out)} of them held out"
    )
    print(f"likelihood: a binomial({LEVELS}) for each pixel, so the ELBO is a bound on log p(digit); nats per digit")
    print(f"held-out log p with no latents: {independent:.2f} by a binomial for each pixel,")
    print(f"                                {histograms:.2f} by a histogram of the {LEVELS + 1} levels for each pixel")
    print("epoch   held-out ELBO = log p(digit | z) -    KL")

    vae = VAE(HIDDEN, latents, ag.random.Key(seed, WEIGHTS))
    vae.decoder.weights[-1][:] = log_odds  # begin at the average digit
    adam = Adam(vae.weights, LEARNING_RATE)
    shuffle = np.random.default_rng(seed)
    steps = -(-len(training) // BATCH)
    progress = Progress(epochs * steps)
    curve: list[float] = []
    for epoch in range(epochs + 1):
        # One key for all epochs: the same noise each time, so that the ELBO moves by what was learnt alone.
        fit, kl = vae.elbo(held_out, ag.random.Key(seed, EVALUATION))
        curve.append(float((fit - kl).mean()))
        progress.clear()
        print(f"{epoch:5d} {curve[-1]:15.2f} {fit.mean():17.2f} {kl.mean():7.2f}", flush=True)
        if epoch == epochs:
            break
        order = shuffle.permutation(len(training))
        for step in range(steps):
            digits = training[order[step * BATCH : (step + 1) * BATCH]]
            adam.ascend(vae.gradients(digits, ag.random.Key(seed, STEPS).fold_in(epoch * steps + step)))
            progress.advance()
    first, last = curve[0], curve[-1]
    print(f"held-out ELBO: {first:.2f} untrained, {last:.2f} after {epochs} epochs: {last - first:+.2f} nats")
    print(f"over no latents: {last - independent:+.2f} nats (binomials), {last - histograms:+.2f} nats (histograms)")
    print(f"time: {perf_counter() - started:.1f} s, with the loops' compilation the first time")
    return _draw(vae, held_out, curve, (independent, histograms), seed)


def load_digits(dtype: Any = np.float32) -> tuple[Array, Array]:
    """The digits to train on and those held out: whole numbers from 0 to 16, shape (N, 64)."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits().data.astype(dtype)
    digits = digits[np.random.default_rng(SPLIT_SEED).permutation(len(digits))]
    return digits[HELD_OUT:], digits[:HELD_OUT]


def log_likelihood(digits: Array, logits: Array) -> Array:
    """Of independent binomials, whose log-odds of ink are the logits: shape (N,), in nats."""
    ways = np.log([math.comb(LEVELS, k) for k in range(LEVELS + 1)]).astype(digits.dtype)
    inked = ways[digits.astype(int)] + digits * logits - LEVELS * np.logaddexp(0, logits)
    return np.asarray(inked.sum(axis=-1))


def histogram_log_likelihood(training: Array, held_out: Array) -> Array:
    """Of independent pixels, each with its levels' frequencies in the training digits: shape (N,), in nats."""
    levels = np.arange(LEVELS + 1)[:, None, None]
    seen = (training == levels).sum(axis=1) + 1 / len(levels)  # each level a little, or an unseen one is impossible
    frequencies = seen / (len(training) + 1)
    return np.asarray(np.log(np.take_along_axis(frequencies, held_out.astype(int), axis=0)).sum(axis=1))


def ink(logits: Array) -> Array:
    """The expected share of ink: the logistic function, as a tanh because exp(-logits) overflows."""
    return np.asarray((1 + np.tanh(logits / 2)) / 2)


class Network:
    """Dense layers with ReLU between them; `weights` holds a matrix and a bias for each in turn."""

    def __init__(self, sizes: tuple[int, ...], key: ag.random.Key, dtype: Any) -> None:
        self.weights: list[Array] = []
        for layer, (n, m) in enumerate(pairwise(sizes)):
            matrix = ag.random.normal((n, m), rng=key.fold_in(layer), dtype=dtype)
            # A variance of 2 / n keeps the activations' size from layer to layer (He et al., 2015).
            self.weights += [matrix * math.sqrt(2 / n), np.zeros(m, dtype)]

    def forward(self, x: Array) -> list[Array]:
        """What goes into each layer, and last what comes out."""
        values: list[Array] = []
        for matrix, bias in self._layers():
            values.append(np.maximum(x, 0) if values else x)
            x = values[-1] @ matrix + bias
        return [*values, x]

    def backward(self, values: list[Array], d: Array) -> tuple[Array, list[Array]]:
        """The gradients by the input and by the weights, from the gradient by the output."""
        gradients: list[Array] = []
        for layer, (matrix, _) in reversed(list(enumerate(self._layers()))):
            gradients = [values[layer].T @ d, d.sum(axis=0), *gradients]
            d = d @ matrix.T
            if layer > 0:
                d *= values[layer] > 0
        return d, gradients

    def _layers(self) -> list[tuple[Array, Array]]:
        return list(zip(self.weights[::2], self.weights[1::2], strict=True))


class VAE:
    """An encoder from digits to latent Gaussians, and a decoder from latents to the log-odds of ink."""

    def __init__(self, hidden: int, latents: int, key: ag.random.Key, dtype: Any = np.float32) -> None:
        self.latents = latents
        self.encoder = Network((PIXELS, hidden, 2 * latents), key.fold_in(0), dtype)
        self.decoder = Network((latents, hidden, PIXELS), key.fold_in(1), dtype)
        self.weights = self.encoder.weights + self.decoder.weights

    def encode(self, digits: Array) -> ag.DiagonalGaussianDistribution:
        return ag.DiagonalGaussianDistribution(self.encoder.forward(digits / LEVELS)[-1])

    def decode(self, z: Array) -> Array:
        return self.decoder.forward(z)[-1]

    def elbo(self, digits: Array, key: ag.random.Key) -> tuple[Array, Array]:
        """Its two terms for each digit, with one sample of z: log p(digit | z) and the KL, which is taken off."""
        z, kl = self.encode(digits).sample_and_kl(key)
        return log_likelihood(digits, self.decode(z)), kl

    def gradients(self, digits: Array, key: ag.random.Key) -> list[Array]:
        """Of the mean ELBO, by the weights; the same key gives the same z as in `elbo`."""
        encoded = self.encoder.forward(digits / LEVELS)
        z, _ = ag.sample_and_kl(encoded[-1], rng=key)
        decoded = self.decoder.forward(z)
        d_logits = (digits - LEVELS * ink(decoded[-1])) / len(digits)
        d_z, by_decoder = self.decoder.backward(decoded, d_logits)
        d_parameters = ag.sample_and_kl_vjp(encoded[-1], cotangent=(d_z, -1 / len(digits)), rng=key)
        _, by_encoder = self.encoder.backward(encoded, d_parameters)
        return by_encoder + by_decoder


class Adam:
    """Steps up the gradient, each weight's by the size that its gradient has had (Kingma and Ba, 2015)."""

    def __init__(self, weights: list[Array], rate: float) -> None:
        self.weights, self.rate, self.steps = weights, rate, 0
        self.first = [np.zeros_like(w) for w in weights]
        self.second = [np.zeros_like(w) for w in weights]

    def ascend(self, gradients: list[Array]) -> None:
        self.steps += 1
        # The averages begin at 0 and are too small at first.
        rate = self.rate * math.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for weight, gradient, first, second in zip(self.weights, gradients, self.first, self.second, strict=True):
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient * gradient - second)
            weight += rate * first / (np.sqrt(second) + 1e-8)


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


def _draw(vae: VAE, held_out: Array, curve: list[float], baselines: tuple[float, float], seed: int) -> Any:
    from matplotlib.figure import Figure

    across, down = 12, 3
    figure = Figure(figsize=(11, 6.8), layout="constrained")
    (digits, draws), (learning, bars) = figure.subplots(2, 2, height_ratios=(1, 1.15))
    q = vae.encode(held_out)

    shown = held_out[: across * down]
    pairs = [image.reshape(-1, SIDE, SIDE) for image in (shown, LEVELS * ink(vae.decode(q.mean[: len(shown)])))]
    above, below = (np.pad(image, ((0, 0), (0, gap), (0, 0))) for image, gap in zip(pairs, (1, 2), strict=True))
    _tiles(digits, np.concatenate([above, below], axis=1), across)
    digits.set_title("Held-out digits, and below each its reconstruction")
    z = ag.random.normal((2 * down * across, vae.latents), rng=ag.random.Key(seed, PRIOR))
    _tiles(draws, LEVELS * ink(vae.decode(z)).reshape(-1, SIDE, SIDE), across)
    draws.set_title("Samples from the prior, decoded")

    learning.plot(curve, color="C0", label="VAE: ELBO")
    for value, style, label in zip(baselines, ("--", ":"), ("binomial", "histogram"), strict=True):
        learning.axhline(value, color="0.4", linestyle=style, label=f"no latents: a {label} for each pixel")
    learning.set(
        xlabel="epoch", ylabel="nats per digit", title=f"Held-out ELBO: {curve[0]:.1f} to {curve[-1]:.1f} nats"
    )
    learning.legend(frameon=False)
    learning.margins(x=0)
    learning.set_ylim(bottom=1.25 * baselines[0])  # the untrained ELBO would press all the rest together

    each = ag.kl(q.mean, q.logvar, axis=0) / len(held_out)
    order = np.argsort(-each)
    bars.bar(np.arange(vae.latents), each[order], color="C0")
    bars.set(xlabel="latent, sorted", ylabel="nats per digit")
    bars.set_title(f"KL of each latent: {each.sum():.1f} nats, {(each > IN_USE).sum()} of {vae.latents} in use")
    if vae.latents <= 32:
        bars.set_xticks(np.arange(vae.latents), [str(latent) for latent in order])
    for axes in (learning, bars):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


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


def _fail(message: str) -> int:
    print(f"agauss demo: {message}", file=sys.stderr)
    return 1
