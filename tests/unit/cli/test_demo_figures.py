"""The demo's figures, and the environment of its processes."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from switchboard_cli.demo.environment import Addresses, CarrierAccount, for_migration, for_service, for_simulator, kept
from switchboard_cli.demo.speech import Heard, compared, sentences_by_sha256
from switchboard_cli.demo.summary import Summary, excerpts, outcome_of, summarise


def addresses() -> Addresses:
    return Addresses(
        database="postgresql+psycopg://app@127.0.0.1/x",
        owner_database="postgresql+psycopg://owner@127.0.0.1/x",
        redis="redis://127.0.0.1/0",
        api="http://127.0.0.1:8000",
        simulator="http://127.0.0.1:8090",
        recordings=Path("/tmp/recordings"),
    )


AT = addresses()


def call(status: str, *answered_by: str | None, reason: str | None = None) -> dict[str, Any]:
    return {"status": status, "reason": reason, "calls": [{"answered_by": who} for who in answered_by]}


@pytest.mark.parametrize(
    ("job", "outcome"),
    [
        (call("completed", "human"), "answered by a person"),
        (call("completed", None, "machine_start"), "answered by a machine"),
        (call("completed", None), "completed"),
        (call("busy", None, None), "busy"),
        (call("skipped", reason="on the do-not-call list"), "skipped: on the do-not-call list"),
    ],
)
def test_what_became_of_a_lead(job: dict[str, Any], outcome: str) -> None:
    assert outcome_of(job) == outcome


def summary(**changes: Any) -> Summary:
    values: dict[str, Any] = {
        "imported": {},
        "run": {"status": "completed"},
        "calls": [call("busy"), call("busy"), call("completed", "human")],
        "recordings": [{"status": "completed", "bytes": 10}, {"status": "absent", "bytes": None}],
        "transcripts": [Heard("please call me back", "please call the back")],
        "carrier": {
            "calls": 3,
            "concurrent_max": {"business": {"7": 2, "8": 99}},
            "attempts_called_more_than_once": [],
        },
        "business_id": 7,
        "seconds": 31.26,
        "api_url": "http://127.0.0.1:8000",
    }
    return summarise(**values | changes)


def test_figures_are_counted_from_rows() -> None:
    figures = summary()
    assert figures.outcomes == {"busy": 2, "answered by a person": 1}
    assert figures.recordings == {"completed": 1, "absent": 1}
    assert (figures.recording_bytes, figures.most_at_once, figures.seconds) == (10, 2, 31.3)
    assert figures.word_accuracy == 0.75
    assert figures.ok


def seen(**changes: Any) -> dict[str, Any]:
    return {"calls": 3, "concurrent_max": {"business": {"7": 2}}, "attempts_called_more_than_once": []} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"run": {"status": "failed"}},
        {"carrier": seen(concurrent_max={"business": {"7": 1000}})},
        {"carrier": seen(attempts_called_more_than_once=["an attempt"])},
        {"recordings": [{"status": "failed", "bytes": None}]},
    ],
)
def test_a_promise_that_was_not_held_is_not_ok(changes: dict[str, Any]) -> None:
    assert not summary(**changes).ok


def test_without_transcripts_there_is_no_accuracy() -> None:
    assert summary(transcripts=[]).word_accuracy is None


def test_words_are_right_only_in_their_order() -> None:
    assert Heard("one two three", "three one two").words_right == 2


def test_the_truth_of_a_recording_is_found_by_its_hash() -> None:
    sentences = sentences_by_sha256()
    sha256, said = next(iter(sentences.items()))
    recordings: list[dict[str, Any]] = [
        {"status": "completed", "sha256": sha256, "transcript": "hello"},
        {"status": "completed", "sha256": "0" * 64, "transcript": "changed on its way"},
        {"status": "absent", "sha256": None, "transcript": None},
    ]
    assert compared(recordings, sentences) == [Heard(said, "hello")]


def test_excerpts_are_of_different_sentences() -> None:
    assert excerpts([Heard("a", "1"), Heard("a", "2"), Heard("b", "3")]) == [Heard("a", "1"), Heard("b", "3")]


def test_settings_of_another_installation_stay_out() -> None:
    environ = {"PATH": "/bin", "DATABASE_URL": "elsewhere", "S3_ENDPOINT_URL": "elsewhere", "https_proxy": "elsewhere"}
    assert "elsewhere" not in kept(environ).values()
    assert kept(environ)["PATH"] == "/bin"


def test_only_the_migration_gets_the_owners_connection() -> None:
    account = CarrierAccount()
    services = [for_service(role, 1, account, AT) for role in ("api", "worker", "recorder")]
    assert for_migration(AT)["MIGRATION_DATABASE_URL"] == AT.owner_database
    assert not any(AT.owner_database in variables.values() for variables in services)


def test_what_is_entrusted_is_opened_by_api_and_workers_of_one_run() -> None:
    account = CarrierAccount()
    api, worker, recorder = (for_service(role, 1, account, AT) for role in ("api", "worker", "recorder"))
    Fernet(api["CREDENTIALS_KEYS"])
    assert api["CREDENTIALS_KEYS"] == worker["CREDENTIALS_KEYS"] != addresses().sealing_key
    assert api["TRUSTED_HOSTS"] == "127.0.0.1"
    assert not {"CREDENTIALS_KEYS", "TRUSTED_HOSTS"} & recorder.keys()
    assert AT.sealing_key not in repr(AT)


def test_carrier_and_services_have_the_same_account() -> None:
    account = CarrierAccount()
    simulator, api = for_simulator(account, 8090), for_service("api", 8000, account, AT)
    assert simulator["SIMULATOR_ACCOUNT_SID"] == api["TWILIO_ACCOUNT_SID"] == account.sid
    assert simulator["SIMULATOR_AUTH_TOKEN"] == api["TWILIO_AUTH_TOKEN"] == account.token
    assert account.token not in repr(account)
