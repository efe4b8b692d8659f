"""The README and the pages read plainly: short sentences, and none of the phrases that jarred on new users."""

import inspect
import re

import pytest
from texts import ROOT, TEXTS

import agauss as ag
from agauss import vae

WORDS = 25  # in a sentence; a word has two letters or more, for formulas are read at a glance
WRITTEN_BY_A_PROGRAM = "docs/performance.md"  # benchmarks/pages.py's sentences
BANNED = [
    "gradient by ",
    "gradients by ",
    "knows no formula",
    "noise is made again",
    "makes the noise again",
    "noise is generated again",
    "bits are the loops'",
    "the contract's bits",
    "a task a block",
    "is told what it should have been",
    "kept on disk",
    "what agauss loses",
    "into kept outputs",
    "are fresh",
    "is set aside",
    "from twice the digits",
    "magnifies the rounding",
    "by halves",
    "by neighbours",
    "pair by pair",
    "where it was computed",
    "cut as it is",
    "not to be had for less",
    "all that must hold",
    "makes .venv anew",
    "did not come true",
    "where looking may stop",
    "says all",
    "nan stays",
    "is told.",
    "a point at the mean",
    "wrong at its edges",
]


def name_of(page):
    return str(page.relative_to(ROOT))


def prose(text):
    """A page without code, tables, headings, comments and links' targets; list items and paragraphs end sentences."""
    text = re.sub(r"^(```+|~~~+).*?^\1`*$", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^(?:    |\||#|\().*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*(?:[-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"`[^`]*`", "code", text)


def sentences(text):
    for paragraph in re.split(r"\n\s*\n", prose(text)):
        yield from re.split(r"(?<=[.?!:;])\s+(?=\S)", " ".join(paragraph.split()))


def too_long(text):
    return [s for s in sentences(text) if len(re.findall(r"\w*[a-zA-Z]{2}[\w'.-]*", s)) > WORDS]


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_sentences_are_short(page):
    if name_of(page) == WRITTEN_BY_A_PROGRAM:
        pytest.skip("its sentences are a program's")
    long = too_long(page.read_text())
    assert not long, "\n".join(long)


def texts_of(program):
    """What stands between the code of a program of the gallery: its docstring, and the comments after `# %%`."""
    parts = re.findall(r'\A"""(.*?)"""|^# %%\n((?:# [^\n]*\n)+)', program.read_text(), re.DOTALL | re.MULTILINE)
    return "\n\n".join(first or re.sub("^# ", "", rest, flags=re.MULTILINE) for first, rest in parts)


@pytest.mark.parametrize("program", sorted((ROOT / "docs" / "gallery").glob("*.py")), ids=name_of)
def test_sentences_of_the_gallery_are_short(program):
    text = texts_of(program)
    assert text
    assert too_long(text.replace("``", "`")) == []
    assert [phrase for phrase in BANNED if phrase in " ".join(prose(text).lower().split())] == []


def documented(module):
    """What is public of a module, and the public methods of its classes, by their names."""
    for name in module.__all__:
        thing = getattr(module, name)
        yield name, thing
        if inspect.isclass(thing):
            yield from ((f"{name}.{method}", each) for method, each in vars(thing).items() if method[0] != "_")


def described(thing):
    """A docstring without examples and references, as a page whose paragraphs are also those of each argument."""
    doc = re.split(r"^(?:Examples|References)\n-+$", inspect.getdoc(thing) or "", maxsplit=1, flags=re.MULTILINE)[0]
    doc = re.sub(r"^.*\n---+$", "\n", doc, flags=re.MULTILINE)
    doc = re.sub(r"^\S.*\n(?= {4})", "\n", doc, flags=re.MULTILINE)  # an argument's name
    doc = re.sub(r"^( {4}.*\n)(?=\S)", r"\1\n", doc, flags=re.MULTILINE)
    return re.sub(r"^ {4}", "", doc, flags=re.MULTILINE).replace("``", "`")


@pytest.mark.parametrize("module", [ag, ag.random, vae], ids=lambda module: module.__name__)
def test_sentences_of_docstrings_are_short(module):
    assert {name: long for name, thing in documented(module) if (long := too_long(described(thing)))} == {}


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_no_phrase_jars(page):
    text = " ".join(prose(page.read_text()).lower().split())
    assert [phrase for phrase in BANNED if phrase in text] == []


def test_help_begins_with_an_overview_of_all_names():
    words = set(re.findall(r"\w+", ag.__doc__))
    assert {name for name in ag.__all__ if not name.endswith("_vjp")} <= words


@pytest.mark.parametrize("module", [ag, ag.random, vae], ids=lambda module: module.__name__)
def test_no_phrase_of_a_docstring_jars(module):
    docs = {name: (getattr(module, name).__doc__ or "").lower() for name in module.__all__}
    assert {name: phrase for name, text in docs.items() for phrase in BANNED if phrase in text} == {}


FILES = sorted(
    file for pattern in ("agauss/**/*.py", "docs/gallery/*.py", "examples/*.py") for file in ROOT.glob(pattern)
)
OF_USERS = [phrase for phrase in BANNED if phrase.startswith(("gradient", "noise", "makes the noise"))]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_comment_says_of_gradients_and_noise_what_jars(file):
    text = " ".join(re.sub(r"^ *#", "", file.read_text(), flags=re.MULTILINE).lower().split())
    assert [phrase for phrase in OF_USERS if phrase in text] == []
