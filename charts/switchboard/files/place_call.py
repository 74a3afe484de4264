"""Place one call through the api against the simulated carrier, and wait for its end and for its recording.

What ``helm test`` runs, in the api's image: a business, a lead and a campaign are made as a person makes them, with the
``switchboard`` command. They stay in the database of the trial.

Environment: DATABASE_URL, SWITCHBOARD_URL, SIMULATOR_URL.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

CALLED = "+14155550142"
CALLING = "+14155550190"
RECORDED_WITHIN_S = 180.0
LOOK_EVERY_S = 2.0
ENDED = frozenset({"absent", "completed", "failed"})


class CallFailedError(Exception):
    """The call was not placed as it should have been; the message says what happened."""


def say(sentence: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def switchboard(*arguments: str, api_key: str = "") -> Any:  # noqa: ANN401 - JSON of any kind
    """Run a command; returns the last thing that it printed as JSON.

    Raises:
        CallFailedError: it failed; what it said was shown.
    """
    command = ["switchboard", *arguments, "--json"]
    environment = os.environ | {"SWITCHBOARD_API_KEY": api_key}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise CallFailedError(f"`switchboard {' '.join(arguments[:2])}` failed with status {done.returncode}.")
    output = done.stdout.strip()
    try:
        return json.loads(output)
    except ValueError:
        # What is watched is printed as a line for each change.
        return json.loads(output.splitlines()[-1])


def let_answer(simulator: str, number: str) -> None:
    """Tell the simulator that somebody answers at a number."""
    body = json.dumps({"number": number, "outcome": "answer", "talk_seconds": 1.0}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{simulator}/_sim/script", body, headers)  # noqa: S310 - from the chart
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass


def place_call(api_key: str) -> int:
    """Import one lead and call it; returns the id of the run.

    Raises:
        CallFailedError: the call did not end as an answered one.
    """
    with tempfile.TemporaryDirectory() as folder:
        leads = Path(folder) / "leads.csv"
        leads.write_text(f"phone,name\n{CALLED},Helm Test\n", "utf-8")
        report = switchboard("leads", "import", str(leads), api_key=api_key)
    say(f"imported {report['created']} lead")
    message = "Hello {name}, this is a test."
    run = switchboard("run", "start", "helm test", "--message", message, "--all", "--watch", api_key=api_key)
    counts = {name: number for name, number in run["counts"].items() if number}
    say(f"run {run['id']} is {run['status']}: {counts}")
    if run["counts"]["completed"] != 1:
        raise CallFailedError(f"The call was not completed: {counts}.")
    return int(run["id"])


def await_recording(run_id: int, api_key: str) -> None:
    """Wait until the recorder has the recording.

    Raises:
        CallFailedError: there is none in time, or it could not be had.
    """
    until = time.monotonic() + RECORDED_WITHIN_S
    while time.monotonic() < until:
        found = switchboard("recordings", "list", "--run", str(run_id), api_key=api_key)
        if found and found[0]["status"] in ENDED:
            say(f"recording {found[0]['id']} is {found[0]['status']}: {found[0]['transcript'] or found[0]['reason']}")
            if found[0]["status"] != "completed":
                raise CallFailedError("The recording was not kept.")
            return
        time.sleep(LOOK_EVERY_S)
    raise CallFailedError(f"No recording of run {run_id} was there after {RECORDED_WITHIN_S:g} s.")


def main() -> int:
    """Run the test; returns the exit status."""
    try:
        let_answer(os.environ["SIMULATOR_URL"], CALLED)
        business = switchboard(
            "business", "create", "helm test", "--timezone", "UTC", "--caller-id", CALLING, "--hours", "00:00-00:00"
        )
        say(f"business {business['id']}")
        await_recording(place_call(business["api_key"]), business["api_key"])
    except (OSError, CallFailedError) as error:
        say(f"FAILED: {error}")
        return 1
    say("PASSED: a call was placed, ended and was recorded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
