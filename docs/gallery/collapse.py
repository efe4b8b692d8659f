"""
Posterior collapse and its remedies
===================================

A large beta collapses latents: their posteriors become the prior. Free bits prevent that in part. The runs here are
short, and of one seed. ``python tools/collapse.py`` trains for longer, with three seeds, and :doc:`/collapse` has its
numbers.
"""

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import agauss as ag
from agauss import vae
from agauss.cli import training  # of `agauss demo`

EPOCHS, LATENTS = 8, 16
digits, held_out, labels, held_out_labels = training.load_digits()


def diagnostics(name, beta, floor):
    """Of the held-out digits after training."""
    model = training.VAE(128, LATENTS, ag.random.Key(0, training.WEIGHTS))
    model.decoder.weights[-1][:] = training.log_odds_of_ink(digits)
    steps = EPOCHS * training.steps_of(digits)
    objective = training.objective_of(name, steps, beta, floor)
    for _ in training.train(model, digits, labels, objective, EPOCHS, seed=0):
        pass
    fit, _ = model.elbo(held_out, held_out_labels, ag.random.Key(0, training.EVALUATION))
    found = vae.Diagnostics(schedule=objective.beta, step=steps)
    found.update(model.encode(held_out), fit)
    return found.result()


# %%
# :class:`agauss.vae.Diagnostics` gives the verdict.

runs = {
    "ELBO": ("elbo", 1.0, 0.0),
    "beta 100": ("beta", 100.0, 0.0),
    "annealed from 0 to 100": ("annealed", 100.0, 0.0),
    "annealed from 0 to 1": ("annealed", 1.0, 0.0),
    "beta 100, free bits 0.5": ("free-bits", 100.0, 0.5),
}
with threadpool_limits(1, user_api="blas"):  # whose threads make products as small as these no faster
    results = {label: diagnostics(*run) for label, run in runs.items()}
for label, found in results.items():
    print(f"{label}: {found}")

# %%
# Annealing changes the path of the training, and not its end. A floor keeps the latents in use at the same beta. Yet
# the ELBO stays far below that of a beta of 1.

figure, (each, bound) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for place, found in enumerate(results.values()):
    each.plot(np.arange(1, LATENTS + 1), np.sort(found.kl)[::-1], ".-", color=f"C{place}")
    bound.plot(found.elbo, place, "o", color=f"C{place}")
each.set(title="KL of each latent", xlabel="latent, sorted", ylabel="nats", xticks=range(1, LATENTS + 1, 3))
bound.set_yticks(range(len(results)), list(results))
bound.invert_yaxis()
bound.set(title="Held-out ELBO", xlabel="nats per digit")
for place, name in enumerate(bound.get_yticklabels()):
    name.set_color(f"C{place}")  # so that these are the legend of both
plt.show()
