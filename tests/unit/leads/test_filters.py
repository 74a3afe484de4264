"""Filters: nobody selects every lead by accident."""

import pytest
from pydantic import ValidationError

from switchboard_core.leads.filters import LeadFilter
from switchboard_core.leads.schemas import BulkPayload, LeadChanges


@pytest.mark.parametrize("given", [{}, {"all": False}, {"tags": None}])
def test_an_empty_filter_has_to_say_all(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="the filter is empty"):
        LeadFilter.model_validate(given)


def test_all_cannot_be_narrowed() -> None:
    with pytest.raises(ValidationError, match="leave the other conditions out"):
        LeadFilter.model_validate({"all": True, "tags": ["spring"]})


@pytest.mark.parametrize(
    "given",
    [{"ids": []}, {"ids": [0]}, {"ids": [2**63]}, {"tags": [" "]}, {"timezone": "Mars"}, {"everything": True}],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LeadFilter.model_validate(given)


def test_do_not_call_false_is_a_condition() -> None:
    assert LeadFilter(do_not_call=False).do_not_call is False


@pytest.mark.parametrize("given", [{}, {"add_tags": []}, {"add_tags": ["a"], "remove_tags": ["a"]}, {"phone": "+1"}])
def test_changes_have_to_change_something_and_agree(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LeadChanges.model_validate(given)


def test_a_payload_survives_its_way_through_json() -> None:
    changes = LeadChanges(timezone="europe/rome", add_tags=["a"], attributes={"plan": "pro", "old": None})
    payload = BulkPayload(filter=LeadFilter(ids=[1, 2]), up_to_id=2, changes=changes)
    assert BulkPayload.model_validate(payload.model_dump(mode="json", exclude_defaults=True)) == payload
    assert changes.timezone == "Europe/Rome"
