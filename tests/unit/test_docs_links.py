"""Every relative link of the documentation leads somewhere, and no page shows where it was written."""

import re
from functools import lru_cache
from pathlib import Path

import pytest

from docs_pages import DOCS, PAGES, ROOT, prose

LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (?P<words>.+)$", re.MULTILINE)
# A pattern between backticks may look like a link.
CODE = re.compile(r"`[^`\n]+`")
LINKS = [(page, match["target"]) for page in PAGES for match in LINK.finditer(CODE.sub("", prose(page)))]
# Written by `make bench`, so it is not always there to be linked to.
GENERATED = DOCS / "benchmarks.md"
INNER = [(page, target) for page, target in LINKS if "://" not in target]


def _name(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


@lru_cache
def _anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub and most renderers make of a page's headings."""
    words = (match["words"].lower().replace("`", "") for match in HEADING.finditer(prose(page)))
    return frozenset(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in words)


def test_there_are_links_to_check() -> None:
    assert len(INNER) > 20


@pytest.mark.parametrize(("page", "target"), INNER, ids=_name)
def test_a_relative_link_leads_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    assert file.exists(), f"{_name(page)} links to {target}, which does not exist"
    assert file.is_relative_to(ROOT), f"{_name(page)} links out of the repository"
    if anchor:
        assert anchor in _anchors(file), f"{_name(page)} links to {target}, but there is no such heading"


@pytest.mark.parametrize("page", [page for page in PAGES if page != GENERATED], ids=_name)
def test_every_page_is_reached_from_the_readme(page: Path) -> None:
    assert page in _reached(), f"no page leads to {_name(page)}"


@lru_cache(maxsize=1)
def _reached() -> frozenset[Path]:
    """The pages that the links of the README lead to, and those that theirs do."""
    links: dict[Path, set[Path]] = {page: set() for page in PAGES}
    for source, target in INNER:
        links[source].add((source.parent / target.partition("#")[0]).resolve())
    found = [ROOT / "README.md"]
    reached = set(found)
    while found:
        new = (links[found.pop()] & links.keys()) - reached
        reached |= new
        found += new
    return frozenset(reached)


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((DOCS / "decisions").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("[0-9]*.md")), ids=_name)
def test_a_decision_says_its_number_and_its_three_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.name[:4]}. ")
    assert [match["words"] for match in HEADING.finditer(text)][1:] == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) < 60, "a decision is one page"
