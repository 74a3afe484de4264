"""A task as it goes on: pushed over a WebSocket, polled where that breaks; nobody notices which."""

import json
import time
from collections.abc import Callable, Iterator

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from switchboard_cli.client import ApiClient, ApiError
from switchboard_cli.output import Json

POLL_S = 2.0
_GIVE_UP_AFTER_S = 60.0
_TERMINAL = frozenset({"completed", "failed", "cancelled"})

Look = Callable[[], Json]


def is_over(thing: Json) -> bool:
    """Whether a task or a run has reached a state that it stays in."""
    return thing["status"] in _TERMINAL


def follow_task(api: ApiClient, task_id: int, *, every_s: float = POLL_S) -> Iterator[Json]:
    """Yield snapshots of a task until its last one.

    Args:
        api: the connection.
        task_id: which task.
        every_s: seconds after which the newest snapshot is yielded again although nothing has changed.

    Raises:
        ApiError: there is no such task, or the api was away for a minute.
    """
    task: Json | None = None
    for task in _pushed(api, task_id, every_s):
        yield task
    if task is None or not is_over(task):
        yield from _polled(lambda: api.get(f"/api/tasks/{task_id}"), every_s)


def follow_run(api: ApiClient, run_id: int, *, every_s: float = 1.0) -> Iterator[Json]:
    """Yield views of a campaign run until its last one.

    Its task says *when* to look; the counts are asked for, because they are the rows themselves.

    Args:
        api: the connection.
        run_id: which run.
        every_s: longest time between two looks, in seconds.

    Raises:
        ApiError: there is no such run, or the api was away for a minute.
    """

    def look() -> Json:
        run: Json = api.get(f"/api/outbound_calls/runs/{run_id}")
        return run

    run = look()
    yield run
    if is_over(run) and not run["counts"]["active"]:
        return
    if run["job_id"] is not None:
        looked_at = time.monotonic()
        for task in follow_task(api, run["job_id"], every_s=every_s):
            # A fast campaign changes dozens of times a second: nobody can read that, and each look is a request.
            if not is_over(task) and time.monotonic() - looked_at > every_s / 4:
                looked_at = time.monotonic()
                if (seen := _unless_away(look)) is not None:
                    yield seen
    yield from _polled(look, every_s)


def _pushed(api: ApiClient, task_id: int, every_s: float) -> Iterator[Json]:
    """Snapshots from the WebSocket; ends with the task or, silently, when the socket breaks."""
    url = api.url.copy_with(
        scheme=api.url.scheme.replace("http", "ws", 1), path=f"{api.url.path.rstrip('/')}/ws/tasks/{task_id}"
    )
    task: Json | None = None
    try:
        with connect(
            str(url),
            additional_headers=api.headers,
            proxy=None if api.is_local else True,
            open_timeout=5,
            close_timeout=1,
        ) as socket:
            while task is None or not is_over(task):
                try:
                    message = json.loads(socket.recv(timeout=every_s))
                except TimeoutError:
                    message = {}
                if message.get("type") == "snapshot":
                    task = {name: value for name, value in message.items() if name != "type"}
                if task is not None:
                    yield task
    except (OSError, WebSocketException, ValueError):
        return


def _polled(look: Look, every_s: float) -> Iterator[Json]:
    """Look again and again; an api that is away for a while (a restart) is waited for."""
    answered_at = time.monotonic()
    while True:
        found = _unless_away(look, raises=time.monotonic() - answered_at > _GIVE_UP_AFTER_S)
        if found is not None:
            answered_at = time.monotonic()
            yield found
            if is_over(found):
                return
        time.sleep(every_s)


def _unless_away(look: Look, *, raises: bool = False) -> Json | None:
    """What there is to see; None while the api is away, unless that is to be raised."""
    try:
        return look()
    except ApiError as error:
        if raises or not error.passing:
            raise
        return None
