"""A VAE on digits in PyTorch: agauss's class where diffusers' or one's own stood, with a warm-up and diagnostics.

    pip install '.[torch]' scikit-learn
    python examples/torch_vae.py [--compile]

The encoder's output becomes a `DiagonalGaussianDistribution` of tensors, and the gradient is PyTorch's own, through
the derivatives that agauss gives it. `--compile` has torch.compile make one program of a step's loss: it needs a C++
compiler, and pays where the networks are larger than these.
"""

import sys

import torch
from sklearn.datasets import load_digits

from agauss import vae
from agauss.integrations import torch as agt
from agauss.random import Key

PIXELS, HIDDEN, LATENTS = 64, 256, 8
STEPS, BATCH, RATE = 300, 96, 2e-3
BETA = vae.linear(0.0, 1.0, 100)  # the weight of the KL: a function of the step
HELD_OUT = 360  # a fifth of the digits


class VAE(torch.nn.Module):
    """The decoder gives the logits of Bernoulli pixels."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = network(PIXELS, 2 * LATENTS), network(LATENTS, PIXELS)

    def encode(self, digits):
        return agt.DiagonalGaussianDistribution(self.encoder(digits))

    def forward(self, digits, key):
        """The two terms of the ELBO, each (B,), in nats; the key decides the noise, on every device."""
        z, kl = self.encode(digits).sample_and_kl(rng=key)
        return -agt.bernoulli_nll(digits, self.decoder(z), axis=1), kl


def network(inputs, outputs):
    return torch.nn.Sequential(torch.nn.Linear(inputs, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, outputs))


def main():
    torch.manual_seed(0)
    digits = torch.as_tensor(load_digits().data / 16, dtype=torch.float32)
    digits = digits[torch.randperm(len(digits))]
    held_out, digits = digits[:HELD_OUT], digits[HELD_OUT:]
    model = VAE()
    terms = torch.compile(model) if "--compile" in sys.argv[1:] else model
    optimiser = torch.optim.Adam(model.parameters(), RATE)

    def judged():
        with torch.no_grad():
            log_likelihood, kl = model(held_out, Key(1))
            return log_likelihood, float(vae.elbo(log_likelihood, kl).mean()), float(kl.mean())

    _, first, _ = judged()
    for step in range(STEPS):
        x = digits[torch.randint(len(digits), (BATCH,))]
        log_likelihood, kl = terms(x, Key(0).fold_in(step))
        loss = -vae.elbo(log_likelihood, kl, beta=BETA(step)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    log_likelihood, last, kl = judged()
    diagnostics = vae.Diagnostics(schedule=BETA, step=STEPS)
    with torch.no_grad():
        diagnostics.update(model.encode(held_out), log_likelihood)
    print(f"held-out ELBO: {first:.1f} nats a digit untrained, {last:.1f} after {STEPS} steps")
    print(f"KL: {kl:.1f} of them, in {LATENTS} latents")
    print(diagnostics.result())
    return 0 if last > first and diagnostics.result().active_units == LATENTS else 1


if __name__ == "__main__":
    sys.exit(main())
