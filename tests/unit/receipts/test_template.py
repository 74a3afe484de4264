"""Templates do what receipts need and nothing else."""

import time

import pytest

from switchboard_core.receipts.template import (
    DEFAULT,
    MAX_BODY_CHARS,
    SAMPLE,
    SAMPLES,
    BrokenTemplateError,
    Template,
    text_of,
)


def html(body: str) -> str:
    return Template("Receipt", body).html_for(SAMPLE)


def test_the_built_in_template_works_with_and_without_a_reference() -> None:
    with_reference, without = (DEFAULT.html_for(facts) for facts in SAMPLES)
    assert "INV-2026-0007" in with_reference
    assert "Reference" not in without
    assert DEFAULT.subject_for(SAMPLE) == "Your receipt from Acme & Söhne (R-000007)"


def test_values_are_escaped_in_the_body_and_not_in_the_subject() -> None:
    template = Template("{{ business.name }}", "{{ business.name }}")
    assert (template.subject_for(SAMPLE), template.html_for(SAMPLE)) == ("Acme & Söhne", "Acme &amp; Söhne")


def test_a_subject_is_one_line() -> None:
    assert Template("Receipt\r\nBcc: x@example.com", "x").subject_for(SAMPLE) == "Receipt Bcc: x@example.com"


def test_a_template_may_choose_and_use_filters() -> None:
    assert html("{% if payment.currency == 'EUR' %}€{% else %}?{% endif %} {{ user.name|upper }}") == (
        "€ ZOË ŁUKASIEWICZ"
    )


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("a\n\n{{ payment.nope }}", "body, line 3: There is no payment.nope; payment has id, amount"),
        ("{{ nobody }}", "body, line 1: There is no 'nobody'; there are business, user, payment, receipt."),
        ("{% if payment %}", "body, line 1: Unexpected end of template"),
        ("{% for x in user.name %}{% endfor %}", "'for' is not possible here"),
        ("{% set x = 1 %}", "'assign' is not possible here"),
        ("{{ user.name.upper() }}", "'call' is not possible here"),
        ("{{ 'a' * 10 }}", "'mul' is not possible here"),
        ("{{ user['name'] }}", "'getitem' is not possible here"),
        ("{{ user.name.__class__ }}", "is unsafe"),
        ("{{ user.name|replace('a', 'b') }}", "There is no filter 'replace' here; there are capitalize,"),
        ("{% if payment.id is divisibleby(2) %}{% endif %}", "There is no test 'divisibleby' here"),
        ("{% include 'secrets' %}", "'include' is not possible here"),
        ("{{ payment.id > 'x' }}", "not supported between instances"),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "It is nested too deeply"),
    ],
)
def test_what_does_not_work_is_refused_with_line_and_reason(body: str, sentence: str) -> None:
    with pytest.raises(BrokenTemplateError, match=sentence.replace("(", r"\(")):
        html(body)


def test_the_largest_template_is_rendered_in_a_moment() -> None:
    body = ("{{ payment.description }}" * MAX_BODY_CHARS)[: MAX_BODY_CHARS // 25 * 25]
    started = time.process_time()
    html(body)
    assert time.process_time() - started < 10


def test_the_words_of_a_receipt_are_readable_as_plain_text() -> None:
    words = text_of(
        "<style>p{}</style><h1>Receipt</h1><p>Dear <b>Ada</b>,<br>thanks</p><tr><td>A</td><td>1 &lt; 2</td>"
    )
    assert words == "Receipt\nDear Ada,\nthanks\nA 1 < 2\n"
