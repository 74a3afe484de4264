"""Ranking finds in mails and in calls as one list."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard_core.mailbox.ranking import (
    MAX_TERMS,
    SNIPPET_CHARACTERS,
    Find,
    Kind,
    matches,
    rank,
    root_of,
    score,
    snippet,
    terms_of,
    words_of,
)

seeded = settings(max_examples=150, deadline=None, derandomize=True, database=None)

NOW = datetime(2026, 1, 26, 12, tzinfo=UTC)


def find(name: str, *, age_days: float | None = 0.0, kind: Kind = Kind.MAIL, **fields: Any) -> Find:
    elsewhere = frozenset(fields.pop("elsewhere", ()))
    when = None if age_days is None else NOW - timedelta(days=age_days)
    return Find(kind, name, name, fields, when, elsewhere=elsewhere)


def order(query: str, *finds: Find) -> list[str]:
    return [ranked.find.id for ranked in rank(finds, terms_of(query), NOW)]


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("Please find me the invoice from Acme", ("invoice", "acme")),
        ("INVOICE invoice Invoice", ("invoice",)),
        ("what is it", ("what", "is", "it")),
        ("flight 7 to Zürich", ("flight", "7", "zürich")),
        ("don't stop", ("don't", "stop")),
        ("don’t stop", ("don't", "stop")),  # noqa: RUF001
        ("die Größe", ("die", "größe")),
        ("a_b-c/d2", ("d2",)),
        ("  ", ()),
        ("!?", ()),
    ],
)
def test_a_query_is_boiled_down_to_what_it_is_about(query: str, terms: tuple[str, ...]) -> None:
    assert terms_of(query) == terms


def test_the_number_of_terms_is_bounded() -> None:
    assert len(terms_of(" ".join(f"word{number}" for number in range(100)))) == MAX_TERMS


@pytest.mark.parametrize(
    ("term", "word", "same"),
    [
        ("invoice", "invoices", True),
        ("invoices", "invoice", True),
        ("call", "calling", True),
        ("payment", "pay", False),
        ("art", "party", False),
        ("cat", "cats", False),
        ("7", "77", False),
        ("delivery", "deliveries", True),
        ("größe", "grösse", True),
        ("grösse", "größen", True),
        ("contract", "contradict", False),
    ],
)
def test_other_forms_of_a_word_match_too(term: str, word: str, *, same: bool) -> None:
    assert matches(term, word) is same


@pytest.mark.parametrize(
    ("term", "root"), [("invoices", "invoice"), ("boss", "boss"), ("address", "address"), ("bus", "bus"), ("as", "as")]
)
def test_a_server_is_asked_for_the_singular(term: str, root: str) -> None:
    assert root_of(term) == root


def test_more_of_the_words_come_first() -> None:
    one, both = find("one", subject="invoice"), find("both", subject="acme invoice")
    assert order("acme invoice", one, both) == ["both", "one"]


def test_all_words_in_a_body_come_before_half_of_them_in_a_subject() -> None:
    half, all_ = find("half", subject="invoice"), find("all", body="the invoice of acme")
    assert order("acme invoice", half, all_) == ["all", "half"]


def test_a_subject_says_more_than_a_sender_a_sender_more_than_a_transcript_and_that_more_than_a_body() -> None:
    finds = [
        find("body", body="acme"),
        find("call", kind=Kind.CALL, transcript="acme"),
        find("sender", sender="acme"),
        find("subject", subject="acme"),
    ]
    assert order("acme", *finds) == ["subject", "sender", "call", "body"]


def test_newer_finds_come_first_and_those_without_a_date_last() -> None:
    finds = [find(str(age), age_days=age, subject="acme") for age in (400, 3, None, 40)]
    assert order("acme", *finds) == ["3", "40", "400", "None"]


def test_words_in_their_order_come_first() -> None:
    apart, together = find("apart", body="call the man back"), find("together", body="the man: call back")
    assert order("call back", apart, together) == ["together", "apart"]


def test_what_the_server_found_in_a_body_counts_although_nobody_read_it() -> None:
    assert order("acme", find("unread", subject="hello", elsewhere=["acme"])) == ["unread"]


def test_what_has_none_of_the_words_is_left_out() -> None:
    assert order("acme", find("other", subject="hello", body="party")) == []


def test_only_the_best_are_kept() -> None:
    finds = [find(str(age), age_days=age, subject="acme") for age in range(60)]
    assert len(rank(finds, ("acme",), NOW)) == 50
    assert [ranked.find.id for ranked in rank(finds, ("acme",), NOW, limit=2)] == ["0", "1"]


_WORDS = st.sampled_from(["acme", "invoice", "invoices", "call", "back", "other", "x"])
_FINDS = st.lists(
    st.builds(
        find,
        st.uuids().map(str),
        age_days=st.none() | st.floats(-10, 4000),
        subject=st.lists(_WORDS, max_size=4).map(" ".join),
        body=st.lists(_WORDS, max_size=8).map(" ".join),
    ),
    max_size=12,
)


@seeded
@given(finds=_FINDS, terms=st.lists(_WORDS, max_size=4, unique=True), seed=st.randoms())
def test_the_order_is_always_the_same_and_every_score_between_0_and_1(
    finds: list[Find], terms: Sequence[str], seed: Any
) -> None:
    ranked = rank(finds, terms, NOW)
    shuffled = list(finds)
    seed.shuffle(shuffled)
    assert rank(shuffled, terms, NOW) == ranked
    scores = [one.score for one in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < points <= 1 for points in scores)


@seeded
@given(one=_FINDS.filter(bool), term=_WORDS)
def test_a_further_word_in_the_subject_never_lowers_a_score(one: list[Find], term: str) -> None:
    before = one[0]
    richer = find("x", subject=f"{before.fields['subject']} {term}", body=before.fields["body"])
    plain = find("x", subject=before.fields["subject"], body=before.fields["body"])
    assert score(richer, ("acme", "invoice"), NOW) >= score(plain, ("acme", "invoice"), NOW)


def test_a_short_text_is_its_own_snippet() -> None:
    assert snippet(find("a", transcript="call  me\nback"), ("back",)) == "call me back"


def test_a_snippet_shows_the_first_of_the_words() -> None:
    text = snippet(find("a", body=f"{'before ' * 100}the Invoices of acme {'after ' * 100}"), ("invoice",))
    assert text.startswith("…before")
    assert "the Invoices of acme" in text
    assert text.endswith("after…")
    assert len(text) <= SNIPPET_CHARACTERS + 2


@seeded
@given(st.text(), st.lists(st.text(min_size=1), max_size=3))
def test_no_text_breaks_a_snippet_or_a_query(text: str, terms: list[str]) -> None:
    assert len(snippet(find("a", body=text), terms)) <= SNIPPET_CHARACTERS + 20
    terms_of(text)
    words_of(text)
