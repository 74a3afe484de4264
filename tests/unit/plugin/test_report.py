"""The finished archive: secrets are put into every place there is, and none is found in it."""

import base64
import io
import json
import stat
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kubectl_switchboard import archive
from kubectl_switchboard.collect import Material
from kubectl_switchboard.errors import ClusterError, ForbiddenError, PluginError
from kubectl_switchboard.redact import Redactor
from kubectl_switchboard.report import make_files
from unit.plugin.situations import NOW, load, resource_in

KNOWN = {
    "database password": "c0rrect-horse/battery+staple",
    "internal token": "Zm9vYmFy_internal-token-value",
    "carrier token": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "account": "AC0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "spoken": "tr0ub4dor and three more words",
}
UNKNOWN = {
    "api key": "sbk_9f8e7d6c5b4a39281706",
    "other url": "hunter2-of-another-url",
    "phone": "+14155551267",
}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def seeded() -> Material:
    """Every secret in every place."""
    found = load("migration-failed")
    secret = " ".join(KNOWN.values())
    url = f"postgresql://app:{quote(KNOWN['database password'], safe='')}@db/calls"
    other = f"redis://:{UNKNOWN['other url']}@valkey key {UNKNOWN['api key']} to {UNKNOWN['phone']}"
    env = [{"name": f"V{number}", "value": value} for number, value in enumerate((secret, b64(secret), other, url))]
    sentence = f"failed with {secret} {b64(secret)} {url} {b64(url)} {other} {b64(other)} {json.dumps(secret)}"
    switchboard = found["switchboard"]
    switchboard["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": {"env": env}}),
        "example.com/note": sentence,
        "switchboard.dev/retry": sentence,
    }
    switchboard["spec"]["env"] = env
    switchboard["status"]["applied"]["spec"]["env"] = env
    switchboard["status"]["gate"]["failure"]["message"] = sentence
    for condition in switchboard["status"]["conditions"]:
        condition["message"] = sentence
    switchboard["status"]["lastError"]["message"] = sentence
    deployment: dict[str, Any] = found["deployments"][0] | {"kind": "Deployment"}
    container = {"name": "api", "env": env, "args": [f"--token={KNOWN['internal token']}", sentence]}
    deployment["spec"]["template"]["spec"] = {"containers": [container]}
    data = {f"key{number}": b64(value) for number, value in enumerate((*KNOWN.values(), url))}
    lines = [sentence, json.dumps({"event": sentence, "to": UNKNOWN["phone"], "nested": {"env": env}}), b64(sentence)]
    material = Material(
        objects={
            "switchboard.json": switchboard,
            "objects/deployments/main-api.json": deployment,
            "objects/secrets/db.json": {"kind": "Secret", "metadata": {"name": "db"}, "data": data},
            "events.json": {"kind": "EventList", "items": [each | {"message": sentence} for each in found["events"]]},
        },
        logs={"logs/api/main-api-1.api.log": "".join(f"2026-01-26T11:05:20Z {line}\n" for line in lines)},
        secrets={*KNOWN.values(), url},
    )
    material.gaps.note("a log", "get pods/log", ForbiddenError(sentence, 403))
    return material


def unpacked(content: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as packed:
        members = {entry.name: packed.extractfile(entry) for entry in packed.getmembers()}
        return {name: member.read().decode() for name, member in members.items() if member}


@pytest.fixture(scope="module")
def finished() -> dict[str, str]:
    """The files of the archive as its reader gets them."""
    files = make_files(resource_in("migration-failed"), seeded(), NOW, salt=b"salt")
    return unpacked(archive.pack(files, "report", NOW))


@pytest.mark.parametrize("name", [*KNOWN, *UNKNOWN])
def test_no_secret_is_in_the_archive_in_any_form(finished: dict[str, str], name: str) -> None:
    secret = (KNOWN | UNKNOWN)[name]
    forms = {secret, b64(secret), b64(secret).rstrip("="), quote(secret, safe=""), json.dumps(secret)[1:-1]}
    leaks = {(path, form) for path, content in finished.items() for form in forms if form in content}
    assert leaks == set()


def test_no_base64_in_the_archive_decodes_to_a_secret(finished: dict[str, str]) -> None:
    runs = {word.strip('",') for content in finished.values() for word in content.split()}
    for run in runs:
        try:
            plain = base64.b64decode(run, validate=True).decode(errors="replace")
        except ValueError:
            continue
        assert not [secret for secret in (KNOWN | UNKNOWN).values() if secret in plain]


def test_what_support_needs_is_in_the_archive(finished: dict[str, str]) -> None:
    assert set(finished) == {
        "report/manifest.json",
        "report/switchboard.json",
        "report/status.txt",
        "report/events.json",
        "report/objects/deployments/main-api.json",
        "report/objects/secrets/db.json",
        "report/logs/api/main-api-1.api.log",
    }
    assert "Transition 2 to release 1.1.0: expand phase" in finished["report/status.txt"]
    assert '"keys"' in finished["report/objects/secrets/db.json"]


def test_the_manifest_lists_the_files_and_what_is_missing(finished: dict[str, str]) -> None:
    manifest = json.loads(finished["report/manifest.json"])
    assert {f"report/{each['path']}" for each in manifest["files"]} == set(finished) - {"report/manifest.json"}
    assert manifest["unreadable"][0]["needs"] == "get pods/log"
    assert manifest["redaction"]["valuesOfSecretsLookedFor"] is True


def test_only_a_missing_right_is_called_one() -> None:
    material = Material()
    material.gaps.note("a log", "get pods/log", ClusterError("the kubelet is away", 500))
    assert material.gaps.found[0].needs == ""


def test_a_file_that_still_holds_a_known_secret_is_held_back() -> None:
    kept, held_back = archive.checked({"a": "fine", "b": "has hunter2hunter2"}, Redactor(["hunter2hunter2"]))
    assert (list(kept), held_back) == (["a"], ["b"])


def test_the_archive_is_for_its_owner_alone_and_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.tar.gz"
    archive.write(path, b"content")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(PluginError, match="exists already: name another file with -o"):
        archive.write(path, b"other")
    assert path.read_bytes() == b"content"


def test_a_folder_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="cannot be written"):
        archive.write(tmp_path / "missing" / "report.tar.gz", b"content")
    assert list(tmp_path.iterdir()) == []
