"""Runs runc for a root that lacks CAP_SYS_RESOURCE, as in some sandboxes.

A privileged container asks for every capability there is, which such a root cannot give: "unable to apply caps". So the
one that is missing is taken out of what runc is asked for, and so is a lower ``oom_score_adj``, which needs it too.

Started by containerd for every step of every container: standard library only, and nothing that starts slowly.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MISSING = "CAP_SYS_RESOURCE"


def without_capability(process: dict[str, Any]) -> dict[str, Any]:
    """Return the process section of an OCI bundle without what this machine's root cannot give."""
    granted = {
        kind: [name for name in names if name != MISSING] for kind, names in (process.get("capabilities") or {}).items()
    }
    if process.get("oomScoreAdj", 0) < 0:
        process = {**process, "oomScoreAdj": 0}
    return {**process, "capabilities": granted}


def value_of(arguments: Sequence[str], *options: str) -> str | None:
    """Return the value that follows the first of some options, or None where there is none of them."""
    for option in options:
        if option in arguments:
            return arguments[arguments.index(option) + 1]
    return None


def main(arguments: Sequence[str]) -> None:
    """Change the request on disk, then become runc."""
    if "create" in arguments or "run" in arguments:
        bundle = Path(value_of(arguments, "--bundle", "-b") or ".") / "config.json"
        config = json.loads(bundle.read_text())
        bundle.write_text(json.dumps({**config, "process": without_capability(config["process"])}))
    elif "exec" in arguments and (named := value_of(arguments, "--process", "-p")):
        process = Path(named)
        process.write_text(json.dumps(without_capability(json.loads(process.read_text()))))
    os.execvp("runc", ["runc", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
