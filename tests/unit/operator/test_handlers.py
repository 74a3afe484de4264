"""Events wake the right Switchboards, and the process says how it is."""

import socket
import urllib.error
import urllib.request
from typing import Any

import pytest

from switchboard_operator import names
from switchboard_operator.handlers import Index, owner_of, registry_for, settings_for
from switchboard_operator.health import Pulse, serve
from switchboard_operator.kept import Kept
from switchboard_operator.kinds import DEPLOYMENT
from switchboard_operator.settings import Settings, SettingsError
from unit.operator.samples import spec_dict


class Woken:
    """A queue that only remembers."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, str]] = []

    def add(self, key: tuple[str, str]) -> None:
        self.keys.append(key)


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def index(woken: Woken) -> Index:
    found = Index(woken, Kept())
    found.switchboard_changed(("calls", "main"), spec_dict())
    woken.keys.clear()
    return found


@pytest.mark.parametrize(
    ("namespace", "secret", "expected"),
    [
        ("calls", "twilio", [("calls", "main")]),
        ("calls", "main-internal", [("calls", "main")]),
        ("calls", "main-credentials-keys", [("calls", "main")]),
        ("calls", "unrelated", []),
        ("other", "twilio", []),
    ],
)
def test_a_secret_wakes_those_that_name_it(
    index: Index, woken: Woken, namespace: str, secret: str, expected: list[tuple[str, str]]
) -> None:
    index.secret_changed(namespace, secret)

    assert woken.keys == expected


OWNED: dict[str, Any] = {"ownerReferences": [{"kind": names.KIND, "apiVersion": names.API_VERSION, "name": "main"}]}
LABELLED: dict[str, Any] = {
    "labels": {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.INSTANCE_LABEL: "main"},
}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [(OWNED, ("calls", "main")), (LABELLED, ("calls", "main")), ({}, None), ({"labels": {"app": "x"}}, None)],
    ids=["owned", "labelled", "neither", "somebody else's"],
)
def test_whom_an_object_belongs_to(metadata: dict[str, Any], expected: tuple[str, str] | None) -> None:
    assert owner_of("calls", metadata) == expected


def test_objects_of_unknown_switchboards_wake_nobody(index: Index, woken: Woken) -> None:
    index.owned_changed(DEPLOYMENT, "other", OWNED)
    index.owned_changed(DEPLOYMENT, "calls", OWNED)

    assert woken.keys == [("calls", "main")]


def test_a_new_leader_looks_at_everything_that_is_left(index: Index, woken: Woken) -> None:
    index.switchboard_changed(("calls", "broken"), {})
    index.switchboard_gone(("calls", "main"))
    woken.keys.clear()
    index.queue_all()

    assert woken.keys == [("calls", "broken")]


def test_kopf_adds_no_finalizers_and_posts_nothing(index: Index) -> None:
    registry = registry_for(index)

    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    assert settings_for(namespaced=False).posting.enabled is False


def test_helms_records_are_not_sent_to_the_operator() -> None:
    selectors = settings_for(namespaced=False).watching.label_selectors

    assert selectors["v1", "secrets"] == "owner!=helm"


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_environment({"WATCH_NAMESPACES": "a, b", "POD_NAME": "operator-1", "HEALTH_PORT": "0"})

    assert (settings.namespaces, settings.identity, settings.health_port) == (("a", "b"), "operator-1", 0)


@pytest.mark.parametrize(("name", "value"), [("RECONCILE_WORKERS", "0"), ("HEALTH_PORT", "x"), ("LOG_LEVEL", "LOUD")])
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '{value}'"):
        Settings.from_environment({name: value})


def ask(port: int, path: str, host: str = "127.0.0.1") -> int:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_probes_tell_a_stuck_loop_and_a_replica_that_waits() -> None:
    now = 0.0
    pulse = Pulse(lambda: now)
    server = serve(pulse, "127.0.0.1", 0)
    try:
        port = server.server_address[1]
        waiting = ask(port, "/readyz")
        pulse.ready = True
        early = [ask(port, path) for path in ("/healthz", "/readyz", "/metrics", "/other")]
        now = 60.0
        late = ask(port, "/healthz")
        pulse.beat()
        recovered = ask(port, "/healthz")
    finally:
        server.shutdown()
        server.server_close()

    assert (waiting, early, late, recovered) == (503, [200, 200, 200, 404], 503, 200)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_probes_are_answered_on_a_node_that_has_only_ipv6_as_well() -> None:
    server = serve(Pulse(), "", 0)
    try:
        answers = [ask(server.server_port, "/healthz", host) for host in ("127.0.0.1", "[::1]")]
    finally:
        server.shutdown()
        server.server_close()

    assert answers == [200, 200]
