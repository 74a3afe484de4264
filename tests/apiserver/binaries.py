"""Where the API server's binaries are."""

import os
from pathlib import Path

from cluster import parts

VARIABLE = "SWITCHBOARD_APISERVER_BIN"
"""A folder with other binaries than those that ``make parts`` builds, another version's say."""


class MissingBinaryError(Exception):
    """A binary is not there; the message says how to get it."""


def find_binary(name: str) -> Path:
    """Path of ``etcd``, ``kube-apiserver``, ``kube-controller-manager`` or ``kubectl``.

    Raises:
        MissingBinaryError: it was not built.
    """
    if folder := os.environ.get(VARIABLE):
        found = Path(folder) / name
        if not found.is_file():
            msg = f"{VARIABLE} is {folder}, and there is no {name}: unset it, or name a folder that has it."
            raise MissingBinaryError(msg)
        return found
    try:
        return parts.binary(name)
    except parts.MissingPartError as error:
        raise MissingBinaryError(str(error)) from error
