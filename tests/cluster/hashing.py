"""Names that change when what they stand for changes."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

LENGTH = 12


def key(*facts: object, files: Iterable[Path] = ()) -> str:
    """Return a short hash over facts and over the names and contents of files.

    Args:
        facts: anything that JSON can hold, in an order that matters.
        files: files, or folders that count with all that lies below them; where they lie does not count.

    Returns:
        ``LENGTH`` hexadecimal digits, the same on every machine.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for root in files:
        for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if file.is_file():
                content = file.read_bytes()
                name = file.relative_to(root.parent).as_posix()
                digest.update(f"\0{name}\0{file.stat().st_mode & 0o111:o}\0{len(content)}\0".encode())
                digest.update(content)
    return digest.hexdigest()[:LENGTH]
