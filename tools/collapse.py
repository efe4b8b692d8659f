"""Draw docs/collapse.png and print the table of docs/collapse.md: what collapses a VAE's latents, and what helps.

    python tools/collapse.py

Each row is trained on scikit-learn's digits as `agauss demo` trains them, with three seeds.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

import agauss as ag
from agauss import vae
from agauss.cli import training

DOCS = Path(__file__).parents[1] / "docs"
SEEDS, EPOCHS, LATENTS = (0, 1, 2), 40, 16
PANELS = {  # a title, the learning rate, and each run's name, objective, beta and floor
    "Too large a beta": (
        training.LEARNING_RATE,
        [
            ("ELBO", "elbo", 1.0, 0.0),
            ("IWAE, 5 samples", "iwae", 1.0, 0.0),
            ("beta 100", "beta", 100.0, 0.0),
            ("annealed from 0 to 100", "annealed", 100.0, 0.0),
            ("annealed from 0 to 1", "annealed", 1.0, 0.0),
            ("beta 100, free bits 0.5", "free-bits", 100.0, 0.5),
        ],
    ),
    "Too hasty a training": (
        0.05,
        [
            ("beta 10", "beta", 10.0, 0.0),
            ("annealed from 0 to 10", "annealed", 10.0, 0.0),
            ("beta 10, free bits 0.5", "free-bits", 10.0, 0.5),
        ],
    ),
}


def trained(name, beta, floor, rate, seed):
    """The diagnostics of the held-out digits after training."""
    digits, held_out, labels, held_out_labels = training.load_digits()
    model = training.VAE(training.HIDDEN, LATENTS, ag.random.Key(seed, training.WEIGHTS))
    model.decoder.weights[-1][:] = training.log_odds_of_ink(digits)
    steps = EPOCHS * training.steps_of(digits)
    objective = training.objective_of(name, steps, beta, floor)
    for _ in training.train(model, digits, labels, objective, EPOCHS, seed, rate):
        pass
    fit, _ = model.elbo(held_out, held_out_labels, ag.random.Key(seed, training.EVALUATION))
    diagnostics = vae.Diagnostics(schedule=objective.beta, step=steps)
    diagnostics.update(model.encode(held_out), fit)
    return diagnostics.result()


def main():
    matplotlib.rc_file(DOCS / "gallery" / "matplotlibrc")
    figure = Figure(figsize=(9.5, 6), layout="constrained")
    print("| learning rate | trained | held-out ELBO, nats | KL, nats | active latents of 16 | collapsed |")
    print("|---|---|---|---|---|---|")
    for row, (title, (rate, runs)) in zip(figure.subplots(2, 2), PANELS.items(), strict=True):
        for place, (label, name, beta, floor) in enumerate(runs):
            found = [trained(name, beta, floor, rate, seed) for seed in SEEDS]
            columns = [[f"{f.elbo:.1f}" for f in found], [f"{f.kl_total:.2f}" for f in found]]
            columns.append([str(f.active_units) for f in found])
            collapsed = sum(f.verdict.startswith("collapsed") for f in found)
            cells = [f"{rate:g}", label, *map(", ".join, columns), f"{collapsed} of {len(SEEDS)}"]
            print(f"| {' | '.join(cells)} |", flush=True)
            kl = np.mean([np.sort(f.kl)[::-1] for f in found], axis=0)
            row[0].plot(np.arange(1, LATENTS + 1), kl, ".-", color=f"C{place}")
            row[1].plot([f.elbo for f in found], [place] * len(SEEDS), "o", color=f"C{place}", alpha=0.6)
        row[0].set(xlabel="latent, sorted", ylabel="KL, nats", title=f"{title}: KL of each latent, by seeds' mean")
        row[0].set_xticks(range(1, LATENTS + 1, 3))
        row[1].set_yticks(range(len(runs)), [label for label, *_ in runs])
        for place, name in enumerate(row[1].get_yticklabels()):
            name.set_color(f"C{place}")  # so that these are the legend of both
        row[1].invert_yaxis()
        row[1].set(xlabel="nats per digit", title="Held-out ELBO of each seed")
        for axes in row:
            axes.spines[["top", "right"]].set_visible(False)
            axes.title.set_fontsize("medium")
    figure.savefig(DOCS / "collapse.png", dpi=80)


if __name__ == "__main__":
    with threadpool_limits(1, user_api="blas"):  # whose threads make products as small as these no faster
        main()
