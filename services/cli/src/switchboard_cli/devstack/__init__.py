"""PostgreSQL, Valkey and services as supervised processes on one machine, for the demo, development and tests."""

from switchboard_cli.devstack.errors import (
    DevstackError,
    DiskFullError,
    FolderUnreachableError,
    PortInUseError,
    StartError,
    WheelMissingError,
)
from switchboard_cli.devstack.folders import require_free_disk, temporary_folder
from switchboard_cli.devstack.ports import LOOPBACK, free_port, require_free_port
from switchboard_cli.devstack.postgres import APP_ROLE, OWNER_ROLE, DatabaseUrls, EmbeddedPostgres
from switchboard_cli.devstack.process import ManagedProcess
from switchboard_cli.devstack.valkey import EmbeddedValkey

__all__ = [
    "APP_ROLE",
    "LOOPBACK",
    "OWNER_ROLE",
    "DatabaseUrls",
    "DevstackError",
    "DiskFullError",
    "EmbeddedPostgres",
    "EmbeddedValkey",
    "FolderUnreachableError",
    "ManagedProcess",
    "PortInUseError",
    "StartError",
    "WheelMissingError",
    "free_port",
    "require_free_disk",
    "require_free_port",
    "temporary_folder",
]
