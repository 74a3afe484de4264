"""Names of what is built change with what it is built from, and with nothing else."""

from pathlib import Path

from cluster.hashing import key


def test_the_same_facts_and_files_give_the_same_key_wherever_they_lie(tmp_path: Path) -> None:
    for place in ("here", "there"):
        folder = tmp_path / place / "module"
        folder.mkdir(parents=True)
        (folder / "go.mod").write_text("module a\n")

    here, there = (key("v1", files=[tmp_path / place / "module"]) for place in ("here", "there"))

    assert here == there


def test_another_fact_changes_the_key() -> None:
    assert key("v1", "linux") != key("v2", "linux")


def test_another_content_changes_the_key(tmp_path: Path) -> None:
    file = tmp_path / "go.sum"
    file.write_text("one")
    before = key(files=[file])

    file.write_text("two")

    assert key(files=[file]) != before


def test_another_name_changes_the_key(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")

    assert key(files=[tmp_path / "a"]) != key(files=[tmp_path / "b"])


def test_a_script_that_becomes_a_program_changes_the_key(tmp_path: Path) -> None:
    file = tmp_path / "entrypoint"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o644)
    before = key(files=[file])

    file.chmod(0o755)

    assert key(files=[file]) != before
