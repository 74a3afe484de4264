"""What many files here begin with. A file that needs other settings has a fixture of its own under the same name.

Support modules are imported by the fixtures themselves: a file run alone loads the api only if it uses it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey

if TYPE_CHECKING:
    from integration.calls_support import CallsBench
    from integration.kernel_support import Bench


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    """A migrated database of this module alone, with a table of effects."""
    from integration.kernel_support import kernel_database

    with kernel_database(postgres, migrated_template) as made:
        yield made


@pytest.fixture
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> "Iterator[Bench]":
    """A business without jobs, and what the job kernel needs to work for it."""
    from integration.kernel_support import bench

    with bench(urls, valkey) as made:
        yield made


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> "Iterator[CallsBench]":
    """The carrier, the api and a worker's parts, for the calls of this module."""
    from integration.calls_servers import calls_bench

    with calls_bench(postgres, migrated_template, valkey) as made:
        yield made


@pytest.fixture
def bench(servers: "CallsBench") -> "CallsBench":
    """A new business that may call, and nothing left of the test before."""
    return servers.reset()
