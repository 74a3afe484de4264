"""What people change by hand is put back, and what they change in a Secret reaches every pod once."""

import base64

from e2e.installation import ROLES, Installation, role_of, seconds_to_undo, secret_value
from e2e.kube import Json

REPAIRED_WITHIN_S = 30.0


def test_a_deployment_that_was_edited_by_hand_is_repaired(first: Installation) -> None:
    begun = first.history.last
    first.kube.run("set", "resources", f"deployment/{first.recorder}", "--limits=memory=999Mi")
    took = seconds_to_undo(first, first.recorder, begun, lambda found: _memory_limit(found) != "999Mi")
    assert took < REPAIRED_WITHIN_S
    first.history.wait(
        lambda: _told(first, "DriftRepaired", f"Deployment {first.recorder} was changed by hand"), "the Event", 10
    )
    first.await_rest()


def test_kubectl_scale_is_corrected_with_an_event_that_says_how(first: Installation) -> None:
    begun, wanted = first.history.last, first.replicas()[first.api]
    first.kube.run("scale", f"deployment/{first.api}", f"--replicas={wanted + 2}")
    took = seconds_to_undo(first, first.api, begun, lambda found: bool(found["spec"]["replicas"] == wanted))
    assert took < REPAIRED_WITHIN_S
    words = f"The replicas of {first.api} were changed to {wanted + 2} and put back. Set them in the Switchboard"
    first.history.wait(lambda: _told(first, "ScaleCorrected", words), "the Event", 10)
    first.await_rest()


def test_a_changed_database_secret_rolls_every_pod_once(first: Installation) -> None:
    old = {pod["metadata"]["name"] for pod in first.pods()}
    last = first.history.last
    board = first.board()
    assert board is not None
    ref = board["spec"]["database"]["secretRef"]
    url = secret_value(first.kube, ref["name"], ref["key"])
    changed = url + ("&" if "?" in url else "?") + "connect_timeout=9"
    first.kube.merge("secret", ref["name"], {"data": {ref["key"]: base64.b64encode(changed.encode()).decode()}})
    first.history.wait(lambda: first.events("SecretsChanged"), "the Event", 15)
    first.history.wait(
        lambda: old.isdisjoint(pod["metadata"]["name"] for pod in first.history.live("pods")),
        "every old pod to go",
        240,
    )
    first.await_rest()
    made = [each for each in first.history.versions("pods") if each.event == "ADDED" and each.number > last]
    made = [each for each in made if role_of(each.body) in ROLES]
    assert len({each.name for each in made}) == sum(first.replicas().values())


def _memory_limit(deployment: Json) -> str | None:
    limits: dict[str, str] = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    return limits.get("memory")


def _told(installation: Installation, reason: str, words: str) -> bool:
    """Whether an Event says so."""
    return any(words in event["message"] for event in installation.events(reason))
