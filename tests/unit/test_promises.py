"""Strong statements of the documentation: each is listed in promises.md with tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

DOCS = REPOSITORY / "docs"
PROMISES = DOCS / "explanation/promises.md"
_GENERATED = (DOCS / "reference/specification.md", PROMISES)
_GENERATED_FOLDERS = (DOCS / "components", DOCS / "measurements")
PAGES = [
    page
    for page in (REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md")))
    if page not in _GENERATED and page.parent not in _GENERATED_FOLDERS
]
_STRONG = re.compile(r"\b(bounded|exact|exactly|never|every)\b", re.IGNORECASE)
_FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) )")
_SENTENCE = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`*\[])")
_RULE_ROW = re.compile(r"\| `[a-z0-9-]+` \| (low|medium|high|critical) \|")
_ROW = re.compile(r'^\| \[[^\]]+\]\(([^)]+)\) \| "(.+?)" \| (.+) \|$', re.MULTILINE)
_TESTS = re.compile(r"`(tests/[\w/]+\.py)`: ((?:`test_\w+`(?:, )?)+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_strong_sentences_of_page_are_promises(page: Path) -> None:
    quotes = [quote for path, quote, _ in _read_rows() if path == page]
    missing = [
        sentence
        for sentence in _sentences(page)
        if _STRONG.search(sentence) and not any(quote in sentence for quote in quotes)
    ]
    assert not missing, f"{page.name} promises what promises.md does not list: {missing}"


def test_promises_are_quoted_from_their_page() -> None:
    for page, quote, _ in _read_rows():
        assert any(quote in sentence for sentence in _sentences(page)), f"{page.name}: {quote}"


def test_tests_of_promises_exist() -> None:
    rows = _read_rows()
    assert len(rows) == sum(
        line.startswith("| [") for line in PROMISES.read_text(encoding="utf-8").splitlines()
    )
    for _, quote, cell in rows:
        tests = [
            (path, name)
            for path, names in _TESTS.findall(cell)
            for name in re.findall(r"test_\w+", names)
        ]
        assert tests, f"{quote!r} has no test"
        for path, name in tests:
            assert name in _test_names(REPOSITORY / path), f"{path} has no test {name}"


def _read_rows() -> list[tuple[Path, str, str]]:
    """Return (page, quote, tests) of each promise."""
    return [
        ((PROMISES.parent / target).resolve(), quote, cell)
        for target, quote, cell in _ROW.findall(PROMISES.read_text(encoding="utf-8"))
    ]


@cache
def _sentences(page: Path) -> list[str]:
    """Return the sentences and table rows of a page, without code blocks and policy rules."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    paragraphs = [" ".join(paragraph.split()) for paragraph in _PARAGRAPH.split(text)]
    return [
        sentence
        for paragraph in paragraphs
        if not _RULE_ROW.match(paragraph)
        for sentence in _SENTENCE.split(paragraph)
    ]


@cache
def _test_names(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
