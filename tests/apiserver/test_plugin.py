"""``kubectl switchboard`` as a process, against a real API server and a real operator."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from apiserver.client import Client
from apiserver.conftest import Sites
from apiserver.control_plane import ControlPlane
from apiserver.node_door import NodeDoor, autoscaling_api
from apiserver.plugin_support import Plugin, documented_roles, internal_token, leaks, sealing_key, unpack, user
from apiserver.site import NAME, Site, small_spec
from switchboard_operator import names

LOGS: dict[str, str] = {}
"""What pods have logged, by their name."""


@pytest.fixture(scope="module")
def door(control_plane: ControlPlane, client: Client) -> Iterator[NodeDoor]:
    """Logs and port-forwards of the node."""
    with NodeDoor(control_plane.certificates, LOGS) as found:
        found.announce(client)
        yield found
        found.retire(client)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands run; a home without a kubeconfig."""
    return tmp_path_factory.mktemp("plugin")


@pytest.fixture(scope="module")
def plugin(control_plane: ControlPlane, folder: Path) -> Plugin:
    """The plugin of an administrator."""
    return Plugin(control_plane.admin_kubeconfig(), folder)


@pytest.fixture(scope="module")
def ready(sites: Sites) -> Site:
    """A Switchboard at rest; tests leave it as they found it."""
    found = sites.empty()
    found.install()
    return found


@pytest.fixture(scope="module")
def failed(sites: Sites) -> Site:
    """A Switchboard whose migration to 1.1.0 has failed; tests only look at it."""
    found = sites.empty()
    found.install()
    found.script.database.broken.add("1.1.0")
    found.change(version="1.1.0")
    found.await_condition("Degraded", "True", "MigrationFailed")
    return found


# --- status ---------------------------------------------------------------------------------------------------------


def test_the_status_of_one_that_is_ready_exits_with_0(plugin: Plugin, ready: Site) -> None:
    run = plugin("status", "-n", ready.namespace)
    assert run.code == 0
    assert f"Switchboard {NAME} in namespace {ready.namespace} ✔ Ready" in run.shown
    assert "Nothing: all is as it should be." in run.out
    assert "\x1b" not in run.out


def test_the_status_shows_runnable_work_through_a_port_forward(plugin: Plugin, ready: Site, door: NodeDoor) -> None:
    with autoscaling_api({"calls": 14, "recorder": 3}, internal_token(ready)) as address:
        door.forwarded_to = address
        run = plugin("status", NAME, "-n", ready.namespace, "-o", "json")
    shown = {row["pool"] or row["role"]: row["runnable"] for row in json.loads(run.out)["pools"]}
    assert shown == {"api": None, "calls": 14, "recorder": 3}


def test_the_status_of_a_failed_migration_exits_with_1_and_says_what_to_do(plugin: Plugin, failed: Site) -> None:
    run = plugin("status", NAME, "-n", failed.namespace)
    assert run.code == 1
    assert "The migration to release 1.1.0 failed. Attempt 1 of 1 failed with exit code 1." in run.shown
    assert "│ Migration 105 failed." in run.out
    assert f"$ kubectl switchboard retry {NAME} -n {failed.namespace} --wait" in run.shown


def test_without_a_name_all_of_a_cluster_are_listed(plugin: Plugin, ready: Site, failed: Site) -> None:
    run = plugin("status", "-A", "-o", "json")
    shown = {each["namespace"]: each["reason"] for each in json.loads(run.out)["items"]}
    assert run.code == 1
    assert shown[ready.namespace] == "Ready"
    assert shown[failed.namespace] == "MigrationFailed"


def test_a_watch_shows_each_change_until_it_is_interrupted(plugin: Plugin, ready: Site) -> None:
    watch = plugin.start("status", NAME, "-n", ready.namespace, "-o", "json", "--watch", "--interval", "0.5")
    assert watch.stdout
    try:
        assert json.loads(watch.stdout.readline())["paused"] is False
        plugin("pause", NAME, "-n", ready.namespace)
        assert next(json.loads(line) for line in watch.stdout if json.loads(line)["paused"])
        watch.send_signal(signal.SIGINT)
        watch.stdout.read()
        assert watch.wait(20) == 130
    finally:
        watch.kill()
        watch.communicate()
        plugin("resume", NAME, "-n", ready.namespace)
        ready.await_settled()


# --- pause and resume -----------------------------------------------------------------------------------------------


def test_a_pause_stops_the_operator_until_it_is_resumed(plugin: Plugin, ready: Site) -> None:
    paused = plugin("pause", "-n", ready.namespace)
    assert (paused.code, paused.err) == (0, "")
    assert f"{NAME} in namespace {ready.namespace} is paused." in paused.out
    assert "Pods run on, and so do calls" in paused.shown
    ready.await_condition("Progressing", "False", "Paused")
    assert "is paused already" in plugin("pause", "-n", ready.namespace).out

    resumed = plugin("resume", "-n", ready.namespace)
    assert (resumed.code, resumed.err) == (0, "")
    ready.await_settled()
    assert "is not paused" in plugin("resume", "-n", ready.namespace).out


def test_a_pause_that_git_will_undo_says_so(plugin: Plugin, site: Site) -> None:
    site.add_secrets()
    site.create(small_spec())
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": NAME},
        "spec": small_spec() | {"paused": False},
    }
    path = f"/apis/{names.API_VERSION}/namespaces/{site.namespace}/{names.PLURAL}/{NAME}"
    query = "fieldManager=argocd-controller&force=true"
    site.client.request("PATCH", f"{path}?{query}", body, "application/apply-patch+yaml")

    run = plugin("pause", "-n", site.namespace)
    assert run.code == 0
    assert "Argo CD manages spec.paused and will set it back to what Git has" in run.said


# --- retry ----------------------------------------------------------------------------------------------------------


def test_a_retry_is_refused_where_nothing_has_failed(plugin: Plugin, ready: Site) -> None:
    run = plugin("retry", "-n", ready.namespace)
    assert (run.code, run.out) == (1, "")
    assert run.said == f"Error: There is nothing to retry: no migration of {NAME} has failed."


def test_a_retry_follows_the_gate_until_it_opens(plugin: Plugin, installed: Site) -> None:
    installed.script.database.broken.add("1.1.0")
    installed.change(version="1.1.0")
    installed.await_condition("Degraded", "True", "MigrationFailed")
    again = plugin("retry", "-n", installed.namespace, "--wait")
    assert again.code == 1
    assert "The migration to release 1.1.0 failed again." in again.out
    assert "Migration 105 failed." in again.out

    installed.script.database.broken.clear()
    run = plugin("retry", "-n", installed.namespace, "--wait")
    assert run.code == 0
    assert run.out.splitlines()[-1] == "The database is migrated for release 1.1.0; its roll-out begins."
    installed.await_settled("1.1.0")


def test_a_retry_that_is_not_decided_in_time_exits_with_1(plugin: Plugin, installed: Site) -> None:
    installed.script.database.broken.add("1.1.0")
    installed.change(version="1.1.0")
    installed.await_condition("Degraded", "True", "MigrationFailed")
    installed.script.held.add("1.1.0 check")
    run = plugin("retry", "-n", installed.namespace, "--wait", "--timeout", "3")
    assert run.code == 1
    assert "It is not decided after 3 s; it goes on all the same" in run.said


# --- report ---------------------------------------------------------------------------------------------------------

SEEDS = {
    "password of the application": "app-c0rrect-horse-battery",
    "password of the owner": "owner-t6oub4dor-and-3",
    "redis password": "redis-x7Kq92LmVw",
    "account": "AC0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "token of the carrier": "9a8b7c6d5e4f30211203f4e5d6c7b8a9",
    "value of a variable": "env-only-51c2d9e0aa",
    "annotation": "pasted-into-an-annotation-77",
    "api key in a log": "sbk_Zk3q27wXYabcdefgh",
    "phone number in a log": "+14155551267",
}


def test_no_secret_of_a_real_switchboard_is_in_its_report(plugin: Plugin, site: Site, door: NodeDoor) -> None:
    seed(site)
    assert door
    run = plugin("report", "-n", site.namespace, "-o", "seeded.tar.gz")

    files = unpack(plugin.folder / "seeded.tar.gz")
    assert run.code == 0
    made = {"internal token": internal_token(site), "sealing key": sealing_key(site)}
    assert leaks(files, SEEDS | made) == set()
    assert json.loads(files["objects/secrets/main-credentials-keys.json"])["keys"] == ["CREDENTIALS_KEYS"]
    assert any("lorem ipsum" in content for path, content in files.items() if path.startswith("logs/api/"))
    assert json.loads(files["objects/secrets/twilio.json"])["keys"] == ["accountSid", "authToken"]


def seed(site: Site) -> None:
    """Install a Switchboard with secrets in all places that a cluster has."""
    app = f"postgresql://app:{SEEDS['password of the application']}@db/calls"
    site.add_secret(
        "switchboard-db", {"url": app, "ownerUrl": f"postgresql://owner:{SEEDS['password of the owner']}@db/calls"}
    )
    site.add_secret("switchboard-redis", {"url": f"redis://:{SEEDS['redis password']}@valkey:6379/0"})
    site.add_secret("twilio", {"accountSid": SEEDS["account"], "authToken": SEEDS["token of the carrier"]})
    env = [{"name": "SMTP_PASSWORD", "value": SEEDS["value of a variable"]}]
    spec = small_spec(env=env)
    site.create(spec)
    site.annotate("kubectl.kubernetes.io/last-applied-configuration", json.dumps({"spec": spec}))
    site.annotate("example.com/note", SEEDS["annotation"])
    site.await_settled()
    words = " ".join([*SEEDS.values(), sealing_key(site)])
    encoded = yaml.safe_dump({"data": {"blob": words.encode()}}).replace("\n", " ")
    for pod in site.pods():
        lines = [f"lorem ipsum {words}", json.dumps({"event": words}), encoded, f"cannot connect to {app}"]
        LOGS[pod["metadata"]["name"]] = "\n".join(f"2026-01-26T11:05:20Z {line}" for line in lines)


def test_a_report_has_what_support_asks_for(plugin: Plugin, failed: Site, door: NodeDoor) -> None:
    assert door
    run = plugin("report", "-n", failed.namespace, "-o", "failed.tar.gz")
    files = unpack(plugin.folder / "failed.tar.gz")
    assert run.code == 0
    assert "Wrote failed.tar.gz" in run.out
    for path in (
        "manifest.json",
        "switchboard.json",
        "status.txt",
        "events.json",
        "kubernetes-version.json",
        "crd.json",
    ):
        assert path in files
    for folder in ("objects/deployments/", "objects/jobs/", "objects/pods/", "objects/secrets/", "logs/migrate/"):
        assert any(path.startswith(folder) for path in files)
    assert "✘ Not ready: MigrationFailed" in files["status.txt"]
    assert json.loads(files["manifest.json"])["unreadable"] == []


# --- rights ---------------------------------------------------------------------------------------------------------


def test_the_documented_role_is_enough_for_every_command(
    control_plane: ControlPlane, client: Client, ready: Site, door: NodeDoor, folder: Path
) -> None:
    rules = documented_roles()["switchboard-on-call"]["rules"]
    on_call = user(control_plane, client, ready, "on-call", rules, folder)
    with autoscaling_api({"calls": 1, "recorder": 0}, internal_token(ready)) as address:
        door.forwarded_to = address
        status = on_call("status")
    assert status.code == 0
    assert "Not shown" not in status.out
    assert on_call("pause").code == on_call("resume").code == 0
    ready.await_settled()
    assert on_call("report", "-o", "on-call.tar.gz", "--operator-namespace", ready.namespace).code == 0
    unreadable = json.loads(unpack(folder / "on-call.tar.gz")["manifest.json"])["unreadable"]
    assert [gap["what"] for gap in unreadable] == ["the resource definition"]


def test_the_documented_role_for_looking_changes_nothing_and_reads_no_secret(
    control_plane: ControlPlane, client: Client, ready: Site, folder: Path
) -> None:
    rules = documented_roles()["switchboard-viewer"]["rules"]
    viewer = user(control_plane, client, ready, "viewer", rules, folder)
    status = viewer("status")
    assert status.code == 0
    assert status.out.splitlines()[-1] == f"Not shown: runnable work (needs: get secrets/{NAME}-internal)."
    pause = viewer("pause")
    assert pause.code == 1
    assert 'You may not do that: switchboards.switchboard.dev "main" is forbidden' in pause.said
    assert 'cannot patch resource "switchboards"' in pause.said


def test_a_report_without_the_right_to_secrets_says_what_that_means(
    control_plane: ControlPlane, client: Client, failed: Site, folder: Path, door: NodeDoor
) -> None:
    rules = documented_roles()["switchboard-viewer"]["rules"]
    viewer = user(control_plane, client, failed, "viewer", rules, folder)
    assert door
    run = viewer("report", "-o", "viewer.tar.gz")
    assert run.code == 0
    assert "Not in it: Secret twilio (needs: get secrets/twilio)." in run.said
    assert "Not every Secret could be read" in run.said
    manifest = json.loads(unpack(folder / "viewer.tar.gz")["manifest.json"])
    assert manifest["redaction"]["valuesOfSecretsLookedFor"] is False


def test_somebody_without_any_right_gets_one_sentence(
    control_plane: ControlPlane, client: Client, ready: Site, folder: Path
) -> None:
    nobody = user(control_plane, client, ready, "nobody", [], folder)
    run = nobody("status")
    assert (run.code, run.out) == (1, "")
    assert run.said.startswith("Error: You may not do that: switchboards.switchboard.dev is forbidden")


# --- What goes wrong ------------------------------------------------------------------------------------------------


def test_without_a_kubeconfig_a_sentence_says_how_to_name_one(tmp_path: Path) -> None:
    run = Plugin(None, tmp_path)("status")
    assert (run.code, run.out) == (1, "")
    assert run.said.startswith("Error: There is no kubeconfig, and this is no pod: set KUBECONFIG")
    missing = Plugin(tmp_path / "missing", tmp_path)("status")
    assert "There is no kubeconfig at" in missing.said


def test_a_context_that_is_not_there_is_named(plugin: Plugin) -> None:
    run = plugin("status", "--context", "production")
    assert run.code == 1
    assert "has no context production" in run.said


def test_a_name_that_is_not_there_comes_with_those_that_are(plugin: Plugin, ready: Site) -> None:
    run = plugin("status", "other", "-n", ready.namespace)
    assert (run.code, run.out) == (1, "")
    assert run.said == f"Error: There is no Switchboard other in namespace {ready.namespace}. There are: {NAME}."


def test_an_empty_namespace_is_said(plugin: Plugin) -> None:
    run = plugin("status", "-n", "default")
    assert run.code == 1
    assert run.said == "Error: There is no Switchboard in namespace default: choose another one with -n, or -A for all."


def test_an_api_server_that_is_away_is_said_at_once(control_plane: ControlPlane, tmp_path: Path) -> None:
    config = yaml.safe_load(control_plane.admin_kubeconfig().read_text(encoding="utf-8"))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    path = tmp_path / "away"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    run = Plugin(path, tmp_path)("status")
    assert (run.code, run.out) == (1, "")
    assert "The API server https://127.0.0.1:9 of context admin does not answer" in run.said


def test_credentials_that_are_not_accepted_are_said(control_plane: ControlPlane, tmp_path: Path) -> None:
    run = Plugin(control_plane.kubeconfig("stranger", "wrong"), tmp_path)("status")
    assert run.code == 1
    assert "The API server does not accept your credentials" in run.said


@pytest.mark.usefixtures("control_plane")
def test_a_cluster_without_the_resource_type_is_said(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "bare", controllers=False) as bare:
        run = Plugin(bare.admin_kubeconfig(), tmp_path)("status", NAME)
    assert run.code == 1
    assert run.said == (
        "Error: This cluster has no resource type switchboards.switchboard.dev. Install the operator's chart first: it "
        "brings the resource type along."
    )


def test_the_help_has_the_name_that_people_type(plugin: Plugin) -> None:
    run = plugin("--help")
    assert run.code == 0
    assert "Usage: kubectl switchboard" in run.out
    for name in ("status", "pause", "resume", "retry", "report"):
        assert name in run.out
