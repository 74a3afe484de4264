"""What may be tried again, and when it is decided."""

from datetime import UTC, datetime

import pytest

from kubectl_switchboard.retry import Attempt, make_nonce, progress, refusal, what_failed
from unit.plugin.situations import resource_in

NONCE = "n"
GATE = Attempt(2, contract=False, nonce=NONCE)
CONTRACT = Attempt(1, contract=True, nonce=NONCE)
FAILURE = {"attempt": 1, "maxAttempts": 2, "exitCode": 1, "message": "broken", "logCommand": "kubectl logs x"}


@pytest.mark.parametrize("situation", ["migration-failed", "refused", "first-failed"])
def test_what_has_failed_may_be_tried_again(situation: str) -> None:
    resource = resource_in(situation)
    assert refusal(resource) is None
    assert resource.gate
    assert what_failed(resource, NONCE) == Attempt(resource.gate.number, contract=False, nonce=NONCE)


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        ("ready", "no migration of main has failed"),
        ("paused", "no migration of main has failed"),
        ("retrying", "attempt 2 of 4 failed, and the next one comes by itself"),
        ("image-missing", "the migration to release 1.1.0 is under way"),
        ("unseen", "no migration of main has failed"),
    ],
)
def test_where_nothing_has_failed_a_retry_is_refused_with_a_sentence(situation: str, words: str) -> None:
    assert words in (refusal(resource_in(situation)) or "")


def test_a_paused_one_has_to_be_resumed_first() -> None:
    reason = refusal(resource_in("migration-failed", spec={"paused": True}))
    assert reason
    assert "first `kubectl switchboard resume main -n migration-failed`" in reason


def test_a_failed_contract_phase_may_be_tried_again() -> None:
    contract = {"state": "Failed", "run": 1, "failure": FAILURE}
    resource = resource_in("ready", status={"applied": {"stage": "contract", "contract": contract}})
    assert refusal(resource) is None
    assert what_failed(resource, NONCE) == CONTRACT


def test_nothing_is_said_before_the_operator_has_obeyed() -> None:
    assert progress(resource_in("migration-failed"), GATE).decided is None
    assert progress(resource_in("migration-failed"), GATE).words == ""


@pytest.mark.parametrize(
    ("gate", "words", "decided"),
    [
        ({"state": "Running", "step": "check", "failure": None}, "asking whether the database fits.", None),
        ({"state": "Running", "step": "expand", "failure": None}, "migrating the database.", None),
        ({"state": "Running", "step": "expand", "failure": FAILURE}, "(attempt 1 of 2 failed).", None),
        (
            {"state": "Failed", "failure": FAILURE},
            "failed again. Attempt 1 of 2 ended with exit code 1:\nbroken",
            False,
        ),
        ({"state": "Refused", "failure": FAILURE}, "was refused.", False),
    ],
)
def test_a_gate_is_followed_until_it_is_decided(gate: dict[str, object], words: str, decided: bool | None) -> None:
    found = progress(resource_in("migration-failed", status={"retryNonce": NONCE, "gate": gate}), GATE)
    assert words in found.words
    assert found.decided is decided


def test_an_open_gate_is_a_success() -> None:
    status = {"retryNonce": NONCE, "gate": None, "applied": {"number": 2, "version": "1.1.0"}}
    found = progress(resource_in("migration-failed", status=status), GATE)
    assert (found.decided, found.words) == (True, "The database is migrated for release 1.1.0; its roll-out begins.")


@pytest.mark.parametrize("outcome", ["Cancelled", "Superseded"])
def test_a_transition_that_was_given_up_is_no_success(outcome: str) -> None:
    status = {"retryNonce": NONCE, "gate": None, "history": [{"number": 2, "outcome": outcome}]}
    found = progress(resource_in("migration-failed", status=status), GATE)
    assert (found.decided, found.words) == (False, f"Transition 2 was {outcome.lower()} meanwhile.")


@pytest.mark.parametrize(("state", "decided"), [("Pending", None), ("Succeeded", True), ("Failed", False)])
def test_a_contract_phase_is_followed_until_it_is_decided(state: str, decided: bool | None) -> None:
    status = {"retryNonce": NONCE, "applied": {"number": 1, "contract": {"state": state, "run": 2}}}
    assert progress(resource_in("ready", status=status), CONTRACT).decided is decided


def test_no_two_requests_are_the_same() -> None:
    now = datetime(2026, 1, 26, 11, 5, 20, tzinfo=UTC)
    nonces = {make_nonce(now) for _ in range(100)}
    assert len(nonces) == 100
    assert all(nonce.startswith("20260126T110520Z-") for nonce in nonces)
