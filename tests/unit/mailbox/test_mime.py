"""Reading mail as it is, which is not how it should be."""

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_core.mailbox import mime
from switchboard_core.mailbox.mime import Part

LEAF = (b"text", b"plain", (b"charset", b"utf-8"), None, None, b"7BIT", 76, 2)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (b"Hello", "Hello"),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?UTF-8?B?8J+SkA==?= and more", "💐 and more"),
        (b"=?iso-8859-1?q?caf=E9?=", "café"),
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("latin-1"), "Grüße"),
        (b"=?no-such-charset?q?caf=E9?=", "café"),
        (b"=?utf-8?q?=FF?=", "ÿ"),
        (b"=?utf-8?b?not base64!?=", "=?utf-8?b?not base64!?="),
        (b"a\x00b\r\n\tc\x7f", "a b c"),
        (b"", ""),
    ],
)
def test_a_field_is_decoded_as_it_was_meant_or_as_well_as_can_be(field: bytes, text: str) -> None:
    assert mime.decode_field(field) == text


def test_a_field_is_bounded() -> None:
    assert len(mime.decode_field(b"x" * 100_000)) == mime.MAX_HEADER_CHARACTERS


def test_a_field_that_is_made_to_be_slow_to_decode_takes_no_time() -> None:
    start = time.process_time()
    mime.decode_field(b"=?a?q?b" * 40_000)
    assert time.process_time() - start < 5


@given(st.binary(max_size=300))
def test_no_bytes_whatever_make_reading_raise(data: bytes) -> None:
    assert "\x00" not in mime.decode_field(data)
    mime.fields_of(data)
    mime.message_id_of(data)
    mime.date_of(data)
    mime.parameters_of(data)
    mime.decode_text(data, "utf-16")
    for encoding in ("base64", "quoted-printable", "7bit", "nonsense"):
        mime.decode_content(data, encoding)


def test_folded_and_repeated_fields_are_found() -> None:
    raw = b"Subject: one\r\n two\r\nTO: a\r\nTo : b\r\nnot a field\r\nX-Empty:\r\n"
    assert mime.fields_of(raw) == {"subject": [b"one two"], "to": [b"a", b"b"], "x-empty": [b""]}


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (b"<1@example.com>", "<1@example.com>"),
        (b" garbage <1@example.com> (comment)", "<1@example.com>"),
        (b"no brackets", None),
        (b"<has space@example.com>", None),
        ("<ü@example.com>".encode(), None),
        (b"<" + b"x" * 2000 + b">", None),
    ],
)
def test_a_message_id_is_one_that_can_be_looked_up(field: bytes, found: str | None) -> None:
    assert mime.message_id_of(field) == found


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (b"Mon, 7 Sep 2026 10:00:00 +0200", datetime(2026, 9, 7, 10, tzinfo=timezone(timedelta(hours=2)))),
        (b"Mon, 7 Sep 2026 10:00:00 -0000", datetime(2026, 9, 7, 10, tzinfo=UTC)),
        (b"yesterday", None),
        (b"Mon, 77 Sep 2026 99:00:00 +0200", None),
        (b"", None),
    ],
)
def test_a_date_has_a_zone_or_there_is_none(field: bytes, found: datetime | None) -> None:
    assert mime.date_of(field) == found


def test_the_parts_of_a_message_are_numbered_as_imap_does() -> None:
    pdf = (b"APPLICATION", b"PDF", (b"NAME", b"a.pdf"), None, None, b"BASE64", 125, None, (b"attachment", None))
    nested = ([LEAF, (b"text", b"html", None, None, None, b"quoted-printable", 9, 1)], b"alternative")
    parts = mime.parts_of(([nested, pdf], b"mixed", (b"boundary", b"b1"), None, None))
    assert [(part.section, part.content_type, part.attachment) for part in parts] == [
        ("1.1", "text/plain", False),
        ("1.2", "text/html", False),
        ("2", "application/pdf", True),
    ]
    assert parts[2] == Part("2", "application/pdf", None, "base64", 125, "a.pdf", attachment=True)
    assert mime.parts_of(LEAF)[0].section == "1"


def test_an_attached_message_is_one_part() -> None:
    envelope = (None,) * 10
    message = (b"message", b"rfc822", None, None, None, b"7bit", 300, envelope, ([LEAF, LEAF], b"mixed"), 9)
    assert [part.section for part in mime.parts_of(([LEAF, message], b"mixed"))] == ["1", "2"]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ((b"filename", b"a.pdf"), "a.pdf"),
        ((b"filename*", b"utf-8''%C3%A4.pdf"), "ä.pdf"),
        ((b"filename*0*", b"utf-8''%C3%A4", b"filename*1", b"bc.pdf"), "äbc.pdf"),
        ((b"FILENAME", b"=?utf-8?q?=C3=A4?=.pdf"), "ä.pdf"),
        ((b"filename*", b"no'x%zz"), "no'x%zz"),
        ((b"filename",), None),
        (None, None),
    ],
)
def test_the_name_of_an_attachment_in_all_its_spellings(parameters: Any, name: str | None) -> None:
    structure = (b"image", b"png", None, None, None, b"base64", 5, None, (b"attachment", parameters))
    assert mime.parts_of(structure)[0].filename == name


def test_a_disposition_as_one_string_is_understood_too() -> None:
    structure = (b"image", b"png", None, None, None, b"base64", 5, None, b'attachment; filename="x.png"')
    assert (mime.parts_of(structure)[0].filename, mime.parts_of(structure)[0].attachment) == ("x.png", True)


@pytest.mark.parametrize("structure", [None, (), (b"text",), 7, ([None, 7, (b"x",)], b"mixed"), b"text"])
def test_a_structure_that_is_none_has_no_parts(structure: Any) -> None:
    assert mime.parts_of(structure) == ()


def test_a_structure_nested_without_end_ends() -> None:
    structure: Any = LEAF
    for _ in range(500):
        structure = ([structure], b"mixed")
    assert mime.parts_of(structure) == ()


@pytest.mark.parametrize(
    ("data", "content"),
    [(b"QUJDREVGRw==", b"ABCDEFG"), (b"QUJD\r\nREVG\r\nRw", b"ABCDEFG"), (b"QUJDR", b"ABC"), (b"!", b"")],
)
def test_base64_that_was_cut_off_is_read_as_far_as_it_goes(data: bytes, content: bytes) -> None:
    assert mime.decode_content(data, "base64") == content
