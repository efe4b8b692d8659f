"""What the pages of docs/ say in Python runs: a page's blocks in their order, in one namespace."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IGNORED = (ROOT / ".gitignore").read_text()  # pages that are made as the site is built
FOLDERS = (ROOT / "docs", ROOT / "docs" / "coming-from", ROOT / "docs" / "guides")
PAGES = [page for folder in FOLDERS for page in sorted(folder.glob("*.md")) if f"docs/{page.name}" not in IGNORED]
NOT_RUN = re.compile(r"<!-- not run[^>]*-->\n```python\n.*?```", re.DOTALL)


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", NOT_RUN.sub("", page.read_text()), re.DOTALL | re.MULTILINE)


def imported(page):
    """The packages that the blocks import, at the start of a line."""
    return set(re.findall(r"^(?:from|import) (\w+)", "\n".join(blocks(page)), re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    missing = [name for name in imported(page) if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), names)
