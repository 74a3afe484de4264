"""Observe, plan, apply against an API server in memory."""

import asyncio
import base64
import copy
from typing import Any

import pytest
from cryptography.fernet import Fernet
from prometheus_client import REGISTRY

from switchboard_operator import names
from switchboard_operator.actions import Apply, Delete, Emit, TakeOver, WriteStatus
from switchboard_operator.api import Api, ApiError, NotLeaderError
from switchboard_operator.apply import Applier, NameTakenError
from switchboard_operator.kept import Kept
from switchboard_operator.observe import Key, parse_spec
from switchboard_operator.reconcile import Reconciler
from switchboard_operator.resources.serviceaccount import service_account
from switchboard_operator.scaler import Scaler
from switchboard_operator.secrets import made_names
from switchboard_operator.state import State
from switchboard_operator.workqueue import WorkQueue
from unit.operator.fake_api import FakeApi
from unit.operator.samples import OWNER, START, make_secrets, spec_dict

KEY: Key = ("calls", "main")


def server() -> FakeApi:
    found = FakeApi()
    metadata = {"name": "main", "uid": OWNER.uid}
    found.put("switchboards", {"metadata": metadata, "spec": spec_dict()})
    for name, data in make_secrets().items():
        if name not in made_names("main"):
            found.put("secrets", {"metadata": {"name": name}, "data": data})
    return found


def reconciler(api: FakeApi, window: float = 5.0) -> Reconciler:
    queue: WorkQueue[Key] = WorkQueue()
    return Reconciler(Api(api, lambda: window), Kept(), queue, Scaler(queue.add), "operator-1", lambda: START)


def reconcile(api: FakeApi, times: int = 1, window: float = 5.0) -> float | None:
    async def run() -> float | None:
        found, after = reconciler(api, window), None
        for _ in range(times):
            after = await found.reconcile(KEY)
        return after

    return asyncio.run(run())


def perform(api: FakeApi, *actions: Any) -> None:
    async def run() -> None:
        applier = Applier(Api(api), OWNER, "operator-1")
        for action in actions:
            await applier.perform(action)

    asyncio.run(run())


def condition(api: FakeApi, kind: str) -> dict[str, Any]:
    found = api.objects["calls", "switchboards", "main"]["status"]["conditions"]
    return next(each for each in found if each["type"] == kind)


def test_a_new_switchboard_gets_its_transition_then_its_job() -> None:
    api = server()

    assert reconcile(api) == 0.0
    first = {plural for _, plural, _ in api.objects}
    reconcile(api)

    assert "jobs" not in first
    assert ("calls", "jobs", "main-migrate-1-check-1") in api.objects
    assert ("calls", "deployments", "main-api") not in api.objects


def test_a_finished_check_opens_the_gate_and_a_rest_writes_nothing() -> None:
    api = server()
    reconcile(api, times=2)
    job = api.objects["calls", "jobs", "main-migrate-1-check-1"]
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    reconcile(api, times=4)
    before = len(api.writes())
    reconcile(api)

    assert ("calls", "deployments", "main-worker-calls") in api.objects
    assert ("calls", "deployments", "main-api") not in api.objects
    assert len(api.writes()) == before


@pytest.mark.parametrize(
    ("name", "key"), [("main-internal", "token"), ("main-credentials-keys", "CREDENTIALS_KEYS")], ids=["token", "keys"]
)
def test_what_the_operator_makes_up_is_random_and_made_once(name: str, key: str) -> None:
    one, two = server(), server()
    reconcile(one, times=3)
    reconcile(two, times=2)
    found = [base64.b64decode(api.objects["calls", "secrets", name]["data"][key]) for api in (one, two)]

    assert found[0] != found[1]
    assert len(base64.urlsafe_b64decode(found[0])) == 32
    made = [path for verb, path in one.writes() if verb == "POST" and path.endswith("/secrets")]
    assert made == ["/api/v1/namespaces/calls/secrets"] * 2


def test_the_sealing_key_is_one_that_the_services_take() -> None:
    api = server()
    reconcile(api, times=2)

    Fernet(base64.b64decode(api.objects["calls", "secrets", "main-credentials-keys"]["data"]["CREDENTIALS_KEYS"]))


def test_nothing_is_written_without_the_lease() -> None:
    api = server()

    with pytest.raises(NotLeaderError):
        reconcile(api, window=0)

    assert api.writes() == []


def test_a_switchboard_that_is_gone_is_forgotten() -> None:
    assert reconcile(FakeApi()) is None


def test_a_switchboard_that_is_deleted_is_left_alone() -> None:
    api = server()
    api.objects["calls", "switchboards", "main"]["metadata"]["deletionTimestamp"] = "now"

    assert reconcile(api) is None
    assert api.writes() == []


def test_a_refusal_is_shown_in_the_status_once() -> None:
    api = server()
    reconcile(api)
    api.refused["serviceaccounts"] = (403, "exceeded quota")
    for _ in range(2):
        with pytest.raises(ApiError, match="exceeded quota"):
            reconcile(api)
    before = len([path for _, path in api.writes() if path.endswith("/status")])
    with pytest.raises(ApiError):
        reconcile(api)

    assert condition(api, "Degraded")["reason"] == "ApiRefused"
    assert len([path for _, path in api.writes() if path.endswith("/status")]) == before


@pytest.mark.parametrize("status", [429, 503, 504])
def test_a_busy_api_server_is_no_problem_of_the_switchboard(status: int) -> None:
    api = server()
    reconcile(api)
    api.refused["serviceaccounts"] = (status, "try again")
    before = api.objects["calls", "switchboards", "main"]["status"]

    with pytest.raises(ApiError, match="try again"):
        reconcile(api)

    assert api.objects["calls", "switchboards", "main"]["status"] == before


@pytest.mark.parametrize("status", [403, 404, 422])
def test_an_event_that_is_refused_holds_nothing_up(status: int) -> None:
    api = server()
    api.refused["events"] = (status, "exceeded quota")

    reconcile(api, times=2)

    assert ("calls", "jobs", "main-migrate-1-check-1") in api.objects


@pytest.mark.parametrize("status", [429, 500])
def test_an_event_that_may_get_through_later_is_repeated(status: int) -> None:
    api = server()
    api.refused["events"] = (status, "try again")

    with pytest.raises(ApiError, match="try again"):
        reconcile(api)


def test_an_object_of_somebody_else_is_not_taken() -> None:
    api = server()
    theirs = {"metadata": {"name": "main", "ownerReferences": [{"uid": "other"}]}}
    api.put("serviceaccounts", theirs)
    reconcile(api)

    with pytest.raises(ApiError, match="ServiceAccount main exists already"):
        reconcile(api)

    assert condition(api, "Degraded")["reason"] == "NameTaken"


def test_a_claim_that_outlived_its_switchboard_is_taken_up_again() -> None:
    api = server()
    manifest = service_account(OWNER)
    kept = copy.deepcopy(manifest)
    del kept["metadata"]["ownerReferences"]
    api.put("serviceaccounts", kept)

    perform(api, Apply(manifest, known=False))

    api.put("serviceaccounts", {"metadata": {"name": "main"}})
    with pytest.raises(NameTakenError):
        perform(api, Apply(manifest, known=False))


def test_a_status_on_an_outdated_resource_is_refused() -> None:
    api = server()

    with pytest.raises(ApiError) as refused:
        perform(api, WriteStatus(State(), "0"))

    assert refused.value.status == 409


def test_a_field_that_became_none_disappears_from_the_status() -> None:
    api = server()
    resource = api.objects["calls", "switchboards", "main"]
    resource["status"] = {"version": "1.0.0"}

    perform(api, WriteStatus(State(), resource["metadata"]["resourceVersion"]))

    assert "version" not in api.objects["calls", "switchboards", "main"]["status"]


def test_the_same_event_is_created_once() -> None:
    api = server()
    event = Emit("Scaled", "message " * 300, "key", warning=True)

    perform(api, event, event)
    (stored,) = [each for key, each in api.objects.items() if key[1] == "events"]

    assert stored["type"] == "Warning"
    assert len(stored["note"]) == 1024
    assert stored["regarding"]["uid"] == OWNER.uid


def test_only_the_object_that_was_seen_is_deleted() -> None:
    api = server()
    api.put("services", {"metadata": {"name": "main-api", "uid": "new"}})

    perform(api, Delete(("Service", "main-api"), "old"), Delete(("Service", "gone"), "old"))

    assert ("calls", "services", "main-api") in api.objects


def test_taking_over_clears_the_hash_so_that_the_apply_cannot_be_forgotten() -> None:
    api = server()
    stored = api.put("services", {"metadata": {"name": "s", "annotations": {names.HASH_ANNOTATION: "abc"}}})

    perform(api, TakeOver(("Service", "s"), stored["metadata"]["resourceVersion"], [{"manager": "m"}]))
    metadata = api.objects["calls", "services", "s"]["metadata"]

    assert metadata["annotations"][names.HASH_ANNOTATION] == ""
    assert metadata["managedFields"] == [{"manager": "m"}]


def test_a_spec_that_cannot_be_used_names_the_field() -> None:
    spec, sentence = parse_spec(spec_dict() | {"version": ""})

    assert spec is None
    assert "spec.version" in sentence


def test_prometheus_is_told_of_a_pause_and_of_its_end() -> None:
    def told() -> float | None:
        return REGISTRY.get_sample_value("switchboard_operator_paused", {"namespace": "calls", "name": "main"})

    api, seen = server(), []
    for paused in (False, True):
        api.objects["calls", "switchboards", "main"]["spec"]["paused"] = paused
        reconcile(api)
        seen.append(told())
    del api.objects["calls", "switchboards", "main"]
    reconcile(api)

    assert [*seen, told()] == [0.0, 1.0, None]


def test_prometheus_is_told_that_a_migration_fails_and_not_that_one_runs() -> None:
    def told() -> float | None:
        labels = {"namespace": "calls", "name": "main"}
        return REGISTRY.get_sample_value("switchboard_operator_migration_failing", labels)

    api = server()
    reconcile(api, times=2)
    seen = [told()]
    job = api.objects["calls", "jobs", "main-migrate-1-check-1"]
    job["status"] = {"failed": 1, "conditions": [{"type": "Failed", "status": "True"}]}
    reconcile(api)
    seen.append(told())
    del api.objects["calls", "switchboards", "main"]
    reconcile(api)

    assert [*seen, told()] == [0.0, 1.0, None]


def test_a_spec_that_another_operator_recorded_does_not_hide_that_the_new_one_cannot_be_used() -> None:
    api = server()
    reconcile(api, times=2)
    job = api.objects["calls", "jobs", "main-migrate-1-check-1"]
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    reconcile(api, times=4)
    resource = api.objects["calls", "switchboards", "main"]
    resource["status"]["applied"]["spec"]["logging"] = {"level": "CHATTY"}
    resource["spec"]["version"] = ""

    reconcile(api)

    assert condition(api, "Degraded")["reason"] == "InvalidSpec"


def test_who_has_paused_a_switchboard_is_obeyed_also_when_its_spec_cannot_be_used() -> None:
    api = server()
    api.objects["calls", "switchboards", "main"]["spec"] |= {"paused": True, "version": ""}

    reconcile(api)

    assert {path.rsplit("/", 1)[-1] for _, path in api.writes()} == {"status", "events"}
    assert condition(api, "Progressing")["reason"] == "Paused"


def test_keda_is_noticed() -> None:
    api = server()
    api.install_keda()
    reconcile(api)

    assert any(path.endswith("/scaledobjects") for _, path in api.requests)


def test_workers_go_on_after_a_failure() -> None:
    api = server()
    api.refused["switchboards"] = (500, "broken")

    async def run() -> None:
        refused, created = asyncio.Event(), asyncio.Event()

        def look(verb: str, path: str) -> None:
            if path.endswith("/status"):
                refused.set()
            if verb == "PATCH" and "/jobs/" in path:
                created.set()

        api.look = look
        queue: WorkQueue[Key] = WorkQueue(jitter=lambda: 0.001)
        found = Reconciler(Api(api), Kept(), queue, Scaler(queue.add), "operator-1", lambda: START)
        queue.add(KEY)
        task = asyncio.ensure_future(found.run(2))
        await refused.wait()
        api.refused.clear()
        await created.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
