"""What people are told about a request that is not what a route takes."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from switchboard_api.problems import Problem, invalid


class Order(BaseModel):
    name: str
    count: int


def errors_of(body: Any) -> list[dict[str, Any]]:
    with pytest.raises(ValidationError) as caught:
        Order.model_validate(body)
    return [{**error, "loc": ("body", *error["loc"])} for error in caught.value.errors()]


def test_a_problem_has_the_members_of_the_standard_and_its_own() -> None:
    body = Problem(409, "Last owner key", "Make another first.", hint=1).response().body
    assert bytes(body) == (
        b'{"type":"urn:switchboard:problem:last-owner-key","title":"Last owner key","status":409,'
        b'"detail":"Make another first.","hint":1}'
    )


def test_every_wrong_field_is_listed_and_the_first_told() -> None:
    problem = invalid(errors_of({"count": "many"}), "application/json")
    assert problem.status_code == 422
    assert [error["field"] for error in problem.extra["errors"]] == ["body.name", "body.count"]
    assert problem.detail == "body.name: Field required and 1 more."


def test_no_value_is_repeated() -> None:
    problem = invalid(errors_of({"name": ["+14155550123"], "count": "sbk_secret"}), "application/json")
    assert "+1415" not in str(problem.response().body)
    assert "sbk_secret" not in str(problem.response().body)


def test_a_wrong_id_in_the_path_is_not_found() -> None:
    problem = invalid([{"loc": ("path", "task_id"), "type": "int_parsing", "msg": "no"}], "")
    assert problem.status_code == 404


def test_a_form_where_json_is_wanted_is_told_so() -> None:
    problem = invalid([{"loc": ("body",), "type": "model_attributes_type", "msg": "no"}], "text/csv")
    assert problem.status_code == 415
