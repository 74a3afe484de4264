"""What PostgreSQL cannot keep, in text or in jsonb: NUL, and halves of surrogate pairs.

Names and errors of what others send may hold them, and one such name must not keep a slice from its commit.
"""

import re
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable_text(value: str) -> str:
    """The text, with U+FFFD for each character that cannot be kept."""
    return _UNSTORABLE.sub("\ufffd", value) if _UNSTORABLE.search(value) else value


def storable(value: Any) -> Any:  # noqa: ANN401 - JSON, or a column's value of any type
    """The value, with every text in it made storable."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
