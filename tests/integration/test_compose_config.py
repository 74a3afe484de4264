"""``docker compose config``: Compose itself reads both files as they are meant."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster import parts

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "DATABASE_URL": "postgresql+psycopg://switchboard_app:app@db.example.com/switchboard",
    "MIGRATION_DATABASE_URL": "postgresql+psycopg://switchboard_owner:owner@db.example.com/switchboard",
    "REDIS_URL": "redis://redis.example.com:6379/0",
    "PUBLIC_URL": "https://calls.example.com",
    "TWILIO_ACCOUNT_SID": "AC00000000000000000000000000000009",
    "TWILIO_AUTH_TOKEN": "token",
    "CREDENTIALS_KEYS": "newer,older",
}


@pytest.fixture(scope="module")
def compose() -> Path:
    try:
        return parts.binary("docker-compose")
    except parts.MissingPartError as missing:
        pytest.skip(f"Compose files are read by Compose only where it was built: {missing}")


def config(compose: Path, file: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Read a file with the settings of ``env`` in its ``.env``, and nothing of this machine's."""
    settings = folder / ".env"
    settings.write_text("".join(f"{name}={value}\n" for name, value in env.items()), encoding="utf-8")
    command = [str(compose), "--file", str(ROOT / file), "--env-file", str(settings), "config", "--format", "json"]
    return subprocess.run(
        command, env={"HOME": str(folder)}, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def read(compose: Path, file: str, folder: Path, env: dict[str, str]) -> dict[str, Any]:
    done = config(compose, file, folder, env)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def test_a_trial_needs_no_settings(compose: Path, tmp_path: Path) -> None:
    services = read(compose, "compose.yaml", tmp_path, {})
    assert services["api"]["environment"]["PUBLIC_URL"] == "http://api:8000"


def test_a_trial_can_have_a_password_of_its_own(compose: Path, tmp_path: Path) -> None:
    services = read(compose, "compose.yaml", tmp_path, {"TRIAL_PASSWORD": "another"})
    assert services["postgresql"]["environment"]["APP_PASSWORD"] == "another"
    assert "switchboard_app:another@" in services["worker"]["environment"]["DATABASE_URL"]


def test_the_owners_password_reaches_the_migration_alone(compose: Path, tmp_path: Path) -> None:
    services = read(compose, "compose.prod.yaml", tmp_path, ENVIRONMENT)
    holders = [name for name, service in services.items() if "switchboard_owner" in json.dumps(service)]
    assert holders == ["migrate"]


def test_a_setting_of_the_file_is_handed_on_and_one_that_is_not_there_stays_unset(
    compose: Path, tmp_path: Path
) -> None:
    services = read(compose, "compose.prod.yaml", tmp_path, {**ENVIRONMENT, "LEASE_SECONDS": "12"})
    environment = services["worker"]["environment"]
    assert (environment["LEASE_SECONDS"], environment["LOG_LEVEL"]) == ("12", None)


@pytest.mark.parametrize("missing", sorted(ENVIRONMENT))
def test_a_setting_that_production_needs_is_asked_for(compose: Path, tmp_path: Path, missing: str) -> None:
    done = config(compose, "compose.prod.yaml", tmp_path, ENVIRONMENT | {missing: ""})
    assert done.returncode != 0
    assert f"set {missing} in .env" in done.stderr
