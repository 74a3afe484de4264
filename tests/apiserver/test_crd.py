"""The custom resource definition, judged by an API server: what it refuses, with which words, and what it fills in."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from apiserver.client import ApiRefusedError, Client
from apiserver.site import small_spec
from switchboard_operator import names
from switchboard_operator.spec import RESERVED_ENV, SwitchboardSpec

NAMESPACE = "default"
OTHER_QUEUES = ["low", "receipts", "receipts_sync", "maintenance", "broadcasts"]
POOL = {"name": "calls", "queues": ["high", "default", *OTHER_QUEUES]}

_numbers = count()


def submit(client: Client, spec: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    """Let the API server judge a Switchboard without keeping it."""
    metadata = {"name": name or f"try-{next(_numbers)}", "namespace": NAMESPACE}
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}
    path = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.PLURAL}?dryRun=All&fieldValidation=Strict"
    return client.request("POST", path, body)


def pool(**changes: Any) -> dict[str, Any]:
    return small_spec(workers=[POOL | changes])


def without(spec: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != field}


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], tuple[str, ...]]] = {
    "a queue without a pool": (
        lambda: pool(queues=["high"]),
        ("spec.workers", "every queue (high, default, low", "must belong to exactly one pool"),
    ),
    "a queue with two pools": (
        lambda: small_spec(workers=[POOL, {"name": "bulk", "queues": ["low"]}]),
        ("spec.workers", "must belong to exactly one pool"),
    ),
    "a queue that is unknown": (
        lambda: pool(queues=["fast"]),
        ("spec.workers[0].queues[0]", 'Unsupported value: "fast"'),
    ),
    "a queue that is named twice": (
        lambda: pool(queues=["high", "high", "default", *OTHER_QUEUES]),
        ("spec.workers[0].queues[1]", "Duplicate value"),
    ),
    "no pool": (lambda: small_spec(workers=[]), ("spec.workers", "at least 1 items")),
    "two pools of one name": (
        lambda: small_spec(workers=[POOL | {"queues": ["high", "default"]}, POOL | {"queues": OTHER_QUEUES}]),
        ("spec.workers[1]", "Duplicate value"),
    ),
    "a reserved name of a pool": (lambda: pool(name="recorder"), ("spec.workers[0].name", "this name is reserved")),
    "a name of a pool that is none": (lambda: pool(name="Calls"), ("spec.workers[0].name", "should match")),
    "replicas and autoscaling of a pool": (
        lambda: pool(replicas=1, autoscaling={"max": 2}),
        ("spec.workers[0].replicas", "set replicas or autoscaling, not both"),
    ),
    "replicas and autoscaling of the recorder": (
        lambda: small_spec(recorder={"replicas": 1, "autoscaling": {"max": 2}}),
        ("spec.recorder.replicas", "set replicas or autoscaling, not both"),
    ),
    "a pool's minimum above its maximum": (
        lambda: pool(autoscaling={"min": 3, "max": 2}),
        ("spec.workers[0].autoscaling", "min must not exceed max"),
    ),
    "the recorder's minimum above its maximum": (
        lambda: small_spec(recorder={"autoscaling": {"min": 3, "max": 2}}),
        ("spec.recorder.autoscaling", "min must not exceed max"),
    ),
    "a recorder that scales to nothing": (
        lambda: small_spec(recorder={"autoscaling": {"min": 0, "max": 2}}),
        ("spec.recorder.autoscaling.min", "greater than or equal to 1"),
    ),
    "two kinds of storage": (
        lambda: small_spec(storage={"url": "s3://bucket", "volume": {}}),
        ("spec.storage", "set exactly one of storage.url and storage.volume"),
    ),
    "no storage": (lambda: small_spec(storage={}), ("spec.storage", "set exactly one of")),
    "storage that is no bucket": (lambda: small_spec(storage={"url": "/tmp"}), ("spec.storage.url", "should match")),
    "a volume with two ways of access": (
        lambda: small_spec(storage={"volume": {"accessModes": ["ReadWriteMany", "ReadWriteOnce"]}}),
        ("spec.storage.volume.accessModes", "at most 1 item"),
    ),
    "no database": (lambda: without(small_spec(), "database"), ("spec.database", "Required value")),
    "no api": (lambda: without(small_spec(), "api"), ("spec.api", "Required value")),
    "no version": (lambda: without(small_spec(), "version"), ("spec.version", "Required value")),
    "a version that is no tag": (lambda: small_spec("1.0:0"), ("spec.version", "should match")),
    "an address without a scheme": (
        lambda: small_spec(api={"publicUrl": "calls.example.com"}),
        ("spec.api.publicUrl", "should match"),
    ),
    "an api without replicas": (
        lambda: small_spec(api={"publicUrl": "https://calls.example.com", "replicas": 0}),
        ("spec.api.replicas", "greater than or equal to 1"),
    ),
    "no calls at all": (
        lambda: small_spec(carrier={"secretRef": {"name": "twilio"}, "callsPerSecond": 0}),
        ("spec.carrier.callsPerSecond", "greater than 0"),
    ),
    "a migration without time": (
        lambda: small_spec(migrations={"activeDeadlineSeconds": 1}),
        ("spec.migrations.activeDeadlineSeconds", "greater than or equal to 10"),
    ),
    "a size that is no amount": (
        lambda: small_spec(storage={"volume": {"size": "20 Gi"}}),
        ("spec.storage.volume.size", "should match"),
    ),
    "a request that is no amount": (
        lambda: small_spec(recorder={"resources": {"requests": {"cpu": "half"}}}),
        ("spec.recorder.resources.requests.cpu", "should match"),
    ),
    "a field that does not exist": (lambda: small_spec(replicas=3), ('unknown field "spec.replicas"',)),
    "a variable in small letters": (
        lambda: small_spec(env=[{"name": "path", "value": "x"}]),
        ("spec.env[0].name", "should match"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_spec_is_refused_with_the_field_and_the_rule(client: Client, case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(ApiRefusedError) as refused:
        submit(client, make())
    for part in words:
        assert part in refused.value.message, refused.value.message


VOLUME = {"size": "10Gi", "storageClassName": "slow", "accessModes": ["ReadWriteOnce"]}


@pytest.fixture
def with_a_claim(client: Client) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Changes fields of the volume of a Switchboard that is stored."""
    metadata = {"name": "claim", "namespace": NAMESPACE}
    spec = small_spec(storage={"volume": VOLUME})
    client.create({"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec})

    def change(volume: dict[str, Any]) -> dict[str, Any]:
        return client.patch("Switchboard", NAMESPACE, "claim", {"spec": {"storage": {"volume": volume}}})

    yield change
    client.delete("Switchboard", NAMESPACE, "claim")


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ({"storageClassName": "fast"}, "the storage class of a claim cannot be changed: make another claim"),
        ({"storageClassName": None}, "the storage class of a claim cannot be changed"),
        ({"accessModes": ["ReadWriteMany"]}, "the access modes of a claim cannot be changed"),
    ],
    ids=["another class", "no class", "other access modes"],
)
def test_what_nobody_can_change_about_a_claim_is_refused_at_once(
    with_a_claim: Callable[[dict[str, Any]], dict[str, Any]], volume: dict[str, Any], words: str
) -> None:
    with pytest.raises(ApiRefusedError, match=words):
        with_a_claim(volume)


@pytest.mark.parametrize(
    "volume",
    [{"size": "20Gi"}, {"size": "5Gi"}, {"claimName": "mine", "storageClassName": "fast"}],
    ids=["larger", "smaller: what was raised can be reverted", "a claim of one's own"],
)
def test_what_can_be_done_about_a_claim_is_let_in(
    with_a_claim: Callable[[dict[str, Any]], dict[str, Any]], volume: dict[str, Any]
) -> None:
    assert volume.items() <= with_a_claim(volume)["spec"]["storage"]["volume"].items()


@pytest.mark.parametrize("variable", RESERVED_ENV)
def test_a_variable_that_the_operator_sets_is_refused(client: Client, variable: str) -> None:
    with pytest.raises(ApiRefusedError, match=r"spec\.env\[0\]\.name.*the operator sets this variable itself"):
        submit(client, small_spec(env=[{"name": variable, "value": "x"}]))


@pytest.mark.parametrize(
    ("name", "words"),
    [("a" * 31, "must not be longer than 30 characters"), ("1st", "begin with a letter"), ("a.b", "letters, digits")],
)
def test_a_name_that_makes_no_host_name_is_refused(client: Client, name: str, words: str) -> None:
    with pytest.raises(ApiRefusedError, match=words):
        submit(client, small_spec(), name)


def test_the_largest_spec_is_accepted(client: Client) -> None:
    """The rules' cost is estimated for the longest lists, and paid for them."""
    queues = ["high", "default", *OTHER_QUEUES]
    workers = [{"name": f"pool-{number}", "queues": [queue]} for number, queue in enumerate(queues)]
    env = [{"name": f"VARIABLE_{number}", "value": "x" * 4096} for number in range(64)]
    submit(client, small_spec(workers=workers, env=env), "a" * 30)


def test_defaults_are_filled_in_as_the_models_say(client: Client) -> None:
    spec = small_spec(storage={"volume": {}}, workers=[POOL | {"autoscaling": {"max": 5}}])
    stored = submit(client, spec)["spec"]
    assert stored == SwitchboardSpec.model_validate(spec).dump()
    assert stored["workers"][0]["autoscaling"] == {
        "min": 1,
        "max": 5,
        "jobsPerReplica": 10,
        "scaleDownStabilizationSeconds": 300,
    }


def test_the_status_cannot_be_written_with_the_spec(client: Client) -> None:
    metadata = {"name": "main", "namespace": NAMESPACE}
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": small_spec()}
    try:
        made = client.create(body | {"status": {"version": "9.9.9"}})
        assert "status" not in made
        client.patch("Switchboard", NAMESPACE, "main", {"status": {"version": "1.0.0"}}, subresource="status")
        changed = client.patch("Switchboard", NAMESPACE, "main", {"status": {"version": "9.9.9"}})
        assert changed["status"]["version"] == "1.0.0"
        assert changed["metadata"]["generation"] == made["metadata"]["generation"]
    finally:
        client.delete("Switchboard", NAMESPACE, "main")


def test_kubectl_get_shows_the_columns_that_matter(client: Client) -> None:
    path = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.PLURAL}"
    table = client.request("GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    shown = [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0]
    assert shown == ["Name", "Version", "Ready", "Status", "Migrated", "Api", "Age"]


def test_a_short_name_is_known(client: Client) -> None:
    found = client.request("GET", f"/apis/{names.API_VERSION}")["resources"]
    assert next(each for each in found if each["name"] == names.PLURAL)["shortNames"] == ["sb"]
