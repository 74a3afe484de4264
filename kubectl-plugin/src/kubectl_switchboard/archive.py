"""The report as a file: redacted, listed and packed. Pure but for the one function that writes it."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from kubectl_switchboard.errors import PluginError
from kubectl_switchboard.kinds import Json
from kubectl_switchboard.redact import Redactor

MANIFEST = "manifest.json"
_OWNER_ONLY = 0o600


def checked(files: Mapping[str, str], redactor: Redactor) -> tuple[dict[str, str], list[str]]:
    """The files that hold no known secret, and the names of those that do.

    Nothing should be in the second part: this is the guard for what nobody thought of.
    """
    kept = {path: content for path, content in files.items() if not redactor.holds_known(content)}
    return kept, sorted(set(files) - set(kept))


def manifest(files: Mapping[str, str], facts: Json) -> Json:
    """What is in a report, for its reader.

    Args:
        files: by path.
        facts: about how it was made.
    """
    listed = [
        {"path": path, "bytes": len(content.encode()), "sha256": hashlib.sha256(content.encode()).hexdigest()}
        for path, content in sorted(files.items())
    ]
    return {**facts, "files": listed}


def pack(files: Mapping[str, str], folder: str, made: datetime) -> bytes:
    """A tar.gz of the files, all in one folder."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in sorted(files.items()):
            data = content.encode()
            entry = tarfile.TarInfo(f"{folder}/{path}")
            entry.size, entry.mode, entry.mtime = len(data), 0o644, int(made.timestamp())
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=int(made.timestamp()))


def write(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; one that exists is left alone.

    Raises:
        PluginError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except FileExistsError as error:
        msg = f"{path} exists already: name another file with -o."
        raise PluginError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror}): name another file with -o."
        raise PluginError(msg) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def as_json(value: object) -> str:
    """A value as a file's content."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
