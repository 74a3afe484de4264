"""The private Docker engine: when there is none, and what it is told."""

from pathlib import Path

import pytest

from cluster import docker
from cluster.base_image import why_no_debootstrap
from cluster.engine.runc_without_sys_resource import value_of, without_capability

HOME = Path("/cache/docker")


@pytest.mark.parametrize(
    ("platform", "user", "chosen", "sentence"),
    [
        ("linux", 0, "tcp://127.0.0.1:1", "DOCKER_HOST=tcp://127.0.0.1:1 does not answer"),
        ("darwin", 501, None, "start Docker"),
        ("linux", 1000, None, "only root can start one"),
    ],
)
def test_one_sentence_says_why_no_engine_is_started(
    platform: str, user: int, chosen: str | None, sentence: str
) -> None:
    refusal = docker.why_no_engine(platform, user, chosen)

    assert refusal is not None
    assert sentence in refusal


def test_root_on_linux_starts_one() -> None:
    assert docker.why_no_engine("linux", 0, None) is None


def test_the_engine_keeps_everything_in_its_own_folder() -> None:
    settings = docker.engine_settings(HOME, runtime=None)

    places = [settings["data-root"], settings["exec-root"], settings["pidfile"], *settings["hosts"]]  # type: ignore[misc]
    assert all("/cache/docker/" in str(place) for place in places)


def test_runc_runs_itself_where_root_has_every_capability() -> None:
    assert "default-runtime" not in docker.engine_settings(HOME, runtime=None)


def test_runc_has_a_stand_in_where_root_lacks_one() -> None:
    settings = docker.engine_settings(HOME, runtime=["/usr/bin/python3", "-I", "/cache/docker/runc.py"])

    assert settings["runtimes"] == {
        settings["default-runtime"]: {"path": "/usr/bin/python3", "runtimeArgs": ["-I", "/cache/docker/runc.py"]}
    }


@pytest.mark.parametrize(("mask", "has"), [("000001ffffffffff", True), ("000001fffeffffff", False)])
def test_the_missing_capability_is_read_from_the_kernel(mask: str, has: bool) -> None:
    status = f"Name:\tpython\nCapPrm:\t000001ffffffffff\nCapEff:\t{mask}\n"

    assert docker.has_capability(status, docker.CAP_SYS_RESOURCE) is has


def test_a_container_asks_for_every_capability_but_the_missing_one() -> None:
    process = {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"]}, "oomScoreAdj": -998, "cwd": "/"}

    assert without_capability(process) == {"capabilities": {"bounding": ["CAP_CHOWN"]}, "oomScoreAdj": 0, "cwd": "/"}


def test_a_container_that_gives_itself_up_first_may_do_so() -> None:
    assert without_capability({"oomScoreAdj": 500})["oomScoreAdj"] == 500


def test_the_bundle_is_found_under_either_name_of_its_option() -> None:
    assert value_of(["create", "-b", "/run/x"], "--bundle", "-b") == "/run/x"
    assert value_of(["state", "x"], "--bundle", "-b") is None


@pytest.mark.parametrize(
    ("user", "program", "sentence"),
    [(0, None, "debootstrap is not installed"), (1000, "/usr/sbin/debootstrap", "only root can make base images")],
)
def test_one_sentence_says_why_no_base_image_is_made(user: int, program: str | None, sentence: str) -> None:
    refusal = why_no_debootstrap(user, program)

    assert refusal is not None
    assert sentence in refusal
