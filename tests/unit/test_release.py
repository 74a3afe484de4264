"""A release has one version everywhere, and notes; ``.ci/release.py`` checks it before anything is published."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from docs_pages import ROOT

CHANGELOG = """\
# Changelog

## [Unreleased]

- to come

## [1.2.0] - 2026-11-22

### Added

- a thing

## [1.1.0] - 2026-10-01

- an older thing
"""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = load()


@pytest.mark.parametrize(("tag", "version"), [("v1.2.0", "1.2.0"), ("v1.2.0-rc.1", "1.2.0-rc.1")])
def test_a_tag_names_a_version(tag: str, version: str) -> None:
    assert release.version_of(tag) == version


@pytest.mark.parametrize("tag", ["1.2.0", "v1.2", "v1.2.0+build", "vnext"])
def test_a_tag_without_a_version_is_refused_with_a_sentence(tag: str) -> None:
    with pytest.raises(release.ReleaseError, match=r"tag releases as v1\.2\.3"):
        release.version_of(tag)


def test_the_notes_are_the_section_of_the_release_alone() -> None:
    assert release.notes(CHANGELOG, "1.2.0") == "### Added\n\n- a thing"


def test_a_release_without_notes_is_refused() -> None:
    with pytest.raises(release.ReleaseError, match=r"CHANGELOG.md says nothing about 1\.3\.0"):
        release.notes(CHANGELOG, "1.3.0")


def test_every_package_and_chart_with_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator" / "pyproject.toml").write_text('[project]\nversion = "1.1.0"\n')
    (tmp_path / "charts" / "one").mkdir(parents=True)
    (tmp_path / "charts" / "one" / "Chart.yaml").write_text('name: one\nversion: 1.2.0\nappVersion: "1.1.0"\n')

    assert list(release.wrong_versions(tmp_path, "1.2.0")) == [
        "operator/pyproject.toml has version 1.1.0: set it to 1.2.0.",
        "charts/one/Chart.yaml has appVersion 1.1.0: set it to 1.2.0.",
    ]


def test_packages_and_charts_of_this_checkout_have_one_version() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = text.partition('version = "')[2].partition('"')[0]

    assert list(release.wrong_versions(ROOT, version)) == []


def test_wrong_use_is_answered_with_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main([]) == 2
    assert "release.py check TAG" in capsys.readouterr().err
