"""Values as people and pipes get them."""

import json

import pytest

from switchboard_cli.output import Output, cell, clean, moment


def test_what_would_steer_a_terminal_is_left_out() -> None:
    assert clean("Mal\x1b[2J\x07ory\n") == "Mal [2J ory "


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (True, "yes"), (False, "no"), (["a", "b"], "a, b"), (3, "3"), ("é", "é")]
)
def test_a_value_in_a_table(value: object, shown: str) -> None:
    assert cell(value) == shown


def test_a_moment_is_shown_to_the_second() -> None:
    assert moment("2026-01-26T11:05:20.123456Z").endswith(":05:20")
    assert moment(None) == ""


def test_a_table_in_a_pipe_is_tab_separated_with_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("id", "name"), [(1, "Ada"), (2, None)])
    assert capsys.readouterr().out == "id\tname\n1\tAda\n2\t\n"


def test_json_is_all_there_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.note("beside it")
    output.json({"name": "Zoë"})
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"name": "Zoë"}
    assert printed.err == "beside it\n"
