"""What people change by hand is put back, and what they change in a Secret reaches every pod once."""

import base64

from e2e.history import is_true
from e2e.installation import ROLES, Installation, role_of, secret_value
from e2e.kube import Json

REPAIRED_WITHIN_S = 30.0


def test_a_deployment_that_was_edited_by_hand_is_repaired(first: Installation) -> None:
    before = _memory_limit(first)
    first.kube.run("set", "resources", f"deployment/{first.recorder}", "--limits=memory=999Mi")
    first.history.wait(lambda: _memory_limit(first) == "999Mi" or _told(first, "DriftRepaired"), "the edit", 10)
    first.history.wait(lambda: _memory_limit(first) == before, "the repair", REPAIRED_WITHIN_S)
    message = first.history.wait(lambda: _told(first, "DriftRepaired"), "the Event", 10)
    assert f"Deployment {first.recorder} was changed by hand" in message
    first.wait(lambda board: is_true(board, "Ready"), "everything to be ready again", 120)


def test_kubectl_scale_is_corrected_with_an_event_that_says_how(first: Installation) -> None:
    wanted = first.replicas()[first.api]
    first.kube.run("scale", f"deployment/{first.api}", f"--replicas={wanted + 2}")
    first.history.wait(lambda: _told(first, "ScaleCorrected"), "the Event", REPAIRED_WITHIN_S)
    assert "spec.api.replicas" in _told(first, "ScaleCorrected")
    first.history.wait(lambda: first.replicas()[first.api] == wanted, "the correction", REPAIRED_WITHIN_S)
    first.wait(lambda board: is_true(board, "Ready"), "everything to be ready again", 120)


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
    first.wait(lambda found: is_true(found, "Ready") and not _progresses(found), "everything to be ready again", 120)
    made = [each for each in first.history.versions("pods") if each.event == "ADDED" and each.number > last]
    made = [each for each in made if role_of(each.body) in ROLES]
    assert len({each.name for each in made}) == sum(first.replicas().values())


def _memory_limit(installation: Installation) -> str | None:
    deployment = installation.history.one("deployments", installation.recorder) or {}
    limits: dict[str, str] = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    return limits.get("memory")


def _told(installation: Installation, reason: str) -> str:
    """The newest message with a reason; empty while there is none."""
    events = installation.events(reason)
    return events[-1].get("message") or events[-1].get("note", "") if events else ""


def _progresses(board: Json) -> bool:
    return is_true(board, "Progressing")
