"""From nothing to ready and on to the next release, judged by what the API server recorded."""

from apiserver.audit import Entry
from apiserver.client import Object
from apiserver.site import NAME, SERVING, Site, condition_of, small_spec
from switchboard_operator import names


def test_an_install_goes_from_progressing_to_ready(installed: Site) -> None:
    assert steps_of(installed) == ["Progressing", "DatabaseMigrated", "Available", "Ready"]
    assert installed.script.database.runs == [("1.0.0", "check"), ("1.0.0", "expand"), ("1.0.0", "contract")]
    told = installed.told()
    for reason in ("TransitionStarted", "MigrationStarted", "DatabaseMigrated", "RolledOut", "Ready", "Contracted"):
        assert reason in told
    assert installed.status()["history"][0]["outcome"] == "Succeeded"


def test_no_pod_serves_before_the_migration_has_succeeded(installed: Site) -> None:
    record = installed.audit.writes(installed.namespace)
    migrated = next(number for number, entry in enumerate(record) if is_success_of(entry, "expand"))
    first = next(number for number, entry in enumerate(record) if role_of_new_pod(entry) in SERVING)
    assert migrated < first
    assert {role_of_new_pod(entry) for entry in record[:migrated]} - {None} == {"migrate"}


def test_workers_and_recorder_are_rolled_out_before_the_api(installed: Site) -> None:
    record = installed.audit.writes(installed.namespace)
    roles = [role for entry in record if (role := role_of_new_pod(entry)) in SERVING]
    assert roles[-1] == "api"
    assert set(roles[:-1]) == {"worker", "recorder"}


def test_the_printer_columns_tell_version_and_state(installed: Site) -> None:
    path = f"/apis/{names.API_VERSION}/namespaces/{installed.namespace}/{names.PLURAL}"
    table = installed.client.request("GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    titles = [column["name"] for column in table["columnDefinitions"]]
    row = dict(zip(titles, table["rows"][0]["cells"], strict=True))
    shown = {title: row[title] for title in ("Name", "Version", "Ready", "Status", "Migrated", "Api")}
    assert shown == {
        "Name": "main",
        "Version": "1.0.0",
        "Ready": "True",
        "Status": "Ready",
        "Migrated": "True",
        "Api": 1,
    }


def test_an_upgrade_runs_expand_then_the_pods_then_contract(installed: Site) -> None:
    installed.script.ends_after_s = 1.0
    mark = installed.audit.mark()

    installed.change(version="1.1.0")
    installed.await_settled("1.1.0")

    assert installed.script.database.runs[3:] == [("1.1.0", "check"), ("1.1.0", "expand"), ("1.1.0", "contract")]
    record = installed.audit.writes(installed.namespace, mark)
    # The last old pod is gone when its node says so, not when it was told to go.
    removals = [number for number, entry in enumerate(record) if is_removal_of_a_serving_pod(entry)]
    contract = next(number for number, entry in enumerate(record) if is_start_of(entry, "contract"))
    expanded = next(number for number, entry in enumerate(record) if is_success_of(entry, "expand"))
    assert expanded < min(removals)
    assert max(removals) < contract
    assert installed.versions() == {"1.1.0"}
    assert [entry["outcome"] for entry in installed.status()["history"]] == ["Succeeded", "Succeeded"]


def test_going_back_one_release_runs_on_the_newer_schema(installed: Site) -> None:
    installed.change(version="1.1.0")
    installed.await_settled("1.1.0")

    installed.change(version="1.0.0")
    installed.await_settled("1.0.0")

    assert ("1.0.0", "check") in installed.script.database.runs[6:]
    assert installed.script.database.seq == 105
    assert installed.versions() == {"1.0.0"}
    assert installed.status()["transitions"] == 3


def test_every_object_belongs_to_the_switchboard(site: Site) -> None:
    site.install(small_spec(networkPolicies={"enabled": True}, storage={"volume": {"size": "1Gi"}}))

    uid = site.resource()["metadata"]["uid"]
    orphans = [
        (kind, name) for kind, name in site.lasting() if owners_of(site.client.get(kind, site.namespace, name)) != [uid]
    ]
    # Recordings outlive their Switchboard unless a user wants it otherwise.
    assert orphans == [("PersistentVolumeClaim", f"{NAME}-recordings")]
    assert len(site.lasting()) == 13
    # Deleting it must not need the operator.
    assert "finalizers" not in site.resource()["metadata"]


# --- Reading the record -----------------------------------------------------------------------------------------------


def owners_of(found: Object) -> list[str]:
    """Uids of an object's owners."""
    return [owner["uid"] for owner in found["metadata"].get("ownerReferences", [])]


def steps_of(site: Site) -> list[str]:
    """Conditions in the order in which they first became true, as the status writes in the audit log tell."""
    order: list[str] = []
    for entry in site.audit.writes(site.namespace, user="operator"):
        if entry.resource != "switchboards/status":
            continue
        state = next(change["value"] for change in entry.body if change["path"] == "/status")
        for kind in ("Progressing", "DatabaseMigrated", "Available", "Ready"):
            if condition_of({"status": state}, kind).get("status") == "True" and kind not in order:
                order.append(kind)
    return order


def role_of_new_pod(entry: Entry) -> str | None:
    """Role of the pod that a write makes."""
    if entry.verb != "create" or entry.resource != "pods":
        return None
    return str(entry.body["metadata"]["labels"][names.ROLE_LABEL])


def is_success_of(entry: Entry, step: str) -> bool:
    """A write that says that the Job of a step has succeeded."""
    return (
        entry.resource == "jobs/status"
        and f"-{step}-" in entry.name
        and any(each["type"] == "Complete" for each in entry.body["status"].get("conditions", []))
    )


def is_start_of(entry: Entry, step: str) -> bool:
    """A write that makes the Job of a step."""
    return entry.resource == "jobs" and entry.code == 201 and f"-{step}-" in entry.name


def is_removal_of_a_serving_pod(entry: Entry) -> bool:
    """A write by which a node gives a pod up."""
    forced = (entry.body or {}).get("gracePeriodSeconds") == 0 if isinstance(entry.body, dict) else False
    return entry.verb == "delete" and entry.resource == "pods" and forced and "-migrate-" not in entry.name
