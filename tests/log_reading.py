"""Reading what processes logged: JSON lines, text lines, and whatever must never stand in either."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from stack import Stack

TEXT_LINE = re.compile(
    r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] (DEBUG|INFO|WARNING|ERROR|CRITICAL) \[[\w.]+\] \[.+\]( .+)?$"
)
"""``[2026-01-26 11:05:20] INFO [module] [EVENT] key=value …``."""

Line = dict[str, Any]


def parsed(text: str) -> list[Line]:
    """The JSON lines of a log. A line that a ``kill -9`` cut off in the middle is left out."""
    return list(_parsed(text))


def _parsed(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def saying(lines: Iterable[Line], words: str, **fields: object) -> list[Line]:
    """The lines whose event begins with ``words`` and that carry these fields."""
    return [
        line
        for line in lines
        if str(line.get("event", "")).startswith(words)
        and all(line.get(name) == value for name, value in fields.items())
    ]


def not_json(text: str) -> list[str]:
    """The lines of a log that are no JSON object, a last one without its end excepted."""
    whole = text if text.endswith("\n") else text.rpartition("\n")[0]
    return [line for line in whole.splitlines() if not line.startswith("{") or not line.endswith("}")]


def secrets_of(stack: Stack, *keys: str) -> set[str]:
    """Everything secret that the stack's processes were given: the carrier's token, passwords, all kinds of keys."""
    passwords = [urlsplit(url).password for url in (*stack.urls, stack.redis_url)]
    sealing = [key.strip() for key in stack.env["CREDENTIALS_KEYS"].split(",")]
    found = {stack.env["TWILIO_AUTH_TOKEN"], *keys, *filter(None, [*passwords, *sealing])}
    return found | {unquote(secret) for secret in found}


def leaks(stack: Stack, secrets: Iterable[str], numbers: Iterable[str]) -> list[str]:
    """Lines of any process's log that hold a secret or a whole number, with or without its plus sign."""
    forbidden = [*secrets, *(number.lstrip("+")[-10:] for number in numbers)]
    return [
        f"{name}: {line}"
        for name in stack.processes
        for line in stack.log(name).splitlines()
        if any(secret in line for secret in forbidden)
    ]
