"""Settings come from the environment, and a wrong one is one clear sentence."""

import pytest

from switchboard_simulator.faults import Faults
from switchboard_simulator.main import main
from switchboard_simulator.outcomes import OutcomeKind
from switchboard_simulator.settings import SimulatorSettings


def test_the_defaults_listen_on_loopback_at_the_carriers_rate() -> None:
    settings = SimulatorSettings()
    assert (settings.host, settings.port, settings.cps) == ("127.0.0.1", 8090, 1.0)
    assert settings.faults == Faults()


def test_everything_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATOR_TALK_SECONDS", "0.2")
    monkeypatch.setenv("SIMULATOR_MIX", '{"busy": 1}')
    monkeypatch.setenv("SIMULATOR_FAULTS__CALLBACK_LOSE", "0.1")
    monkeypatch.setenv("SIMULATOR_ACCOUNTS", '{"AC' + "f" * 32 + '": "token"}')
    settings = SimulatorSettings()
    assert settings.talk_seconds == 0.2
    assert settings.mix == {OutcomeKind.BUSY: 1}
    assert settings.faults == Faults(callback_lose=0.1)
    assert settings.auth_tokens["AC" + "f" * 32] == "token"


def test_tokens_are_not_shown() -> None:
    settings = SimulatorSettings(auth_token="hush", accounts={"AC" + "f" * 32: "hush"})
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SIMULATOR_ACCOUNT_SID", "AC1"),
        ("SIMULATOR_CPS", "0"),
        ("SIMULATOR_FAULTS__CALLBACK_LOSE", "2"),
        ("SIMULATOR_MIX", '{"maybe": 1}'),
        ("SIMULATOR_PORT", "port"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_setting_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        main()
    assert str(ended.value.code).startswith(variable)
    assert "\n" not in str(ended.value.code)


def test_a_setting_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATOR_MIX", "half answer, half busy")
    with pytest.raises(SystemExit) as ended:
        main()
    assert 'must be JSON is not: error parsing value for field "mix"' in str(ended.value.code)
