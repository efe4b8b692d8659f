"""The texts that readers see."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
IGNORED = (ROOT / ".gitignore").read_text()  # pages that are made as the site is built
FOLDERS = (ROOT / "docs", ROOT / "docs" / "coming-from", ROOT / "docs" / "guides")
PAGES = [page for folder in FOLDERS for page in sorted(folder.glob("*.md")) if f"docs/{page.name}" not in IGNORED]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "examples/README.md")
TEXTS = [*(ROOT / name for name in OUTSIDE), *PAGES]
