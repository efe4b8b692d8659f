"""The pages that are made from the code: the API reference, and the tables of what runs where and of error bounds."""

import inspect
import json
import os
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import agauss as ag
from agauss import ops, vae
from agauss.operations import OPERATIONS, Result

GROUPS = {
    "divergences": "Divergences",
    "distances": "Distances",
    "likelihoods": "Likelihoods",
    "moments": "Moments and bounds",
    "sampling": "Sampling",
}
PARTS = {
    "objectives": "Objectives",
    "importance": "Importance-weighted bounds",
    "estimators": "Gradient estimators",
    "experts": "Products of experts",
    "latents": "Paths between latents",
    "schedules": "Schedules",
    "diagnostics": "Diagnostics",
    "anomalies": "Anomalies",
}
KINDS = {
    Result.SUM: "summed over `axis`",
    Result.COUNT: "counted over `axis`",
    Result.WIDE: "elementwise, float32 or wider",
    Result.OWN: "elementwise, the arguments' dtype",
}
INTEGRATIONS = ("torch", "jax", "autograd")


# Files of the repository that are pages of the site too.
OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
    "examples/mlx.md": "mlx.md",
    "benchmarks/README.md": "benchmarks.md",
}
# And the header of sphinx-gallery's page.
PAGES = OUTSIDE | {"docs/gallery/README.rst": "auto_gallery/index.rst"}
USES = "auto_gallery/uses"


def write(folder: Path) -> None:
    """All pages, each only where it has changed, so that a second build is short."""
    pages = {f"api/{name}.md": text for name, text in api().items()}
    pages |= {page: linked((folder.parent / path).read_text(), path, f"docs/{page}") for path, page in OUTSIDE.items()}
    pages["_tables/functions.md"] = functions()
    pages["_tables/frameworks.md"] = frameworks()
    pages["_tables/names.md"] = names()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def linked(text: str, path: str, page: str) -> str:
    """The text of a file of the repository as a page of docs/, with its relative links led there."""

    def led(match: re.Match[str]) -> str:
        target = os.path.normpath(Path(path).parent / match[1])
        target = f"docs/{PAGES[target]}" if target in PAGES else target
        return f"]({os.path.relpath(target, Path(page).parent)}"

    return re.sub(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", led, text)


def look(*_: Any) -> None:
    """Each program of the gallery begins with the site's look."""
    import matplotlib

    matplotlib.rc_file(Path(__file__).parent / "gallery" / "matplotlibrc")


def uses(folder: Path, name: str) -> list[str]:
    """Lines that show the gallery's programs which use a function, or a class or a method of it; none if none does."""
    known = json.loads((folder / USES / "backreferences_all.json").read_text())
    found = [each for each in known if f"{each}.".startswith(f"{name}.")]
    return ["", ".. rubric:: In the gallery", "", f".. minigallery:: {' '.join(found)}", ""] if found else []


def api() -> dict[str, str]:
    """Each page of the reference by its name."""
    made = {name: group(name, title) for name, title in GROUPS.items()}
    made["vae"] = page("`agauss.vae`: the rest of a VAE", first_line(vae), *parts())
    made["distributions"] = page(
        "Distributions",
        "The classes hold their parameters and nothing more. Each method is one call of a function.",
        *(directive("autoclass", f"agauss.{name}", members=True) for name in classes(ag)),
    )
    made["random"] = page(
        "`agauss.random`: keys and noise",
        "[Randomness](../randomness.md) says how to use them, and [the noise contract](../noise.md) defines every bit.",
        *(
            directive("autoclass" if name == "Key" else "autofunction", f"agauss.random.{name}", members=name == "Key")
            for name in ag.random.__all__
        ),
    )
    made["integrations"] = page("Integrations", INTEGRATIONS_ARE, *(integration(name) for name in INTEGRATIONS))
    made["tools"] = page(
        "Reports and gradients",
        "What a call does, what the machine has, and the vector-Jacobian product of any operation.",
        *(directive("autofunction", f"agauss.{name}") for name in ("explain", "show_versions", "vjp")),
    )
    return made


INTEGRATIONS_ARE = """\
The same functions, differentiable by a framework. Signatures and formulas are those of agauss's own functions, without
`out=`. `agauss.integrations.dask` hands on agauss's own names, for Dask arrays need nothing else."""


def page(title: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", *blocks]) + "\n"


def directive(kind: str, target: str, members: bool = False) -> str:
    options = ":members:\n" if members else ""
    return f"```{{eval-rst}}\n.. {kind}:: {target}\n{indented(options)}```"


def indented(text: str) -> str:
    return "".join(f"   {line}\n" for line in text.splitlines())


def first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def classes(module: ModuleType) -> list[str]:
    return [name for name in module.__all__ if inspect.isclass(getattr(module, name))]


def group(name: str, title: str) -> str:
    """The functions of a file of ops/."""
    module = import_module(f"agauss.ops.{name}")
    return page(title, *(directive("autofunction", f"agauss.{each}") for each in module.__all__))


def parts() -> list[str]:
    made = []
    for file in vae._FILES:
        made.append(f"## {PARTS[file.__name__.rpartition('.')[2]]}")
        for name in file.__all__:
            a_class = inspect.isclass(getattr(vae, name))
            made.append(directive("autoclass" if a_class else "autofunction", f"agauss.vae.{name}", members=a_class))
    return made


def integration(name: str) -> str:
    """What an integration has beyond agauss's functions, and the list of these."""
    module = import_module(f"agauss.integrations.{name}")
    shared = [f for f in module.__all__ if f in ops.FUNCTIONS]
    own = [
        f
        for f in module.__all__
        if f not in shared and getattr(getattr(module, f), "__module__", "") == module.__name__
    ]
    functions = ", ".join(f"`{f}`" for f in shared)
    blocks = [
        f"## `agauss.integrations.{name}`",
        first_line(module),
        f"Functions: {functions}.",
        *(
            directive("autoclass", f"{module.__name__}.{f}", members=True)
            if inspect.isclass(getattr(module, f))
            else directive("autofunction", f"{module.__name__}.{f}")
            for f in own
        ),
    ]
    return "\n\n".join(blocks)


def names() -> str:
    """Every public name with the first line of its documentation, by pages."""
    rows = ["| name | what it is |", "|---|---|"]
    for module in (ag, ag.random, vae):
        short = module.__name__.replace("agauss", "ag")
        for name in module.__all__:
            thing = getattr(module, name)
            if not inspect.ismodule(thing) and not name.endswith("_vjp"):
                line = first_line(thing).replace("|", "\\|").replace("``", "`")
                rows.append(f"| {{py:obj}}`{short}.{name} <{module.__name__}.{name}>` | {line} |")
    return "\n".join(rows) + "\n"


def functions() -> str:
    """Every operation of the table: what it takes and gives, its gradient, and the integrations that have it."""
    having = {name: import_module(f"agauss.integrations.{name}").FUNCTIONS for name in INTEGRATIONS}
    rows = [
        "| function | arrays | value | gradient | " + " | ".join(INTEGRATIONS) + " |",
        "|---|---|---|---|" + "---|" * len(INTEGRATIONS),
    ]
    for name, function in ops.FUNCTIONS.items():
        found = [op for op in OPERATIONS.values() if op.function == name]
        longest = max(found, key=lambda op: len(op.arguments))
        kinds = [f"{'' if key == name else f'{key}: '}{KINDS[kind]}" for key, kind in longest.results.items()]
        arrays = ", ".join(f"`{a}`" for a in inspect.signature(function).parameters if a in taken(longest, function))
        gradient = f"{{py:obj}}`{name}_vjp <agauss.{name}_vjp>`" if function in ops.VJPS else "none"
        yes = " | ".join("yes" if name in having[other] else "no" for other in INTEGRATIONS)
        rows.append(f"| {{py:obj}}`{name} <agauss.{name}>` | {arrays} | {'; '.join(kinds)} | {gradient} | {yes} |")
    return "\n".join(rows) + "\n"


def taken(operation: Any, function: Any) -> tuple[str, ...]:
    """The public names of an operation's arrays: its own, or the one that holds them."""
    given = inspect.signature(function).parameters
    return operation.arguments if operation.arguments[0] in given else ("parameters",)


def frameworks() -> str:
    """For each library's arrays what `explain` reports, and how much of the noise and of z has NumPy's bits."""
    mean, logvar = (ag.random.normal((64, 64), rng=key) for key in (1, 2))
    expected = ag.random.normal(mean.shape, rng=7), ag.sample(mean, logvar, rng=7)
    rows = ["| arrays | functions | path of `kl` | noise as NumPy's | z as NumPy's |", "|---|---|---|---|---|"]
    for name, where, convert in libraries():
        module = import_module(where)
        arrays = convert(mean), convert(logvar)
        steps = ag.explain(module.kl, *arrays).steps
        zeros = arrays[0] * 0
        found = module.sample(zeros, zeros, rng=7), module.sample(*arrays, rng=7)
        shares = [share(numpy_of(a), b) for a, b in zip(found, expected, strict=True)]
        rows.append(
            f"| {name} | `{where}` | {', '.join(dict.fromkeys(s.backend for s in steps))} | {' | '.join(shares)} |"
        )
    return "\n".join(rows) + "\n"


def libraries() -> list[tuple[str, str, Any]]:
    """Kinds of arrays that need no device, the module whose functions take them, and how to make one of NumPy's."""
    import array_api_strict
    import dask.array as da
    import jax.numpy as jnp
    import torch

    return [
        ("NumPy", "agauss", lambda a: a),
        ("PyTorch", "agauss.integrations.torch", torch.from_numpy),
        ("PyTorch", "agauss", torch.from_numpy),
        ("JAX", "agauss.integrations.jax", jnp.asarray),
        ("Dask of NumPy", "agauss", lambda a: da.from_array(a, chunks=(16, 64))),
        ("array-api-strict", "agauss", array_api_strict.asarray),
    ]


def numpy_of(a: Any) -> Any:
    return np.asarray(a.compute() if hasattr(a, "compute") else a)


def share(found: Any, expected: Any) -> str:
    same = (found == expected).mean()
    return "every bit" if same == 1 else f"{same:.0%} of elements"
