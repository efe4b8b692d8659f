"""The site: `sphinx-build -W docs docs/_build`. generated.py writes some pages from the code first."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from sphinx.application import Sphinx

import agauss
import generated

project = "agauss"
author = "the agauss contributors"
project_copyright = f"{author}; MIT licence"
version = release = agauss.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build", "_tables", "gallery"]
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": "",  # all are run
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": generated.USES,
    "doc_module": "agauss",
    "reset_modules": ("matplotlib", "generated.look"),
    "notebook_extensions": set(),
    "download_all_examples": False,
    "css": ["sg_gallery"],
    "show_signature": False,
    "write_computation_times": False,
}
html_theme = "furo"
html_title = f"agauss {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]
pygments_style, pygments_dark_style = "default", "github-dark"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it
autodoc_class_signature = "mixed"
numpydoc_show_class_members = False
numpydoc_show_inherited_class_members = False


def inside(app: Sphinx, name: str, source: list[str]) -> None:
    """Links to files of the repository lead to their pages here."""
    source[0] = generated.linked(source[0], f"docs/{name}.md", f"docs/{name}.md")


def uses(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Under what the gallery uses stand the programs that do."""
    if what in ("function", "class"):
        lines += generated.uses(HERE, name)


def setup(app: Sphinx) -> None:
    generated.write(HERE)
    app.connect("source-read", inside)
    app.connect("autodoc-process-docstring", uses, priority=900)  # after numpydoc
