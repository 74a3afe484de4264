"""What is installed comes from the lock file, by hash, under licences that may be shipped."""

import importlib.metadata
import json
import re
import tomllib
from typing import Any

import pytest

from docs_pages import ROOT

LOCK: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
PACKAGES = [found for found in LOCK["package"] if "registry" in found["source"]]
INSTALLED = {re.sub(r"[-_.]+", "-", found.name).lower() for found in importlib.metadata.distributions()}
WEB_LOCK: dict[str, Any] = json.loads((ROOT / "services/api/web/package-lock.json").read_text(encoding="utf-8"))

ALLOWED = (
    *("apache", "bsd", "isc", "mit", "mozilla public license 2.0", "mpl-2.0", "psf", "python software foundation"),
    *("unlicense", "0bsd", "zlib", "cnri-python", "dfsg approved", "osi approved", "ofl", "cc0"),
    # Used as a library, unchanged: psycopg and fpdf2.
    "lgpl",
)
"""Beginnings of licences, in lower case, that a dependency may have; of an expression each part."""

SAID_ELSEWHERE = {"imapclient": "BSD-3-Clause"}
"""Packages whose metadata does not say what their licence file does."""


def artifacts(package: dict[str, Any]) -> list[dict[str, Any]]:
    return [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]


def licence_of(name: str) -> str:
    """What a package's metadata says, from its most exact field."""
    metadata = importlib.metadata.metadata(name)
    named = [line.rpartition("::")[2] for line in metadata.get_all("Classifier") or [] if line.startswith("License")]
    expression, words = metadata.get_all("License-Expression") or [""], metadata.get_all("License") or [""]
    said = expression[0] or " AND ".join(named) or words[0]
    return SAID_ELSEWHERE.get(name, said.strip())


def parts(licence: str) -> list[str]:
    expression = licence.lower().replace("(", " ").replace(")", " ").replace(" or ", " and ")
    return [part.strip() for part in expression.split(" and ")]


def test_every_package_is_pinned_by_the_hash_of_each_of_its_files() -> None:
    files = [(found["name"], file) for found in PACKAGES for file in artifacts(found)]
    assert {found["name"] for found in PACKAGES} == {name for name, _ in files}
    assert [name for name, file in files if not str(file.get("hash", "")).startswith("sha256:")] == []


def test_every_package_comes_from_one_registry() -> None:
    assert len({found["source"]["registry"] for found in PACKAGES}) == 1


def test_everything_else_is_of_this_repository() -> None:
    sources = [found["source"] for found in LOCK["package"] if "registry" not in found["source"]]
    assert all(set(source) & {"editable", "virtual"} for source in sources)


@pytest.mark.parametrize("name", sorted(INSTALLED & {found["name"] for found in PACKAGES}))
def test_a_licence_is_one_that_may_be_shipped(name: str) -> None:
    licence = licence_of(name)
    assert licence, f"{name} does not say its licence: read it, then add it to SAID_ELSEWHERE"
    assert [part for part in parts(licence) if not part.startswith(ALLOWED)] == [], licence


def test_every_package_of_the_pages_is_pinned_by_hash() -> None:
    packages = {path: found for path, found in WEB_LOCK["packages"].items() if path}
    assert packages
    assert [path for path, found in packages.items() if not found.get("integrity") and not found.get("link")] == []


def test_the_hosted_workflow_audits_what_is_locked() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yaml").read_text(encoding="utf-8")
    audit = (ROOT / ".ci" / "audit").read_text(encoding="utf-8")
    assert "make audit" in workflow
    assert "--require-hashes" in audit
    assert "npm audit --omit=dev" in audit
