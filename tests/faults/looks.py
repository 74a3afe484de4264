"""What is checked while calls go on: the rows, the carrier's account, the slots in Valkey and the stored files."""

from pathlib import Path

import redis

from carrier_truth import none_of
from faults.scene import Scene
from invariants import assert_invariants, assert_slots_follow
from stack import Stack

SLOTS_WITHIN_S = 60.0
"""A slot that a killed process left in Valkey stays until the sweep rebuilds them, which it does every 15 s."""


def look(scene: Scene) -> None:
    """Check every invariant that holds at any moment at which every server and process is there.

    Raises:
        AssertionError: one is broken.
    """
    stack = scene.stack
    assert_invariants(stack.urls.owner, simulator_url=stack.simulator_url)
    with redis.Redis.from_url(scene.valkey_url, socket_timeout=10) as client:
        assert_slots_follow(stack.urls.owner, client, within_s=SLOTS_WITHIN_S)
    _check_every_kept_recording_is_there(stack)


def _check_every_kept_recording_is_there(stack: Stack) -> None:
    folder = Path(stack.env["RECORDINGS_URL"].removeprefix("file://"))
    kept = stack.rows("SELECT object_key, bytes FROM recordings WHERE status = 'completed'")
    wrong = [row for row in kept if not _is_stored(folder / row["object_key"], row["bytes"])]
    none_of(wrong, "recordings that are kept by their rows and not in the store")


def _is_stored(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
