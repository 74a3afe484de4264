"""Wait until a Switchboard is ready: ``wait.py NAMESPACE NAME``, with the token of a pod's service account.

Says each change of what it waits for, and ends at once with 1 when only a person can go on: Helm then reports a failed
release, and with --atomic goes back. Needs nothing but the standard library, so it runs in the api's image of any
release.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT_FOLDER", "/var/run/secrets/kubernetes.io/serviceaccount"))
LOOK_EVERY_S = 2.0
TIMEOUT_S = 10.0

NEEDS_A_PERSON = frozenset({"InvalidSpec", "MigrationFailed", "NameTaken", "ReleaseRefused"})
"""Reasons that do not pass by themselves; a missing Secret, say, may still be made by another tool."""

NOT_TAKEN_UP = (
    "Waiting for the operator to take it up. Does one run that watches this namespace? "
    "kubectl get pods --all-namespaces -l app.kubernetes.io/name=switchboard-operator"
)


def verdict(resource: dict[str, Any]) -> tuple[bool | None, str]:
    """Look at a Switchboard.

    Returns:
        True when there is nothing more to wait for, False when waiting is in vain, None otherwise; and a sentence.
    """
    conditions = resource.get("status", {}).get("conditions", [])
    ready = next((each for each in conditions if each["type"] == "Ready"), None)
    # A condition that was found for the spec before says nothing about this one.
    if ready is None or ready["observedGeneration"] < resource["metadata"]["generation"]:
        return None, NOT_TAKEN_UP
    sentence = f"{ready['reason']}: {ready['message']}"
    if ready["status"] == "True":
        return True, sentence
    if ready["reason"] == "Paused":
        return True, "Nothing to wait for: it is paused, so nothing is rolled out until spec.paused is taken away."
    return (False if ready["reason"] in NEEDS_A_PERSON else None), sentence


def look(namespace: str, name: str) -> dict[str, Any]:
    """The Switchboard, as the API server has it.

    Raises:
        OSError: it could not be asked, or refused.
    """
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    url = f"https://{host}:{port}/apis/switchboard.dev/v1alpha1/namespaces/{namespace}/switchboards/{name}"
    # Read each time: the kubelet renews it.
    token = (ACCOUNT / "token").read_text("utf-8").strip()
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trusted) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found


def say(sentence: str) -> None:
    """Print a line with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S', time.gmtime())} {sentence}\n")
    sys.stdout.flush()


def main() -> int:
    """Wait; returns the exit status."""
    namespace, name = sys.argv[1:]
    said = ""
    while True:
        try:
            done, sentence = verdict(look(namespace, name))
        except urllib.error.HTTPError as error:
            done, sentence = None, f"The API server answered {error.code} {error.reason}."
        except OSError as error:
            done, sentence = None, f"The API server does not answer ({error})."
        if sentence != said:
            say(sentence)
            said = sentence
        if done is not None:
            return 0 if done else 1
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
