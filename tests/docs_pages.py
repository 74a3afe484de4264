"""The pages of the documentation, taken apart for the tests that hold them against the code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

# A block inside a list is indented.
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<content>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    content: str

    @property
    def first_line(self) -> str:
        return self.content.partition("\n")[0]


def read(page: Path | str) -> str:
    """A page, given by its path or by its name in ``docs/``."""
    return (DOCS / page if isinstance(page, str) else page).read_text(encoding="utf-8")


def blocks(page: Path | str) -> list[Block]:
    """The fenced blocks of a page."""
    return [Block(match["language"], dedent(match["content"])) for match in _FENCE.finditer(read(page))]


def prose(page: Path | str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def in_code(text: str) -> set[str]:
    """Everything between backticks."""
    return set(_CODE.findall(text))


def section(page: Path | str, heading: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    lines = read(page).splitlines()
    start = next(number for number, line in enumerate(lines) if line.lstrip("#").strip() == heading)
    level = len(lines[start]) - len(lines[start].lstrip("#"))
    found: list[str] = []
    fenced = False
    for line in lines[start + 1 :]:
        fenced ^= line.startswith("```")
        depth = len(line) - len(line.lstrip("#"))
        if not fenced and 0 < depth <= level:
            break
        found.append(line)
    return "\n".join(found)


def table_rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in a text, without header and ruler."""
    header_seen = False
    for line in text.splitlines():
        if not line.startswith("|"):
            header_seen = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not header_seen or all(set(cell) <= {"-", ":"} for cell in cells):
            header_seen = True
            continue
        yield cells
