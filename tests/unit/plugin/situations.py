"""Situations recorded from a real API server with a real operator, and how the plugin shows them."""

import copy
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from kubectl_switchboard import overview, view
from kubectl_switchboard.gaps import Gap
from kubectl_switchboard.overview import Overview
from kubectl_switchboard.resource import Resource

_FOLDER = Path(__file__).parent / "recorded"
SITUATIONS = sorted(path.stem for path in _FOLDER.glob("*.json"))
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def load(situation: str) -> dict[str, Any]:
    """A recording: the Switchboard, its Deployments, pods and Events."""
    found: dict[str, Any] = json.loads((_FOLDER / f"{situation}.json").read_text(encoding="utf-8"))
    return found


def resource_in(situation: str, **changes: Any) -> Resource:
    """The Switchboard of a recording, with ``changes`` merged into it (``status={"gate": None}`` say)."""
    return Resource(merged(load(situation)["switchboard"], changes))


def merged(found: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings with some of their values replaced."""
    result = copy.deepcopy(found)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return result


def overview_of(
    situation: str, *, runnable: dict[str, int] | None = None, gaps: tuple[Gap, ...] = (), **changes: Any
) -> Overview:
    """All that the screen shows of a recording."""
    found = load(situation)
    return overview.build(
        resource_in(situation, **changes),
        deployments=found["deployments"],
        pods=found["pods"],
        events=found["events"],
        runnable=runnable,
        gaps=gaps,
    )


def printed(shown: Overview, *, width: int = 110, color: bool = False) -> str:
    """The screen, as a terminal of that width gets it."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, color_system="truecolor" if color else None
    )
    with console.capture() as captured:
        console.print(view.screen(shown, NOW))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def one_line(text: str) -> str:
    """A text however its lines were wrapped."""
    return " ".join(text.split())


def section(screen: str, title: str) -> str:
    """The lines under a heading."""
    lines = screen.splitlines()
    start = lines.index(title) + 1
    end = next((at for at in range(start, len(lines)) if not lines[at].strip()), len(lines))
    return "\n".join(lines[start:end])
