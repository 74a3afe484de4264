"""The plugin repeats what the operator decides; here both are compared."""

from typing import Any

import pytest

from kubectl_switchboard import kinds, names
from kubectl_switchboard.resource import Resource
from switchboard_operator import kinds as operator_kinds
from switchboard_operator import names as operator_names
from switchboard_operator import secrets
from switchboard_operator.crd import schema_of
from switchboard_operator.render import pools
from switchboard_operator.resources import keda, pods
from switchboard_operator.state import Failure, Gate, LastError, State
from unit.operator.samples import OWNER, make_spec, spec_dict
from unit.plugin.situations import SITUATIONS, load

SAME = (
    "GROUP",
    "VERSION",
    "API_VERSION",
    "KIND",
    "PLURAL",
    "ROLE_LABEL",
    "POOL_LABEL",
    "INSTANCE_LABEL",
    "MANAGED_BY_LABEL",
    "MANAGED_BY",
    "RETRY_ANNOTATION",
    "RECORDER_POOL",
)


@pytest.mark.parametrize("name", SAME)
def test_a_name_is_the_operators(name: str) -> None:
    assert getattr(names, name) == getattr(operator_names, name)


def test_names_of_objects_are_the_operators() -> None:
    assert names.api_name("main") == operator_names.api_name("main")
    assert names.recorder_name("main") == operator_names.recorder_name("main")
    assert names.worker_name("main", "calls") == operator_names.worker_name("main", "calls")
    assert names.internal_secret_name("main") == operator_names.internal_secret_name("main")
    assert names.credentials_secret_name("main") == operator_names.credentials_secret_name("main")
    assert names.API_PORT == pods.API_PORT


def test_runnable_work_is_asked_for_where_the_autoscalers_ask() -> None:
    assert names.backlog_path("calls", ("high", "low")) == keda.backlog_path("calls", ("high", "low"))


def resource(spec: dict[str, Any]) -> Resource:
    return Resource({"metadata": {"name": OWNER.name, "namespace": OWNER.namespace}, "spec": spec})


def test_pools_are_the_ones_that_the_operator_renders() -> None:
    scaled = {"min": 0, "max": 5, "jobsPerReplica": 10, "scaleDownStabilizationSeconds": 300}
    spec = spec_dict(recorder={"autoscaling": {"min": 1, "max": 4}})
    spec["workers"][1]["autoscaling"] = scaled
    found = {pool.deployment: (pool.role, pool.queues) for pool in resource(spec).pools if pool.role != "api"}
    wanted = {pool.deployment: (pool.role, pool.queues) for pool in pools(OWNER, make_spec(**spec))}
    assert found == wanted


def test_secrets_are_the_ones_that_the_operator_reads() -> None:
    spec = spec_dict(
        storage={"url": "s3://recordings", "secretRef": {"name": "s3"}},
        envFromSecrets=[{"name": "more"}],
        carrier={"secretRef": {"name": "twilio"}, "authTokenKey": "token"},
    )
    found = resource(spec)
    wanted = secrets.needs(make_spec(**spec))
    made = secrets.made_names("main")
    assert found.secret_names == {need.name for need in wanted} | made
    for name in found.secret_names - made:
        assert found.keys_of_secret(name) == sorted({need.key for need in wanted if need.name == name and need.key})


def test_secrets_of_releases_that_may_still_run_are_known_too() -> None:
    found = Resource(
        {
            "metadata": {"name": "main", "namespace": "calls"},
            "spec": spec_dict(redis={"secretRef": {"name": "newest", "key": "url"}}),
            "status": {
                "applied": {"spec": spec_dict(redis={"secretRef": {"name": "applied", "key": "url"}})},
                "previous": {"spec": spec_dict(redis={"secretRef": {"name": "before", "key": "url"}})},
            },
        }
    )

    assert found.secret_names >= {"newest", "applied", "before"}
    assert found.keys_of_secret("applied") == []


def test_every_owned_kind_is_reported() -> None:
    reported = {(kind.api_version, kind.plural) for kind in (*kinds.OWNED, *kinds.OWNED_WITH_KEDA)}
    owned = {(kind.api_version, kind.plural) for kind in (*operator_kinds.OWNED, *operator_kinds.OWNED_WITH_KEDA)}
    assert owned <= reported


@pytest.mark.parametrize("situation", sorted({*SITUATIONS} - {"unseen"}))
def test_a_recording_is_a_status_of_todays_operator(situation: str) -> None:
    recorded = load(situation)["switchboard"]["status"]
    assert State.model_validate(recorded).dump() == recorded


def test_the_fields_that_are_read_exist_in_the_status() -> None:
    state = set(schema_of(State)["properties"])
    assert {"observedGeneration", "conditions", "gate", "applied", "retryNonce", "history", "lastError"} <= state
    gate = set(schema_of(Gate)["properties"])
    assert {"number", "version", "step", "run", "state", "failure", "startedAt", "retryAt"} <= gate
    failure = set(schema_of(Failure)["properties"])
    assert {"attempt", "maxAttempts", "exitCode", "message", "logCommand"} <= failure
    assert {"reason", "message", "at"} <= set(schema_of(LastError)["properties"])
