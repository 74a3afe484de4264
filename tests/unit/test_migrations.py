"""Rules of the revisions, and the comparison of sequences; nothing here needs a database."""

import pytest
from alembic.script import Script

from switchboard_core.migrate import CODE_SEQ, REQUIRED_SCHEMA_SEQ, SchemaState
from switchboard_core.migrate.revisions import branch, script_directory
from switchboard_core.migrate.state import NEVER_MIGRATED, incompatibility, judge
from switchboard_core.migrations import DowngradeNotSupportedError

SCRIPTS: list[Script] = list(script_directory().walk_revisions())
EXPAND = branch("expand")
CONTRACT = branch("contract")


def contract_number(revision: str) -> int:
    return int(revision.removeprefix("c"))


def min_code_seq(revision: str) -> int:
    return int(script_directory().get_revision(revision).module.min_code_seq)


def test_every_revision_sits_in_exactly_one_branch() -> None:
    assert sorted(EXPAND + CONTRACT) == sorted(script.revision for script in SCRIPTS)


def test_each_branch_is_a_line_with_one_head() -> None:
    assert set(script_directory().get_heads()) == {EXPAND[-1], CONTRACT[-1]}


def test_expand_revisions_are_numbered_without_gaps() -> None:
    assert [int(revision) for revision in EXPAND] == list(range(101, CODE_SEQ + 1))


def test_the_code_sequence_is_the_newest_expand_revision() -> None:
    assert int(EXPAND[-1]) == CODE_SEQ


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.revision)
def test_expand_never_waits_for_a_contract(script: Script) -> None:
    if script.revision in EXPAND:
        assert not set(script.dependencies or ()) & set(CONTRACT)


@pytest.mark.parametrize("revision", CONTRACT)
def test_a_contract_revision_is_numbered_like_the_release_that_brings_it(revision: str) -> None:
    # So a database that has it is known to be newer, by its sequence, to releases that do not know the revision.
    assert str(contract_number(revision)) in EXPAND


def test_the_first_contract_revision_takes_nothing_from_any_release() -> None:
    assert min_code_seq(CONTRACT[0]) == int(EXPAND[0])


def test_later_contract_revisions_leave_the_release_before_able_to_run() -> None:
    assert all(min_code_seq(revision) < contract_number(revision) for revision in CONTRACT[1:])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.revision)
def test_no_revision_can_be_undone(script: Script) -> None:
    with pytest.raises(DowngradeNotSupportedError, match=f"Migration {script.revision} cannot be undone"):
        script.module.downgrade()


@pytest.mark.parametrize(
    ("state", "code_seq", "fits"),
    [
        pytest.param(NEVER_MIGRATED, 104, True, id="an empty database"),
        pytest.param(SchemaState(103, 101), 104, True, id="an older schema"),
        pytest.param(SchemaState(104, 101), 104, True, id="the same schema"),
        pytest.param(SchemaState(110, 104), 104, True, id="a newer schema that still supports it"),
        pytest.param(SchemaState(110, 105), 104, False, id="a newer schema that has dropped it"),
    ],
)
def test_a_release_fits_a_schema_as_long_as_the_schema_supports_it(
    state: SchemaState, code_seq: int, *, fits: bool
) -> None:
    assert (incompatibility(state, code_seq) is None) is fits


def test_a_refused_release_is_told_which_release_to_run() -> None:
    sentence = incompatibility(SchemaState(schema_seq=110, min_code_seq=105), 104)
    assert sentence is not None
    assert "sequence 104" in sentence
    assert "releases from sequence 105 on" in sentence


@pytest.mark.parametrize(
    ("state", "ok", "words"),
    [
        pytest.param(NEVER_MIGRATED, False, "has not been migrated yet: run `switchboard migrate`", id="empty"),
        pytest.param(SchemaState(102, 101), False, "older than this release needs", id="too old"),
        pytest.param(SchemaState(REQUIRED_SCHEMA_SEQ, 101), True, "suits this release", id="the oldest it can use"),
        pytest.param(SchemaState(CODE_SEQ + 5, CODE_SEQ), True, "suits this release", id="newer, in range"),
        pytest.param(
            SchemaState(CODE_SEQ + 5, CODE_SEQ + 1), False, "too old for the database", id="newer, out of range"
        ),
    ],
)
def test_a_service_works_on_the_schemas_of_its_range_only(state: SchemaState, words: str, *, ok: bool) -> None:
    verdict = judge(state)
    assert verdict.ok is ok
    assert words in verdict.sentence
    assert verdict.schema_seq == state.schema_seq
