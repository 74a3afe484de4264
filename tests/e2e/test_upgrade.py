"""N to N+1 and back while a campaign runs and clients send requests: nobody notices."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.campaign import Business, await_end, check_run, numbers
from e2e.installation import Installation, is_ready
from e2e.kube import Json
from e2e.load import steady_load
from e2e.releases import NEXT, REPOSITORY, SEQUENCES, THIS
from e2e.truth import Truth

CALLS = 900
CALLS_PER_SECOND = 3
REQUESTS_PER_SECOND = 8


@pytest.mark.usefixtures("later_releases")
def test_nothing_is_lost_doubled_or_refused_from_n_to_n_plus_1_and_back(second: Installation) -> None:
    business = second.business(cap=20, rate=CALLS_PER_SECOND)
    url, image = f"http://{second.api}", f"{REPOSITORY}-api:{THIS}"
    with second.truth() as truth:
        run = business.start_run(numbers(CALLS))
        with steady_load(
            second.kube, second.history, url=url, key=business.key, image=image, per_second=REQUESTS_PER_SECOND
        ) as load:
            for version in (NEXT, THIS):
                with _calls_go_on(truth):
                    _move_to(second, version)
        assert truth.value("SELECT schema_seq FROM schema_state") == SEQUENCES[NEXT]
        _hurry(truth, business)
        await_end(truth, run, timeout=180)
        check_run(truth, run, CALLS)
    assert load.failures == []
    assert load.summary["requests"] > REQUESTS_PER_SECOND * 10


def _move_to(installation: Installation, version: str) -> None:
    """Change the release; every pod is replaced, and every role always has a pod that serves."""
    old = {pod["metadata"]["uid"] for pod in installation.pods()}
    last = installation.history.last
    installation.change({"version": version})
    installation.await_release(version)
    assert old.isdisjoint(pod["metadata"]["uid"] for pod in installation.pods() if is_ready(pod))
    for told in installation.history.versions("deployments"):
        if told.number > last:
            assert _available(told.body) >= told.body["spec"]["replicas"], f"{told.name} at version {told.number}"


@contextmanager
def _calls_go_on(truth: Truth) -> Iterator[None]:
    """Fail unless the campaign places calls meanwhile, and has some left."""
    before = truth.calls()
    yield
    assert before < truth.calls() < CALLS


def _hurry(truth: Truth, business: Business) -> None:
    """The rest of the campaign need not be slow."""
    truth.change("UPDATE businesses SET calls_per_second = 50 WHERE id = %s", business.id)


def _available(deployment: Json) -> int:
    available: int = deployment.get("status", {}).get("availableReplicas", 0)
    return available
