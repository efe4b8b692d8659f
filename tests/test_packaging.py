"""What goes with a release names its version, and what CONTRIBUTING.md sends a reader to is there."""

import re
from pathlib import Path

import agauss as ag

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def files_named():
    """Those in CONTRIBUTING.md, which leaves out the folder where the words around say it."""
    folders = [ROOT, ROOT / "tests", ROOT / "agauss", ROOT / "agauss" / "ops", ROOT / "agauss" / "integrations"]
    for name in set(re.findall(r"`(?:python )?([\w/.]+\.(?:py|cuh|cff|md))`", CONTRIBUTING)):
        yield name, [folder / name for folder in folders if (folder / name).is_file()]


def test_the_citation_and_the_newest_section_of_the_changelog_are_of_this_version():
    assert f"\nversion: {ag.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    newest, day = re.search(r"^## \[(.*)\] - (.*)$", changes, re.MULTILINE).groups()
    assert newest == ag.__version__
    assert re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", day)


def test_the_files_that_contributors_are_sent_to_exist():
    found = dict(files_named())
    assert len(found) > 15
    assert [name for name, files in found.items() if not files] == []


def test_the_tables_that_contributors_are_sent_to_exist():
    sources = [file.read_text() for _, files in files_named() for file in files if file.suffix == ".py"]
    tables = set(re.findall(r"`([A-Z_]+)`", CONTRIBUTING))
    assert {"PLAIN", "DOMAIN", "SUM", "WIDE", "OWN"} <= tables
    for name in tables:
        assert any(re.search(rf"^ *{name}\b.* = ", source, re.MULTILINE) for source in sources), name
