"""Failpoints: off unless a test asks twice, refused elsewhere, and each at one place in the code."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from switchboard_core import failpoints
from switchboard_core.failpoints import (
    CONSENT,
    CONSENT_VARIABLE,
    POINTS,
    VARIABLE,
    Failpoint,
    FailpointError,
    FailpointsRefusedError,
    arm,
    arm_from_environment,
    parse,
    reach,
)
from switchboard_core.settings import Settings

CORE = Path(failpoints.__file__).parent
SIMULATOR = "http://127.0.0.1:8090"


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm(None)


def settings(carrier: str = SIMULATOR) -> Settings:
    values: dict[str, Any] = {"database_url": "postgresql+psycopg://app@127.0.0.1/x", "twilio_base_url": carrier}
    return Settings(_env_file=None, **values)


def test_without_the_variable_nothing_is_armed() -> None:
    arm_from_environment(settings("https://api.twilio.com"), {CONSENT_VARIABLE: CONSENT})
    for point in POINTS:
        reach(point)  # type: ignore[arg-type]


@pytest.mark.parametrize("consent", [{}, {CONSENT_VARIABLE: "1"}, {CONSENT_VARIABLE: "true"}], ids=str)
def test_without_the_consent_the_process_refuses_to_start(consent: dict[str, str]) -> None:
    with pytest.raises(FailpointsRefusedError, match="Remove it from the environment"):
        arm_from_environment(settings(), {VARIABLE: "before_send=raise", **consent})
    reach("before_send")


@pytest.mark.parametrize("carrier", ["https://api.twilio.com", "http://10.0.0.7:8090"])
def test_with_a_carrier_that_is_no_simulator_on_this_machine_it_refuses_too(carrier: str) -> None:
    with pytest.raises(FailpointsRefusedError, match="not a simulator"):
        arm_from_environment(settings(carrier), {VARIABLE: "before_send=raise", CONSENT_VARIABLE: CONSENT})
    reach("before_send")


def test_switched_on_it_says_so_as_loudly_as_it_can() -> None:
    with capture_logs() as logged, pytest.raises(FailpointError):  # noqa: PT012
        arm_from_environment(settings(), {VARIABLE: "before_send=raise", CONSENT_VARIABLE: CONSENT})
        reach("before_look")
        reach("before_send")
    assert [(line["log_level"], line["event"][:17]) for line in logged] == [
        ("error", "FAILPOINTS ARE ON"),
        ("error", "FAILPOINT"),
    ]


@pytest.mark.parametrize(
    "words", ["before_send", "nowhere=kill", "before_send=explode", "before_send=wait", "before_send=kill@0", "=kill"]
)
def test_a_plan_that_cannot_be_read_is_refused_with_what_to_write(words: str) -> None:
    with pytest.raises(FailpointsRefusedError, match="Write point=kill"):
        parse(words)


def test_a_point_fires_once_at_the_time_that_was_asked_for() -> None:
    arm(parse("after_claim=raise@3; before_look=raise"))
    reach("after_claim")
    reach("after_claim")
    with pytest.raises(FailpointError, match="after_claim"):
        reach("after_claim")
    reach("after_claim")


def test_a_wait_says_that_it_is_there_and_goes_on_when_the_file_comes(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    arm({"before_send": Failpoint("wait", gate)})
    reach("before_send")
    assert gate.with_name("gate.reached").exists()


def test_a_process_kills_itself_at_the_point() -> None:
    code = (
        "from switchboard_core.failpoints import arm, parse, reach; arm(parse('before_send=kill')); "
        "reach('before_look'); print('before', flush=True); reach('before_send'); print('after')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.splitlines()[0] == "before"
    assert "after" not in ended.stdout.splitlines()


def test_every_point_is_reached_at_exactly_the_places_that_the_code_names() -> None:
    reached = re.compile(r'\breach\("(\w+)"\)')
    found = [
        name
        for path in CORE.rglob("*.py")
        if path.name != "failpoints.py"
        for name in reached.findall(path.read_text())
    ]
    assert set(found) == POINTS
    assert {name for name in found if found.count(name) > 1} == {"before_pump_gives_up"}
