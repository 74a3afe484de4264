"""Placeholders: what is known, what is refused at creation, and what a lead's values become."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_core.broadcasts.template import Person, TemplateError, check, fill

ADA = Person("Ada Moreno", "+14155550123", "ada@example.com", {"plan": "pro", "seats": 3})
NOBODY = Person(None, "+14155550124", None, {})


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hello {name}", "Hello Ada Moreno"),
        ("Hello {first_name|there}", "Hello Ada"),
        ("{attr_plan} for {attr_seats}", "pro for 3"),
        ("{email}, {phone}", "ada@example.com, +14155550123"),
        ("{{name}} is not filled in", "{name} is not filled in"),
        ("no braces at all", "no braces at all"),
    ],
)
def test_placeholders_become_the_leads_values(template: str, text: str) -> None:
    assert fill(template, ADA) == text


def test_a_value_that_is_missing_becomes_the_fallback_or_nothing() -> None:
    assert fill("Hello {name|there}, {attr_plan|free} {email}!", NOBODY) == "Hello there, free !"


def test_a_blank_name_has_no_first_name() -> None:
    assert fill("{first_name|you}", Person("  ", "+14155550124", None, {})) == "you"


def test_a_value_is_never_read_as_a_template() -> None:
    assert fill("Hello {name}", Person("{phone} {{", "+14155550124", None, {})) == "Hello {phone} {{"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("Hello {", "a lone { at character 7"),
        ("Hello }", "a lone } at character 7"),
        ("Hello {Name}", "a lone { at character 7"),
        ("Hello {nmae}", "{nmae} is not known"),
        ("Hello {attr_}", "{attr_} is not known"),
        ("Hello {name.__class__}", "a lone {"),
        ("Hello {name!r}", "a lone {"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_with_its_place(template: str, words: str) -> None:
    with pytest.raises(TemplateError) as refused:
        check(template)
    assert words in str(refused.value)


@given(st.text(alphabet="{}|name_ ", max_size=20))
def test_what_passes_the_check_can_be_filled_in_for_everybody(template: str) -> None:
    try:
        check(template)
    except TemplateError:
        return
    assert isinstance(fill(template, ADA) + fill(template, NOBODY), str)
