"""The functions of agauss.vae as calls of arrays, beside plain forms of PyTorch, which differentiates them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import agauss as ag
from agauss import vae

Q = ag.DiagonalGaussianDistribution.from_mean_logvar
T = [0.0, 0.3, 1.0]
t = torch.tensor(T, dtype=torch.float64).reshape(-1, 1, 1)


@dataclass(frozen=True)
class Case:
    """A function of arrays, its vjp (a flat tuple of their gradients), and the plain form. Values are flat tuples."""

    function: Any
    vjp: Any
    plain: Any
    shapes: tuple[tuple[int, ...], ...]
    trained: int = 1  # how many of the values have a cotangent
    own: bool = False  # whether values have the arguments' dtype
    positive: bool = False


def flat(nested):
    if isinstance(nested, ag.DiagonalGaussianDistribution):
        return nested.mean, nested.logvar
    if isinstance(nested, (tuple, list)):
        return tuple(x for part in nested for x in flat(part))
    return (nested,)


def free_bits(kl, floor, over, groups):
    parts = kl.reshape(len(kl), groups, -1).sum(-1)
    parts = parts.mean(0) if over == "batch" else parts
    return torch.clamp(parts, min=floor).sum(-1), parts.sum(-1)


def product(*arrays, prior):
    means, logvars = (
        torch.stack(torch.broadcast_tensors(*arrays[:2])),
        torch.stack(torch.broadcast_tensors(*arrays[2:])),
    )
    precision = torch.exp(-logvars)
    total = precision.sum(0) + prior
    return (means * precision).sum(0) / total, -torch.log(total)


def ways(mean0, logvar0, mean1, logvar1, path):
    mean = (1 - t) * mean0 + t * mean1
    if path == "linear":
        return mean, (1 - t) * logvar0 + t * logvar1
    return mean, 2 * torch.log((1 - t) * torch.exp(logvar0 / 2) + t * torch.exp(logvar1 / 2))


def slerp(a, b):
    cosine = (a * b).sum(-1, keepdim=True) / (a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True))
    w = torch.arccos(cosine)
    return (torch.sin((1 - t) * w) * a + torch.sin(t * w) * b) / torch.sin(w)


def free_bits_case(shape, floor, **options):
    plain = {"over": options.get("over", "batch"), "groups": options.get("groups", shape[1] if len(shape) > 1 else 1)}
    if plain["over"] == "sample":
        plain["groups"] = options.get("groups", 1)
    return Case(
        lambda kl: vae.free_bits(kl, floor, **options),
        lambda kl, g: vae.free_bits_vjp(kl, floor, cotangent=g[0], **options),
        lambda kl: free_bits(kl, floor, **plain),
        (shape,),
        positive=True,
    )


def product_case(prior):
    return Case(
        lambda m1, m2, v1, v2: vae.product_of_experts([m1, m2], [v1, v2], prior=prior),
        lambda m1, m2, v1, v2, g: vae.product_of_experts_vjp([m1, m2], [v1, v2], prior=prior, cotangent=g),
        lambda *arrays: product(*arrays, prior=prior),
        ((4, 3), (1, 3), (3,), (4, 3)),
        trained=2,
        own=True,
    )


def way_case(path):
    return Case(
        lambda m0, v0, m1, v1: vae.interpolate(Q(m0, v0, bounds=None), Q(m1, v1, bounds=None), T, path),
        lambda m0, v0, m1, v1, g: vae.interpolate_vjp(
            Q(m0, v0, bounds=None), Q(m1, v1, bounds=None), T, path, cotangent=g
        ),
        lambda *arrays: ways(*arrays, path),
        ((4, 3),) * 4,
        trained=2,
        own=True,
    )


CASES = {
    "elbo": Case(
        lambda fit, kl: vae.elbo(fit, kl, beta=0.3),
        lambda fit, kl, g: vae.elbo_vjp(fit, kl, beta=0.3, cotangent=g[0]),
        lambda fit, kl: (fit - 0.3 * kl,),
        ((5, 4), (4,)),
    ),
    "kl_capacity": Case(
        lambda kl: vae.kl_capacity(kl, 0.7),
        lambda kl, g: vae.kl_capacity_vjp(kl, 0.7, cotangent=g[0]),
        lambda kl: (torch.abs(kl - 0.7),),
        ((6,),),
        positive=True,
    ),
    "free_bits": free_bits_case((5, 4, 2, 3), 4.5),
    "free_bits of vectors": free_bits_case((5, 4), 0.8),
    "free_bits of two groups": free_bits_case((5, 4, 3), 4.4, groups=2),
    "free_bits over samples": free_bits_case((5, 4, 2), 6.0, over="sample"),
    "free_bits over samples, two groups": free_bits_case((5, 4, 2), 3.0, over="sample", groups=2),
    "free_bits of sums over samples": free_bits_case((5,), 0.8, over="sample"),
    "iwae": Case(
        lambda w: vae.iwae(w, axis=0)[0],
        lambda w, g: vae.iwae_vjp(w, axis=0, cotangent=g[0]),
        lambda w: (torch.logsumexp(w, 0) - np.log(len(w)),),
        ((6, 3),),
    ),
    "iwae along the last axis": Case(
        lambda w: vae.iwae(w, axis=-1)[0],
        lambda w, g: vae.iwae_vjp(w, axis=-1, cotangent=g[0]),
        lambda w: (torch.logsumexp(w, -1) - np.log(w.shape[-1]),),
        ((2, 3, 6),),
    ),
    "product_of_experts": product_case(True),
    "product_of_experts without the prior": product_case(False),
    "interpolate": way_case("linear"),
    "interpolate, wasserstein": way_case("wasserstein"),
    "slerp": Case(
        lambda a, b: vae.slerp(a, b, T),
        lambda a, b, g: vae.slerp_vjp(a, b, T, cotangent=g[0]),
        lambda a, b: (slerp(a, b),),
        ((4, 3), (4, 3)),
        own=True,
    ),
}


def inputs(case, seed=0):
    """Arrays of float64."""
    rng = np.random.default_rng(seed)
    made = [rng.normal(size=shape) for shape in case.shapes]
    return [np.abs(a) for a in made] if case.positive else made


def expected(case, arrays):
    """The plain form's values, cotangents for those that are trained, and the gradients, all of float64."""
    given = [torch.tensor(np.asarray(a, np.float64), requires_grad=True) for a in arrays]
    values = case.plain(*given)
    rng = np.random.default_rng(1)
    cotangents = [rng.normal(size=tuple(v.shape)) for v in values[: case.trained]]
    total = sum((v * torch.tensor(c)).sum() for v, c in zip(values, cotangents, strict=False))
    gradients = torch.autograd.grad(total, given, allow_unused=True, materialize_grads=True)
    return [v.detach().numpy() for v in values], cotangents, [g.numpy() for g in gradients]
