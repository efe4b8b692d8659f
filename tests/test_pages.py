"""What the pages of docs/ say in Python runs, a page's blocks in their order; their links lead somewhere."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec

import pytest
from texts import IGNORED, PAGES, ROOT, TEXTS

PICTURES = sorted((ROOT / "docs").glob("*.??g"))
GALLERY = ROOT / "docs" / "gallery"
PROGRAMS = sorted(GALLERY.glob("*.py"))
DRAW = """
import runpy, sys
from matplotlib import pyplot
runpy.run_path(sys.argv[1])
pyplot.savefig(sys.argv[2])
"""
NOT_RUN = re.compile(r"<!-- not run[^>]*-->\n```python\n.*?```", re.DOTALL)


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", NOT_RUN.sub("", page.read_text()), re.DOTALL | re.MULTILINE)


def missing(block):
    """The packages that a block imports, at the start of a line, and that are not installed."""
    names = set(re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE))
    return {name for name in names if find_spec(name) is None}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    """All of them, or where a package is missing those before its first use."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in blocks(page):
        if missing(block):
            pytest.skip(f"not installed: {', '.join(sorted(missing(block)))}")
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_a_program_of_the_gallery_draws_a_picture(program, tmp_path):
    """As the site's build has it draw: without a ground of its own."""
    if missing(program.read_text()):
        pytest.skip(f"not installed: {', '.join(sorted(missing(program.read_text())))}")
    picture = tmp_path / "drawn.png"
    command = [sys.executable, "-c", DRAW, program.name, picture]
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(command, cwd=GALLERY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    test_a_picture_has_no_ground_of_its_own(picture)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """To a file, and where it is a page of Markdown to a heading of it. The site's build looks at the rest."""
    for path, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        target = (page.parent / path).resolve() if path else page
        made = target.parent == ROOT / "docs" and f"docs/{target.name}" in IGNORED
        assert target.exists() or made, path
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles]


def test_the_page_on_installing_names_every_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    first = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`([^`]+)`", " ".join(first))) == sorted(extras)


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_picture_has_no_ground_of_its_own(picture):
    """So that it reads where pages are dark, too: docs/gallery/matplotlibrc."""
    if picture.suffix == ".svg":
        assert not re.search("#(ffffff|000000)", picture.read_text())
    else:
        imread = pytest.importorskip("matplotlib.image").imread
        assert imread(picture)[0, 0, 3] == 0
