"""What goes into the images: the wheels of each layer, and what the Dockerfile makes of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
EXPORTED = """\
-e ./services/core
click==8.5.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:cc
greenlet==3.3.0 ; platform_machine == 'aarch64' \\
    --hash=sha256:dd
tomli==2.4.0 ; python_full_version < '3.12' \\
    --hash=sha256:ee
"""
SERVED = {
    "api": '["switchboard", "serve", "api"]',
    "worker": '["switchboard", "serve", "worker"]',
    "recorder": '["switchboard", "serve", "recorder"]',
    "simulator": '["switchboard", "serve", "simulator"]',
    "trial": '["switchboard", "trial", "postgresql"]',
    "operator": '["python", "-m", "switchboard_operator"]',
}


@pytest.fixture(autouse=True)
def the_builder_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def stages() -> dict[str, tuple[str, str]]:
    """Each stage of the Dockerfile with what it starts from and its text."""
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE, flags=re.MULTILINE)[1:]
    return {name: (base, text) for base, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def ancestry(name: str) -> list[str]:
    """The stages whose content a stage has, itself first."""
    found = [name]
    while (base := stages()[found[-1]][0]) in stages():
        found.append(base)
    return found


@pytest.mark.parametrize(
    ("machine", "names"), [("amd64", ["click", "tomli"]), ("arm64", ["click", "greenlet", "tomli"])]
)
def test_markers_are_decided_for_the_image_and_not_for_this_machine(machine: str, names: list[str]) -> None:
    from images.contents import locked_packages

    assert [package.name for package in locked_packages(EXPORTED, machine)] == names


def test_a_requirement_keeps_its_version_and_its_hashes() -> None:
    from images.contents import Locked, locked_packages

    assert locked_packages(EXPORTED, "amd64")[0] == Locked("click", "click==8.5.1 --hash=sha256:aa --hash=sha256:bb")


def test_a_layer_has_nothing_that_the_shared_one_has_but_the_operators_stands_alone() -> None:
    from images.contents import Locked, layered

    common, own = Locked("click", "click==8.5.1"), Locked("boto3", "boto3==1.43.0")
    layers = layered({"shared": [common], "recorder": [common, own], "worker": [common], "operator": [common]})
    assert layers == {"shared": [common], "recorder": [own], "worker": [], "operator": [common]}


def test_an_architecture_without_images_is_refused_with_those_that_have_some() -> None:
    from images.contents import ContentsError, platform_tags

    with pytest.raises(ContentsError, match="no images for riscv64: build for amd64 or arm64"):
        platform_tags("riscv64")


def test_wheels_of_the_base_images_glibc_come_before_older_ones() -> None:
    from images.contents import platform_tags

    tags = platform_tags("arm64")
    assert tags.index("manylinux_2_28_aarch64") < tags.index("manylinux_2_17_aarch64")


def test_the_dockerfile_has_a_stage_for_each_image() -> None:
    from images.contents import IMAGES

    assert set(IMAGES) == set(SERVED) <= set(stages())


@pytest.mark.parametrize(("image", "command"), SERVED.items())
def test_the_command_of_an_image_serves_its_role(image: str, command: str) -> None:
    assert re.findall(r"^CMD (.*)$", stages()[image][1], re.MULTILINE) == [command]


@pytest.mark.parametrize("image", SERVED)
def test_an_image_runs_as_a_user_without_rights(image: str) -> None:
    users = [user for stage in ancestry(image) for user in re.findall(r"^USER (.*)$", stages()[stage][1], re.MULTILINE)]
    assert users == ["10001:10001"]


@pytest.mark.parametrize("image", SERVED)
def test_an_image_does_not_grow_out_of_the_stages_that_have_pip(image: str) -> None:
    assert ancestry(image)[-1] == "runtime"


@pytest.mark.parametrize("image", SERVED)
def test_our_own_packages_come_after_those_of_others(image: str) -> None:
    copies = re.findall(r"^COPY --from=\S+ /trees/(\w+)/", stages()[image][1], re.MULTILINE)
    assert copies[-1] == "own"


@pytest.mark.parametrize("image", SERVED)
def test_an_image_says_what_it_is(image: str) -> None:
    labels = re.findall(r"org\.opencontainers\.image\.(\w+)=", stages()[image][1])
    assert labels == ["title", "description", "version", "revision", "created", "source", "licenses"]
    assert f'title="switchboard-{image}"' in stages()[image][1]


@pytest.mark.parametrize("image", ["recorder", "worker"])
def test_the_images_that_listen_have_the_packages_of_their_own(image: str) -> None:
    assert f"/trees/{image}/" in stages()[image][1]
    assert f"/build/install {image} " in stages()[f"{image}-build"][1]


def test_the_operators_image_has_nothing_of_the_services() -> None:
    assert set(re.findall(r"own/(switchboard_\w+)-", stages()["operator-build"][1])) == {"switchboard_operator"}


def test_the_build_is_given_nothing_but_what_it_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "*",
        "!images/install",
        "!images/entrypoint",
        "!.tools/wheelhouse",
    ]


def test_nothing_is_installed_from_the_network() -> None:
    installs = re.findall(r"^pip install .*$", (ROOT / "images" / "install").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(installs) == 1
    assert "--no-index" in installs[0]
    assert not re.search(r"\b(apt-get|curl|wget|pip download)\b", DOCKERFILE)
