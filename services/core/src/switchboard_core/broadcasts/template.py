"""Templates of messages: ``{name}``, ``{first_name}``, ``{attr_plan}``, each with a fallback as in ``{name|there}``.

Checked when a broadcast is created, so that nothing is found out at the thousandth lead. A brace that is meant as one
is doubled. Values are put in as they are and never read as a template again.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_FIELD = re.compile(r"\{\{|\}\}|\{(?P<name>[a-z_][a-z0-9_]*)(?:\|(?P<fallback>[^{}|]*))?\}|[{}]")
_ATTRIBUTE = "attr_"
KNOWN = ("name", "first_name", "phone", "email")


class TemplateError(ValueError):
    """The template cannot be filled in; the text says where and what to write."""


@dataclass(frozen=True)
class Person:
    """What a template can say of a lead."""

    name: str | None
    phone: str
    email: str | None
    attributes: Mapping[str, Any]

    def value(self, field: str) -> str | None:
        """The value of a placeholder; None where the lead has none."""
        if field.startswith(_ATTRIBUTE):
            found = self.attributes.get(field.removeprefix(_ATTRIBUTE))
            return None if found is None else str(found)
        if field == "first_name":
            return self.name.split()[0] if self.name and self.name.strip() else None
        return {"name": self.name, "phone": self.phone, "email": self.email}[field]


def check(template: str) -> None:
    """Check a template.

    Raises:
        TemplateError: a brace stands alone, or a placeholder is not known.
    """
    _replace(template, lambda _field, fallback: fallback or "")


def fill(template: str, person: Person) -> str:
    """The text for a lead. A value that the lead lacks is the fallback; without one, nothing.

    Raises:
        TemplateError: as ``check``.
    """
    return _replace(template, lambda field, fallback: person.value(field) or fallback or "")


def _replace(template: str, value_of: Callable[[str, str | None], str]) -> str:
    def one(match: re.Match[str]) -> str:
        found, name = match[0], match["name"]
        if found in {"{{", "}}"}:
            return found[0]
        if name is None:
            msg = (
                f"there is a lone {found} at character {match.start() + 1}: a placeholder looks like {{name}} or "
                "{name|there}, and a brace in the text is doubled."
            )
            raise TemplateError(msg)
        if name not in KNOWN and not (name.startswith(_ATTRIBUTE) and len(name) > len(_ATTRIBUTE)):
            known = ", ".join(f"{{{field}}}" for field in KNOWN)
            msg = f"{{{name}}} is not known: use {known}, or {{attr_…}} with the name of an attribute."
            raise TemplateError(msg)
        return value_of(name, match["fallback"])

    return _FIELD.sub(one, template)
