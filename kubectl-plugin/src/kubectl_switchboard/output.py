"""What commands print: text and colour for people, JSON for machines. Colour only on a terminal."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from kubectl_switchboard.kinds import Json

_WIDTH_IN_A_FILE = 120


class Output:
    """Where a command prints: results to standard output, what is said beside them to standard error."""

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            # A terminal with an old character set shows a question mark rather than a traceback.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=_WIDTH_IN_A_FILE)
        self._notes = Console(stderr=True, highlight=False)

    @property
    def is_terminal(self) -> bool:
        """A person looks at it."""
        return self.console.is_terminal

    def show(self, screen: RenderableType) -> None:
        """Print a result for people; without the spaces that fill its lines, where it goes into a file."""
        if self.is_terminal:
            self.console.print(screen)
            return
        with self.console.capture() as captured:
            self.console.print(screen)
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))

    def line(self, text: str, style: str = "") -> None:
        """Print a line for people, however long."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    def json(self, value: Json) -> None:
        """Print a result for machines."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
        sys.stdout.flush()

    def json_line(self, value: Json) -> None:
        """Print one of several results for machines."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say something beside the result."""
        self._notes.print(Text(text, style="dim"), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Say what is to be minded."""
        self._notes.print(Text.assemble(("Note: ", "bold yellow"), text), soft_wrap=True)

    def error(self, text: str) -> None:
        """Say why a command failed."""
        self._notes.print(Text.assemble(("Error: ", "bold red"), text), soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[Live]:
        """A screen that is replaced again and again."""
        with Live(console=self.console, screen=True, auto_refresh=False) as live:
            yield live
