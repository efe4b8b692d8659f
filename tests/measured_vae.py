"""Domain, edges and largest errors of agauss.vae and of MultivariateNormal, in float32 on NumPy.

`python tools/numerics.py` records them in ulp_vae.json and prints docs/numerics.md; test_ulp.py finds what is worse. An
error is in ulp of the largest element of the result: most results are sums, whose terms may cancel.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch.distributions import MultivariateNormal as Theirs
from torch.distributions import kl_divergence
from vae_cases import CASES, expected, flat, inputs

import agauss as ag
from agauss import vae

FILE = Path(__file__).with_name("ulp_vae.json")
SEEDS, D = range(40), 8
TRIL = "the diagonal above 0"
# What each function takes, and what it gives at the edges.
ROWS = {
    "elbo": ("any numbers", "-inf where kl is inf, but NaN where beta is 0 there"),
    "kl_capacity": ("a capacity of 0 or more", "0 at the capacity, with gradient 0"),
    "free_bits": ("a floor of 0 or more", "NaN where a KL is; on the floor the gradient is that above it"),
    "iwae": ("any numbers", "-inf where all weights are, and inf where one is; NaN where one is"),
    "iwae_gradients": ("finite numbers", "doubly reparameterised: 0 for a datum whose weights add up to 0"),
    "score_function": ("finite numbers", "logvar = -inf: inf, and 0 by the mean where z is there"),
    "product_of_experts": ("any numbers", "logvar = inf: the expert says nothing; -inf: it decides"),
    "interpolate": ("t within 0 and 1", "t = 0 and 1: the ends, even if infinite"),
    "slerp": ("t within 0 and 1", "a straight line where one is 0; large, inf or NaN between opposite ones"),
    "anomaly": ("any numbers", "NaN where elbo is; NaN in the reference is left out; a tie counts as less odd"),
    "MultivariateNormal.sample": (TRIL, "NaN where mean or L is"),
    "MultivariateNormal.log_prob": (TRIL, "-inf or NaN where x is infinite"),
    "MultivariateNormal.entropy": (TRIL, "NaN where the diagonal is"),
    "MultivariateNormal.kl": (TRIL, "0 for the standard normal, exactly"),
    "MultivariateNormal.kl of two": (TRIL, "0 for the same, exactly"),
}


def ulps(got, want):
    """The largest error of all results, each in ulp of its largest element."""
    largest = 0.0
    for g, w in zip(got, want, strict=True):
        error, size = np.abs(np.asarray(g, np.float64) - w).max(), np.abs(w).max()
        largest = max(largest, float(error / (size * np.finfo(np.float32).eps)) if size else float(error > 0))
    return largest


def of_function(case, seed):
    """Of a function of agauss.vae and its gradients, by PyTorch's autograd of the plain form in float64."""
    arrays = [a.astype(np.float32) for a in inputs(case, seed)]
    values, cotangents, gradients = expected(case, arrays)
    got = flat(case.vjp(*arrays, [np.float32(c) for c in cotangents]))
    return ulps(flat(case.function(*arrays)), values), ulps(got, gradients)


def of_score_function(seed):
    rng = np.random.default_rng(seed)
    values, z, mean, logvar = (
        rng.normal(size=shape).astype(np.float32) for shape in ((5, 3), (5, 3, 2), (3, 2), (3, 2))
    )
    leaves = [torch.tensor(np.float64(a), requires_grad=True) for a in (mean, logvar)]
    density = torch.distributions.Normal(leaves[0], torch.exp(leaves[1] / 2)).log_prob(torch.tensor(np.float64(z)))
    total = (torch.tensor(np.float64(values)) * density.sum(-1)).mean(0).sum()
    return 0.0, ulps(
        vae.score_function(values, z, mean, logvar), [g.numpy() for g in torch.autograd.grad(total, leaves)]
    )


def of_iwae_gradients(seed):
    """Of all estimators: PyTorch's gradients of log-weights, q's density held where an estimator leaves it out."""
    rng = np.random.default_rng(seed)
    shapes = (5, 3), (5, 3, 2), (5, 3, 2), (3, 2), (3, 2), (3, 2), (3, 2)
    weights, d_z, *given = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    weights = np.abs(weights)
    share = torch.tensor(np.float64(weights))
    largest = 0.0
    for estimator in ("standard", "sticking-the-landing", "doubly-reparameterised"):
        z, mean, logvar, mean2, logvar2 = (torch.tensor(np.float64(a), requires_grad=True) for a in given)
        path = mean + torch.exp(logvar / 2) * ((z - mean) / torch.exp(logvar / 2)).detach()
        held = (mean, logvar) if estimator == "standard" else (mean.detach(), logvar.detach())
        ratio = [torch.distributions.Normal(m, torch.exp(v / 2)) for m, v in (held, (mean2, logvar2))]
        value = torch.tensor(np.float64(d_z)) * path
        of_path = value - share[..., None] * (ratio[0].log_prob(path) - ratio[1].log_prob(path))
        by_q = share[..., None] / share.sum(0)[..., None] if estimator.startswith("doubly") else torch.ones(1)
        wanted = [*torch.autograd.grad((by_q * of_path).sum(), (mean, logvar), retain_graph=True)]
        wanted += torch.autograd.grad(of_path.sum(), (mean2, logvar2))
        found = vae.iwae_gradients(weights, d_z, *given, estimator=estimator)
        largest = max(largest, ulps(found, [g.numpy() for g in wanted]))
    return 0.0, largest


def of_anomaly(seed):
    rng = np.random.default_rng(seed)
    elbo, reference = (rng.integers(-50, 0, n).astype(np.float32) for n in (20, 37))
    p = (1 + (reference <= elbo[:, None]).sum(1)) / 38
    return ulps([vae.anomaly(elbo, reference)], [p]), 0.0


def of_normal(name, seed):
    """Of a method and its gradients, by PyTorch's distributions in float64."""
    rng = np.random.default_rng(seed)
    mean, mean2, x, eps_shape = *rng.normal(size=(3, 4, D)).astype(np.float32), (4, D)
    tril, tril2 = (np.tril(rng.normal(size=(4, D, D))) / D + np.eye(D) for _ in range(2))
    tril, tril2 = (np.float32(a + np.eye(D) * rng.uniform(0, 1, (4, 1, D))) for a in (tril, tril2))
    q, p = ag.MultivariateNormal(mean, tril), ag.MultivariateNormal(mean2, tril2)
    leaves = [torch.tensor(np.float64(a), requires_grad=True) for a in (mean, tril, mean2, tril2, x)]
    theirs, others = Theirs(leaves[0], scale_tril=leaves[1]), Theirs(leaves[2], scale_tril=leaves[3])
    prior = Theirs(torch.zeros(D, dtype=torch.float64), torch.eye(D, dtype=torch.float64))
    eps = torch.tensor(ag.random.normal(eps_shape, rng=7).astype(np.float64))
    value, gradients, want, by = {
        "sample": lambda: (
            q.sample(rng=7),
            q.sample_vjp(cotangent=1.0, rng=7),
            leaves[0] + (torch.tril(leaves[1]) @ eps[..., None])[..., 0],
            leaves[:2],
        ),
        "log_prob": lambda: (
            q.log_prob(x),
            q.log_prob_vjp(x, cotangent=1.0),
            theirs.log_prob(leaves[4]),
            [leaves[4], *leaves[:2]],
        ),
        "entropy": lambda: (q.entropy(), (), theirs.entropy(), []),
        "kl": lambda: (q.kl(), q.kl_vjp(cotangent=1.0), kl_divergence(theirs, prior), leaves[:2]),
        "kl of two": lambda: (q.kl(p), q.kl_vjp(p, cotangent=1.0), kl_divergence(theirs, others), leaves[:4]),
    }[name]()
    found = torch.autograd.grad(want.sum(), by) if by else ()
    return ulps([value], [want.detach().numpy()]), ulps(
        gradients, [np.tril(g) if g.ndim == 3 else g.numpy() for g in found]
    )


BY_HAND = {"score_function": of_score_function, "iwae_gradients": of_iwae_gradients, "anomaly": of_anomaly}


def measured(name):
    """The largest error of a function's values, and of its gradients."""
    kind, _, method = name.partition(".")
    if method:
        found = [of_normal(method, seed) for seed in SEEDS]
    elif name in BY_HAND:
        found = [BY_HAND[name](seed) for seed in SEEDS]
    else:
        cases = [case for title, case in CASES.items() if title.replace(",", " ").split()[0] == kind]
        found = [of_function(case, seed) for case in cases for seed in SEEDS]
    return [max(errors) for errors in zip(*found, strict=True)]


def recorded():
    return json.loads(FILE.read_text())


def record():
    """Rounded up to halves, for NumPy's own exp depends on the processor."""
    found = {name: [math.ceil(2 * x) / 2 for x in measured(name)] for name in ROWS}
    lines = [f'  "{name}": {json.dumps(row)}' for name, row in found.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def table():
    """The record as docs/numerics.md has it."""
    lines = ["| function | domain | ulp, of the value and the gradients | edges |", "|---|---|---|---|"]
    for name, (value, gradients) in recorded().items():
        domain, edges = ROWS[name]
        lines.append(f"| {name} | {domain} | {value:g} and {gradients:g} | {edges} |")
    return "\n".join(lines)
