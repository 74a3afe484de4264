"""compose.yaml and compose.prod.yaml: who knows which secret, what waits for what, and what nobody may do."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from switchboard_core.settings import ServiceRole

ROOT = Path(__file__).parents[2]
FILES = ("compose.yaml", "compose.prod.yaml")
SERVICES = ("migrate", "worker", "recorder", "api")
PLACES = [(file, name) for file in FILES for name in SERVICES]
# Decided by the file itself, of no use outside Kubernetes, or not a service's.
NOT_HANDED_ON = re.compile(
    r"SERVICE_ROLE|RUN_MIGRATIONS|INTERNAL_TOKEN|PYTHONUNBUFFERED|METRICS_PORT|SWITCHBOARD_(HOST|PORT)|SIMULATOR_\w+"
    r"|MIGRATION_\w+|APP_DATABASE_ROLE|RQ_QUEUES"
)


def services(file: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    found: dict[str, Any] = content["services"]
    return found


def every_service() -> list[tuple[str, str]]:
    return [(file, name) for file in FILES for name in services(file)]


def environment(file: str, name: str) -> dict[str, str | None]:
    return dict(services(file)[name].get("environment", {}))


@pytest.mark.parametrize("file", FILES)
def test_the_owners_url_is_known_to_the_migration_alone(file: str) -> None:
    assert [name for name in services(file) if "MIGRATION_DATABASE_URL" in environment(file, name)] == ["migrate"]


@pytest.mark.parametrize("file", FILES)
def test_no_service_reads_a_file_that_may_hold_the_owners_url(file: str) -> None:
    assert not [name for name, service in services(file).items() if "env_file" in service]


@pytest.mark.parametrize("file", FILES)
def test_the_migration_is_given_nothing_but_the_owners_url(file: str) -> None:
    assert "DATABASE_URL" not in environment(file, "migrate")


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_every_service_has_the_role_of_its_name(file: str, name: str) -> None:
    assert environment(file, name)["SERVICE_ROLE"] == ServiceRole(name)


@pytest.mark.parametrize(("file", "name"), [place for place in PLACES if place[1] != "migrate"])
def test_nothing_starts_before_the_migration_has_succeeded(file: str, name: str) -> None:
    assert services(file)[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("file", FILES)
def test_the_api_starts_after_workers_and_recorder(file: str) -> None:
    waits_for = services(file)["api"]["depends_on"]
    assert [waits_for[name] for name in ("worker", "recorder")] == [{"condition": "service_healthy"}] * 2


@pytest.mark.parametrize("file", FILES)
def test_the_migration_runs_once(file: str) -> None:
    assert services(file)["migrate"]["restart"] == "no"
    assert services(file)["migrate"]["command"] == ["switchboard", "migrate"]


@pytest.mark.parametrize(("file", "name"), every_service())
def test_a_service_may_do_nothing_but_its_work(file: str, name: str) -> None:
    service = services(file)[name]
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize(("file", "name"), every_service())
def test_a_service_that_stays_has_a_health_check(file: str, name: str) -> None:
    service = services(file)[name]
    assert ("healthcheck" in service) == (service["restart"] != "no")


@pytest.mark.parametrize("file", FILES)
def test_only_the_api_is_reachable_and_from_this_machine_alone(file: str) -> None:
    published = {name: service["ports"] for name, service in services(file).items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:${API_PORT:-8000}:8000"]}


@pytest.mark.parametrize(("file", "name"), every_service())
def test_the_image_is_the_projects_own_at_its_version(file: str, name: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    kind = {"migrate": "api", "postgresql": "trial", "valkey": "trial"}.get(name, name)
    image = services(file)[name]["image"]
    assert image == f"${{SWITCHBOARD_IMAGES:-switchboard}}-{kind}:${{SWITCHBOARD_VERSION:-{version}}}"


def test_production_has_no_server_of_a_trial() -> None:
    assert set(services("compose.prod.yaml")) == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_in_production_has_limits(name: str) -> None:
    assert set(services("compose.prod.yaml")[name]["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


ENTRUSTED = {"CREDENTIALS_KEYS", "TRUSTED_HOSTS"}


@pytest.mark.parametrize("file", FILES)
def test_what_businesses_entrust_is_opened_by_api_and_workers_alone(file: str) -> None:
    holders = {name for name in services(file) if environment(file, name).keys() & ENTRUSTED}
    assert holders == {"api", "worker"}
    assert all(environment(file, name).keys() >= ENTRUSTED for name in holders)


def test_the_sealing_key_of_a_trial_is_one_that_the_services_take() -> None:
    Fernet(environment("compose.yaml", "api")["CREDENTIALS_KEYS"] or "")


@pytest.mark.parametrize("name", ["worker", "recorder", "api"])
def test_every_setting_of_the_example_reaches_the_services_in_production(name: str) -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    settings = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", example, re.MULTILINE)
    wanted = {setting for setting in settings if not NOT_HANDED_ON.fullmatch(setting)}
    withheld = ENTRUSTED if name == "recorder" else set()
    assert wanted - set(environment("compose.prod.yaml", name)) == withheld


def test_a_trial_knows_no_secret_of_another_installation() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == {
        "API_PORT",
        "SWITCHBOARD_IMAGES",
        "SWITCHBOARD_PULL",
        "SWITCHBOARD_VERSION",
        "TRIAL_PASSWORD",
        "TRIAL_TRUSTED_HOSTS",
    }
