"""Which programs are built, from what, and what is said when one is missing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import parts
from cluster.errors import ClusterError

GO = "go1.26.0 linux amd64"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SWITCHBOARD_CACHE_DIR", str(tmp_path / "cache"))
    parts.go_version.cache_clear()
    yield tmp_path / "cache"
    parts.go_version.cache_clear()


@pytest.fixture
def no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def some_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\nprintf 'go1.26.0\\nlinux\\namd64\\n'\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_plan_holds_the_parts_of_its_groups_and_no_others() -> None:
    names = [part.name for part in parts.plan(["apiserver", "kwok"])]

    assert names == ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "kwok"]


def test_a_group_that_does_not_exist_is_named_beside_those_that_do() -> None:
    with pytest.raises(ClusterError, match=r"no group of parts named 'tool'; there are: apiserver, tools"):
        parts.plan(["tool"])


def test_what_is_built_usually_leaves_out_what_only_a_machine_without_a_registry_needs() -> None:
    assert set(parts.USUAL_GROUPS) == set(parts.GROUPS) - {"node", "kwok", "keda"}


FROM_TREES = {part.name: (part, part.sources) for part in parts.PARTS.values() if part.sources}


@pytest.mark.parametrize(("part", "tree"), FROM_TREES.values(), ids=FROM_TREES)
def test_every_tree_pins_the_version_that_its_part_names(part: parts.Part, tree: Path) -> None:
    words = (line.replace("require ", "").split() for line in (tree / "go.mod").read_text().splitlines())
    modules = [line[0] for line in words if part.version in line]

    assert any(part.package.startswith(module) for module in modules)
    assert (tree / "go.sum").exists()
    assert f'"{part.package}"' in (tree / "tools.go").read_text()


@pytest.mark.parametrize("change", [{"version": "v9"}, {"flags": "-s"}, {"package": "example.com/x"}, {"tree": "keda"}])
def test_a_part_built_from_something_else_has_another_key(change: dict[str, str]) -> None:
    part = parts.PARTS["kubectl"]

    assert replace(part, **change).key(GO) != part.key(GO)


def test_another_go_gives_another_key() -> None:
    part = parts.PARTS["kind"]

    assert part.key(GO) != part.key("go1.26.0 linux arm64")


def test_a_module_that_installs_by_itself_is_installed_at_its_version(tmp_path: Path) -> None:
    part = parts.PARTS["kind"]

    assert parts.build_command(part, tmp_path)[-1] == f"sigs.k8s.io/kind@{part.version}"


@pytest.mark.usefixtures("empty_cache", "some_go")
def test_a_part_that_is_not_built_names_the_command_that_builds_it() -> None:
    with pytest.raises(parts.MissingPartError, match=r"^kubectl v1.34.4 is not built yet: run `make parts`\.$"):
        parts.binary("kubectl")


@pytest.mark.usefixtures("empty_cache", "some_go")
def test_a_part_outside_the_usual_groups_names_its_group() -> None:
    with pytest.raises(parts.MissingPartError, match=r"run `make parts ARGS=keda`"):
        parts.binary("keda-operator")


@pytest.mark.usefixtures("empty_cache", "no_go")
def test_without_go_the_sentence_asks_for_go() -> None:
    with pytest.raises(parts.MissingPartError, match=r"^Go is not installed.*: install Go"):
        parts.binary("kubectl")


@pytest.mark.usefixtures("some_go")
def test_a_part_that_is_there_is_cached(empty_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = parts.PARTS["kind"]
    built = empty_cache / "parts" / f"kind-{part.key('go1.26.0 linux amd64')}" / "kind"
    built.parent.mkdir(parents=True)
    built.touch()

    assert parts.ensure_part(part) == built
    assert capsys.readouterr().err == f"kind {part.version}: cached\n"
