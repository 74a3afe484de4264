"""What commands print: tables and colour for people, JSON for programs, tab-separated lines into a pipe.

Results go to standard output, everything said beside them to standard error, so that a result can be piped.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]
"""An object as the api sends it."""

_STYLES = {
    "completed": "green",
    "ready": "green",
    "running": "cyan",
    "in_progress": "cyan",
    "ringing": "cyan",
    "failed": "red",
    "uncertain": "red",
    "paused": "yellow",
    "busy": "yellow",
    "no_answer": "yellow",
    "cancelled": "magenta",
    "canceled": "magenta",
}


def clean(value: object) -> str:
    """A value as one line of text. What would steer a terminal (escape sequences in a lead's name) is left out."""
    return "".join(char if char.isprintable() else " " for char in str(value))


def cell(value: object) -> str:
    """A value for a table: nothing for None, local time for moments, a list as its items."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(cell(item) for item in value)
        case _:
            return clean(value)


def moment(value: str | None) -> str:
    """An ISO 8601 moment of the api in the local time of this machine, to the second."""
    if value is None:
        return ""
    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def styled(status: object) -> Text:
    """A status in its colour."""
    words = cell(status)
    return Text(words, style=_STYLES.get(words, ""))


class Output:
    """Where a command prints.

    Args:
        as_json: print results as JSON and nothing else to standard output.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False)
        self._notes = Console(stderr=True, highlight=False)

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at standard output."""
        return self.console.is_terminal and not self.as_json

    def json(self, value: object) -> None:
        """Print a result for programs."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")

    def json_line(self, value: object) -> None:
        """Print one of several results for programs, each on a line of its own, at once."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def line(self, text: str | Text = "") -> None:
        """Print a line for people."""
        self.console.print(text, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Say something beside the result, on standard error."""
        self._notes.print(text, markup=False, soft_wrap=True, style="dim")

    def warn(self, text: str) -> None:
        """Say on standard error what went wrong."""
        self._notes.print(Text.assemble(("Error: ", "bold red"), text), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
        """Print rows: as a table on a terminal, otherwise tab-separated with a header line."""
        if not self.is_terminal:
            for row in (columns, *rows):
                sys.stdout.write("\t".join(_plain(value) for value in row) + "\n")
            return
        self.console.print(make_table(columns, rows, title=title))

    def record(self, fields: Mapping[str, object]) -> None:
        """Print one thing, a line for each of its fields."""
        if not self.is_terminal:
            for name, value in fields.items():
                sys.stdout.write(f"{name}\t{_plain(value)}\n")
            return
        table = Table.grid(padding=(0, 2))
        for name, value in fields.items():
            table.add_row(Text(name, style="dim"), _shown(value))
        self.console.print(table)


def make_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> Table:
    """A table for a terminal; what can be counted is aligned to the right."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for at, name in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[at], int | float | None) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(value) for value in row))
    return table


def _shown(value: object) -> Text:
    return value if isinstance(value, Text) else Text(cell(value))


def _plain(value: object) -> str:
    return clean(value.plain) if isinstance(value, Text) else cell(value)
