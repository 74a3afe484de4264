"""The keys that seal what businesses entrust: made once, never made anew under what was sealed with them."""

import pytest

from switchboard_operator import gate, plan, secrets, target
from switchboard_operator.actions import Emit, EnsureSecret
from switchboard_operator.names import CREDENTIALS_KEY, INSTANCE_LABEL, MANAGED_BY_LABEL
from unit.operator.fake_cluster import FakeCluster, installed
from unit.operator.samples import OWNER, containers, spec_dict

SECRET = "main-credentials-keys"


def installed_by_an_older_operator(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """A release whose pods know nothing of sealing keys."""
    with monkeypatch.context() as older:
        for module in (gate, plan, target):
            older.setattr(module, "REVISION", 1)
        cluster = installed()
    cluster.secrets[SECRET] = None
    return cluster


def pods(cluster: FakeCluster) -> set[str]:
    return {pod.name for pod in cluster.pods}


def has_keys(cluster: FakeCluster, deployment: str) -> bool:
    main = next(containers(cluster.objects["Deployment", deployment]))
    return {"secretRef": {"name": SECRET}} in main.get("envFrom", [])


def test_keys_are_made_before_any_pod_needs_them_and_a_person_is_told_to_back_them_up() -> None:
    cluster = FakeCluster()
    seen: list[bool] = []

    def watch(_: int) -> bool:
        if cluster.pods:
            seen.append(cluster.secrets[SECRET] is not None)
        return False

    cluster.settle(watch)

    assert seen
    assert all(seen)
    (event,) = [event for event in cluster.events if event.reason == "CredentialsKeyMade"]
    assert "Back it up with the database" in event.message
    assert has_keys(cluster, "main-api")


def test_keys_outlive_the_switchboard_and_no_gitops_tool_takes_them_for_its_own() -> None:
    metadata = secrets.credentials_secret(OWNER)["metadata"]

    assert "ownerReferences" not in metadata
    assert not {INSTANCE_LABEL, MANAGED_BY_LABEL} & metadata["labels"].keys()


def test_keys_that_are_there_already_are_left_alone() -> None:
    cluster = FakeCluster()
    cluster.secrets[SECRET] = {CREDENTIALS_KEY: "bWluZQ=="}

    cluster.settle()

    assert cluster.secrets[SECRET] == {CREDENTIALS_KEY: "bWluZQ=="}
    assert "CredentialsKeyMade" not in cluster.told()


def test_lost_keys_are_not_made_anew_and_whoever_runs_goes_on() -> None:
    cluster = installed()
    before, kept = pods(cluster), cluster.secrets[SECRET]
    cluster.secrets[SECRET] = None
    cluster.change(version="1.1.0")

    cluster.settle()

    assert cluster.secrets[SECRET] is None
    assert pods(cluster) == before
    assert cluster.condition("Degraded") == ("True", "SecretMissing")
    assert "deploy/main-api -- printenv CREDENTIALS_KEYS" in cluster.message("Degraded")

    cluster.secrets[SECRET] = kept
    cluster.settle()

    assert set(cluster.versions().values()) == {"1.1.0"}


def test_a_secret_of_that_name_without_a_key_is_told() -> None:
    cluster = FakeCluster()
    cluster.secrets[SECRET] = {"other": "eA=="}

    cluster.settle()

    assert cluster.condition("Degraded") == ("True", "SecretMissing")
    assert f"{SECRET} has no key CREDENTIALS_KEYS: add it" in cluster.message("Degraded")
    assert cluster.pods == []


def test_a_new_key_rolls_each_pod_once() -> None:
    cluster = installed()
    before = pods(cluster)
    born: set[str] = set()
    cluster.secrets[SECRET] = {CREDENTIALS_KEY: "bmV3LG9sZA=="}

    def watch(_: int) -> bool:
        born.update(pods(cluster))
        return False

    cluster.settle(watch)

    assert len(born - before) == len(before)
    assert not before & pods(cluster)


def test_an_operator_that_learned_of_keys_restarts_nothing_until_the_next_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = installed_by_an_older_operator(monkeypatch)
    before = pods(cluster)

    cluster.settle()

    assert pods(cluster) == before
    assert cluster.secrets[SECRET] is not None
    assert cluster.condition("Ready") == ("True", "Ready")

    cluster.change(version="1.1.0")
    cluster.settle()

    assert has_keys(cluster, "main-worker-calls")


def test_keys_that_no_pod_has_seen_yet_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = installed_by_an_older_operator(monkeypatch)
    cluster.settle()
    cluster.secrets[SECRET] = None

    told = [action for action in cluster.plan() if isinstance(action, Emit | EnsureSecret)]

    assert [type(action) for action in told] == [Emit, EnsureSecret]


@pytest.mark.parametrize("variable", ["RUN_MIGRATIONS", "MIGRATION_DATABASE_URL"])
def test_a_secret_cannot_bring_a_variable_that_no_pod_may_carry(variable: str) -> None:
    cluster = FakeCluster(spec_dict(envFromSecrets=[{"name": "more"}]))
    cluster.secrets["more"] = {variable: "MQ=="}

    cluster.settle()

    assert cluster.pods == []
    assert cluster.condition("Degraded") == ("True", "SecretRefused")
    assert f"The Secret more that spec.envFromSecrets names holds {variable}" in cluster.message("DatabaseMigrated")

    cluster.secrets["more"] = {"TRUSTED_HOSTS": "MTA="}
    cluster.settle()

    assert cluster.condition("Ready") == ("True", "Ready")


def test_a_variable_that_no_pod_may_carry_reaches_none_that_runs() -> None:
    cluster = FakeCluster(spec_dict(envFromSecrets=[{"name": "more"}]))
    cluster.secrets["more"] = {"TRUSTED_HOSTS": "MTA="}
    cluster.settle()
    before = pods(cluster)

    cluster.secrets["more"] = {"RUN_MIGRATIONS": "MQ=="}
    cluster.settle()

    assert pods(cluster) == before
    assert cluster.condition("Ready")[0] == "True"
    assert cluster.condition("Degraded") == ("True", "SecretRefused")
