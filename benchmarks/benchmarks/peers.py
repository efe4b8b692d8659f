"""Others' ways to do the same work, each from the very inputs that agauss gets; knows nothing of agauss.

CogVideo's formulas on NumPy, PyTorch and JAX; SciPy's Normal and NumPyro's; and floors: plain copies and sums of the
bytes that the work must move. A function here takes the work and the inputs, and returns the call to time.
"""

import math
import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import numpy as np

from . import common
from .common import Call, Inputs, imported

Form = Callable[[Any, Any, Any], Any]  # work as a function of (parameters, x, key)


def kl_term(m: Any, mean: Any, logvar: Any) -> Any:
    logvar = m.clip(logvar, -30.0, 20.0)
    return mean * mean + m.exp(logvar) - 1.0 - logvar


def nll_term(m: Any, mean: Any, logvar: Any, x: Any) -> Any:
    logvar = m.clip(logvar, -30.0, 20.0)
    d = x - mean
    return math.log(2.0 * math.pi) + logvar + d * d / m.exp(logvar)


def sample_term(m: Any, mean: Any, logvar: Any, noise: Any) -> Any:
    return mean + m.exp(0.5 * m.clip(logvar, -30.0, 20.0)) * noise


def forward(
    work: str, m: Any, noise: Callable[[Any, Any], Any], fuse: Callable[[Any], Any] = lambda term: term
) -> Form:
    """The work's form; `fuse` makes one kernel of a term, where the library can."""
    kl_of, nll_of, sample_of = (fuse(partial(term, m)) for term in (kl_term, nll_term, sample_term))

    def kl(p: Any, x: Any, key: Any) -> Any:
        return 0.5 * m.sum(kl_of(*halves(p)), axis=tuple(range(1, p.ndim)))

    def nll(p: Any, x: Any, key: Any) -> Any:
        return 0.5 * m.sum(nll_of(*halves(p), x), axis=tuple(range(1, p.ndim)))

    def sample(p: Any, x: Any, key: Any) -> Any:
        mean, logvar = halves(p)
        return sample_of(mean, logvar, noise(mean, key))

    def sample_and_kl(p: Any, x: Any, key: Any) -> Any:
        return sample(p, x, key), kl(p, x, key)

    return {"kl": kl, "nll": nll, "sample": sample, "sample and kl": sample_and_kl}[work]


def halves(parameters: Any) -> Any:
    channels = parameters.shape[1] // 2
    return parameters[:, :channels], parameters[:, channels:]


def numpy_form(work: str, a: Inputs) -> Call:
    rng = np.random.default_rng(7)
    own = a.dtype if a.dtype in (np.float32, np.float64) else np.float32

    def noise(mean: Any, key: Any) -> Any:
        return rng.standard_normal(mean.shape, dtype=own).astype(mean.dtype, copy=False)

    if work == "noise":
        return partial(noise, a.x, None)
    f = forward(work, np, noise)
    return lambda: f(a.parameters, a.x, None)


def scipy_normal(work: str, a: Inputs) -> Call:
    """scipy.stats.Normal, which checks its parameters; its samples are of one size."""
    stats = imported("scipy.stats")
    if a.dtype.name == "bfloat16":
        raise NotImplementedError("SciPy has no bfloat16")

    def normal() -> Any:
        mean, logvar = halves(a.parameters)
        return stats.Normal(mu=mean, sigma=np.exp(0.5 * np.clip(logvar, -30.0, 20.0)))

    rng = np.random.default_rng(7)
    return {
        "nll": lambda: -np.sum(normal().logpdf(a.x), axis=a.axes),
        "sample": lambda: normal().sample(rng=rng),
    }[work]


def tensor(array: Any) -> Any:
    """The very same memory as a tensor."""
    torch = imported("torch")
    if isinstance(array, np.ndarray) and array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_dlpack(array)


def torch_form(work: str, a: Inputs, compiled: bool = False) -> Call:
    """A backward is that alone: its forward has run, and what it saved is kept."""
    torch = imported("torch")
    if work == "noise":
        return tensor(a.z).normal_
    p, x, d_z, d_kl = (tensor(array) for array in (a.parameters, a.x, a.d_z, a.d_kl))
    step = work == "forward and backward"
    of = "sample and kl" if step else work.removesuffix(" vjp")
    f = forward(of, torch, lambda mean, key: torch.randn_like(mean))
    if compiled:
        torch.compiler.reset()
        f = torch.compile(f, dynamic=False)
        if not step:  # a compiled backward may run twice only where it gives no buffer away
            imported("torch._functorch.config").donated_buffer = False
    if of == work:
        return lambda: f(p, x, None)
    wanted = (p, x) if of == "nll" else (p,)
    for array in wanted:
        array.requires_grad_()

    def pulled(values: Any, keep: bool) -> Any:
        outputs = values if isinstance(values, tuple) else (values,)
        own = d_kl.to(outputs[-1].dtype)  # theirs is half precision too
        cotangents = {"sample": (d_z,), "sample and kl": (d_z, own)}.get(of, (own,))
        return torch.autograd.grad(outputs, wanted, cotangents, retain_graph=keep)

    if step:

        def forward_and_backward() -> Any:
            values = f(p, x, None)
            return *values, *pulled(values, False)

        return forward_and_backward
    values = f(p, x, None)
    return lambda: pulled(values, True)


def jax_form(work: str, p: Any, x: Any, d_z: Any, d_kl: Any, forms: Callable[[str], Form] | None = None) -> Call:
    """Under jit; a call returns before it is done. `forms` has the forward of a piece of work, if not JAX's own."""
    jax = configured_jax()
    key = jax.random.key(7)

    def noise(mean: Any, key: Any) -> Any:
        return jax.random.normal(key, mean.shape, mean.dtype)

    if work == "noise":
        compiled = jax.jit(noise)
        return lambda: compiled(x, key)
    step = work == "forward and backward"
    of = "sample and kl" if step else work.removesuffix(" vjp")
    f = forms(of) if forms else forward(of, jax.numpy, noise)
    if of == work:
        plain = jax.jit(f)
        return lambda: plain(p, x, key)

    @jax.jit
    def pulled(p: Any, x: Any, key: Any, d_z: Any, d_kl: Any) -> Any:
        wanted = (p, x) if of == "nll" else (p,)
        values, pullback = jax.vjp(lambda p, x=x: f(p, x, key), *wanted)
        own = d_kl.astype((values[-1] if of == "sample and kl" else values).dtype)
        gradients = pullback({"sample": d_z, "sample and kl": (d_z, own)}.get(of, own))
        return (*values, *gradients) if step else gradients

    return lambda: pulled(p, x, key, d_z, d_kl)


@lru_cache
def configured_jax() -> Any:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax = imported("jax")
    jax.config.update("jax_enable_x64", True)  # every dtype here is explicit
    return jax


def jax_jit(work: str, a: Inputs) -> Call:
    jax = configured_jax()
    call = jax_form(work, *map(jax.numpy.asarray, (a.parameters, a.x, a.d_z, a.d_kl)))
    return lambda: jax.block_until_ready(call())


def numpyro_normal(work: str, a: Inputs) -> Call:
    """numpyro.distributions.Normal, under jit."""
    jax, numpyro = configured_jax(), imported("numpyro.distributions")

    def of(p: Any, x: Any, key: Any) -> Any:
        mean, logvar = halves(p)
        q = numpyro.Normal(mean, jax.numpy.exp(0.5 * jax.numpy.clip(logvar, -30.0, 20.0))).to_event(p.ndim - 1)
        if work == "kl":
            prior = numpyro.Normal(jax.numpy.zeros_like(mean), 1.0).to_event(p.ndim - 1)
            return numpyro.kl_divergence(q, prior)
        return -q.log_prob(x) if work == "nll" else q.sample(key)

    compiled = jax.jit(of)
    given = jax.numpy.asarray(a.parameters), jax.numpy.asarray(a.x), jax.random.key(7)
    return lambda: jax.block_until_ready(compiled(*given))


def floor(work: str, a: Inputs) -> Call:
    """As many bytes read and written as the work must, by PyTorch's copy and sum on all threads."""
    torch = imported("torch")
    reads, writes = (len([name for name in names if name != "d_kl"]) for names in common.moved(work))
    unit = -(-a.x.nbytes // 4)
    source, target = torch.ones(max(writes, 1) * unit), torch.empty(max(writes, 1) * unit)
    rest = torch.ones((reads - writes) * unit) if reads > writes else None
    if not reads:
        return partial(target.fill_, 1.0)

    def move() -> None:
        if writes:
            target.copy_(source)
        if rest is not None:
            rest.sum()

    return move


for library in ("torch", "jax"):  # here, once: asv forks the process of each benchmark from one that has them
    with suppress(NotImplementedError):
        imported(library)

FORWARD = ["kl", "nll", "sample", "sample and kl"]
BACKWARD = [f"{work} vjp" for work in FORWARD]
EVERY = [*FORWARD, "noise", *BACKWARD, "forward and backward"]
PEERS: dict[str, tuple[Callable[[str, Inputs], Call], list[str]]] = {
    "torch eager": (torch_form, EVERY),
    "torch.compile": (partial(torch_form, compiled=True), [*FORWARD, "forward and backward"]),
    "jax.jit": (jax_jit, EVERY),
    "numpy": (numpy_form, [*FORWARD, "noise"]),
    "scipy Normal": (scipy_normal, ["nll", "sample"]),
    "numpyro Normal": (numpyro_normal, ["kl", "nll", "sample"]),
    "floor": (floor, common.WORKS),
}
PAIRS = {f"{work}: {peer}": (work, peer) for peer, (_, works) in PEERS.items() for work in works}


def peer_call(pair: str, a: Inputs) -> Call:
    """Ready to be timed."""
    work, peer = PAIRS[pair]
    call = PEERS[peer][0](work, a)
    call()
    return call


@lru_cache(maxsize=1)
def prepared(pair: str, dtype: str, shape: str) -> Call:
    """Made once: asv sets up again before every timed call."""
    return peer_call(pair, common.inputs(shape, dtype))


class Shapes:
    params = (list(PAIRS), ["float32"], common.SHAPES)
    param_names = ("pair", "dtype", "shape")
    repeat = (3, 50, 2.0)

    def setup(self, *case):
        self.call = prepared(*case)

    def time_call(self, *case):
        self.call()
