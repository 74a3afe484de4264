"""A server as the only thing that a process does: its output is ours, and so is its end."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGINT)
_SIGNALLED = 128


def run_in_foreground(
    argv: Sequence[str], env: Mapping[str, str], *, stop_signal: signal.Signals, stdin: str = ""
) -> int:
    """Run a server until it ends, and ask it to end when SIGTERM or SIGINT arrives.

    Args:
        argv: program (a path) and its arguments.
        env: the whole environment of the server.
        stop_signal: asks it to end in good order and at once.
        stdin: what it reads at its start.

    Returns:
        the exit status: 0 after an end that was asked for; 128 and the signal's number when another signal ended it.
    """
    server: subprocess.Popen[str] | None = None
    asked = False

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        # Once: some servers take a second request for impatience and leave without tidying up.
        if server is not None and not asked:
            server.send_signal(stop_signal)
        asked = True

    before = {number: signal.signal(number, pass_on) for number in _STOPS}
    try:
        # A session of its own: the terminal's Ctrl-C reaches us, and we pass it on.
        server = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, text=True, start_new_session=True)
        if asked:  # between the first line and this one
            server.send_signal(stop_signal)
        _write(server, stdin)
        status = server.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked and status in {0, -stop_signal}:
        return 0
    return status if status >= 0 else _SIGNALLED - status


def _write(server: subprocess.Popen[str], text: str) -> None:
    assert server.stdin is not None
    # One that has ended already reads nothing; its exit status says so.
    with suppress(BrokenPipeError), server.stdin as pipe:
        pipe.write(text)
