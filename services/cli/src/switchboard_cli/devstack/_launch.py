"""Become another program, tied to the life of the parent: ``python -I -S _launch.py '<options>' program argument…``.

A wrapper instead of ``preexec_fn``, which must not be used in a process with threads. It is run by path, imports
nothing of Switchboard and replaces itself, so the process keeps its pid. Options are one JSON object:

- ``parent``: pid of the starter; when that is gone already, nothing is started;
- ``death_signal``: sent by the kernel (Linux) when the starter ends in whatever way; 0 leaves the program running;
- ``uid``, ``gid``: whom to become, or null. The signal is set afterwards because changing the user clears it.
"""

import ctypes
import json
import os
import sys

_PR_SET_PDEATHSIG = 1
_COMMAND_NOT_STARTED = 126


def _tie_to_parent(death_signal: int) -> None:
    if sys.platform == "linux" and death_signal:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def main() -> int:
    """Apply the options and replace this process; returns an exit status only when that failed."""
    options = json.loads(sys.argv[1])
    argv = sys.argv[2:]
    try:
        if options["uid"] is not None:
            os.setgroups([])
            os.setgid(options["gid"])
            os.setuid(options["uid"])
        _tie_to_parent(options["death_signal"])
        if options["death_signal"] and os.getppid() != options["parent"]:
            return _COMMAND_NOT_STARTED
        os.execv(argv[0], argv)  # noqa: S606 - an argument list, and no shell is the point
    except OSError as error:
        sys.stderr.write(f"{argv[0]} could not be started: {error}\n")
        return _COMMAND_NOT_STARTED


if __name__ == "__main__":
    sys.exit(main())
