"""No secret gets through, whatever stands around it; and what is no secret stays readable."""

import base64
import json
import string
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_switchboard.redact import Redactor, mask_phone, names_a_phone, names_a_secret

PATTERNS = Redactor(salt=b"salt")
SID = "AC" + "0123456789abcdef" * 2
TOKEN = "fedcba9876543210" * 2
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc\n-----END RSA PRIVATE KEY-----"

seeded = settings(max_examples=200, deadline=None, derandomize=True, database=None)
passwords = st.text(alphabet=string.ascii_letters + string.digits + "!@#$%^&*()_+-=[]{}|;:,.<>?/~\"'\\ é", min_size=8)
words = st.text(alphabet=string.printable + "éß☎", max_size=40)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("postgresql://app:hunter2@db:5432/calls", "postgresql://app:***@db:5432/calls"),
        ("postgresql+psycopg://app:p%40ss@db/calls?sslmode=require", "postgresql+psycopg://app:***@db/calls?sslmode=require"),
        ("redis://:hunter2@valkey:6379/0", "redis://:***@valkey:6379/0"),
        ("https://ghp_abcdefghijklmnopqrstuvwxyz@github.com/x", "https://***@github.com/x"),
        ("postgresql://app:p@ss@word@db/calls", "postgresql://app:***@db/calls"),
        ("connect to host=db password=hunter2 dbname=calls", "connect to host=db password=*** dbname=calls"),
        ('{"password": "hunter2", "user": "app"}', '{"password": "***", "user": "app"}'),
        (r"{\"password\": \"hun\\\"ter2\", \"user\": 1}", r"{\"password\": \"***\", \"user\": 1}"),
        ("token='hunter 2' next", "token='***' next"),
        ('password="hunter 2', 'password="***'),
        ("TWILIO_AUTH_TOKEN=abc DEBUG=1", "TWILIO_AUTH_TOKEN=*** DEBUG=1"),
        ("CREDENTIALS_KEYS=new,old DEBUG=1", "CREDENTIALS_KEYS=*** DEBUG=1"),
        ("apiKey: hunter2", "apiKey: ***"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: *** ***"),
        ("curl -H 'Bearer hunter2hunter2'", "curl -H 'Bearer ***'"),
        ("key sbk_3q2-7wXYabcdefgh was used", "key *** was used"),
        (f"got {JWT}.", "got ***."),
        ("id AKIAIOSFODNN7EXAMPLE", "id ***"),
        (f"before {PEM} after", "before *** after"),
        ("GET /x?access_token=hunter2 HTTP/1.1", "GET /x?access_token=*** HTTP/1.1"),
        ("dialling +14155551267 now", "dialling +1415*****67 now"),
        ("dialling +1 (415) 555-1267 now", "dialling +1415*****67 now"),
        ("to=%2B14155551267", "to=+1415*****67"),
        ("to=4155551267 state=ringing", "to=41555***67 state=ringing"),
        ("call (415) 555-1267.", "call 41555***67."),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_taken_out(text: str, cleaned: str) -> None:
    assert PATTERNS.text(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-26T11:05:20.123456Z INFO Release 1.0.0 serves.",
        "pod main-worker-calls-7d9f8b6c5d-x2k4p is ready on 10.244.0.17:8000",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "uid 6f0a2d52-1c1e-4a43-9e10-0f5b8c7e2a11, resourceVersion 1234567890",
        "https://calls.example.com/api/health answered 200 in 12 ms",
        "kubectl logs --namespace calls pod/main-migrate-2-expand-1-mlmfp",
        "WORKER_PICKED job_type=download_only business_id=42 retry=0",
        "The Secret twilio that spec.carrier.secretRef names does not exist: create it in namespace calls.",
        "queues high,default,low,receipts,receipts_sync,maintenance,broadcasts",
        '{"maxSurge": "25%", "terminationGracePeriodSeconds": 20}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert PATTERNS.text(text) == text


def test_identifiers_keep_their_identity_inside_one_report() -> None:
    other = SID[:-1] + "0"
    cleaned = PATTERNS.text(f"{SID} {other} {SID} {TOKEN}").split()
    assert cleaned[0] == cleaned[2] != cleaned[1]
    assert cleaned[0].startswith("AC***")
    assert all(secret not in " ".join(cleaned) for secret in (SID, other, TOKEN))


def test_identifiers_of_two_reports_cannot_be_compared() -> None:
    assert Redactor(salt=b"one").text(SID) != Redactor(salt=b"two").text(SID)


@pytest.mark.parametrize("secret", ["postgresql://app:hunter2@db/calls", "sbk_abcdefghijkl", f"sid {SID}", PEM])
def test_a_secret_in_base64_is_taken_out_without_being_known(secret: str) -> None:
    for run in (encoded(secret.encode()), encoded(encoded(secret.encode()).encode())):
        assert PATTERNS.text(f"value {run} end") == "value *** end"


@seeded
@given(secret=passwords, before=words, after=words)
def test_a_known_value_never_gets_through(secret: str, before: str, after: str) -> None:
    cleaned = Redactor([secret]).text(f"{before}{secret}{after}")
    assert secret not in cleaned
    assert encoded(secret.encode()) not in cleaned


@seeded
@given(secret=passwords, before=st.binary(max_size=8), after=st.binary(max_size=8))
def test_a_known_value_never_gets_through_inside_of_base64(secret: str, before: bytes, after: bytes) -> None:
    run = encoded(before + secret.encode() + after)
    cleaned = Redactor([secret]).text(f"blob {run} end")
    # What stands around it may stay; of the secret itself nothing that decodes to it.
    offset, length = len(before), len(secret.encode())
    inner = run[-(-offset * 8 // 6) : (offset + length) * 8 // 6]
    assert inner not in cleaned


@seeded
@given(secret=passwords)
def test_a_known_value_never_gets_through_in_the_form_of_something_else(secret: str) -> None:
    redactor = Redactor([secret])
    for form in (quote(secret, safe=""), json.dumps({"x": secret}), repr(secret), json.dumps(json.dumps(secret))):
        cleaned = redactor.text(form)
        assert secret not in cleaned
        assert quote(secret, safe="") not in cleaned


@seeded
@given(password=st.text(alphabet=string.ascii_letters + string.digits + "-._~!$&*+,;=:@/", min_size=6))
def test_the_password_of_a_known_url_is_known_too(password: str) -> None:
    url = f"postgresql://app:{quote(password, safe='')}@db/calls"
    redactor = Redactor([url])
    assert password not in redactor.text(f"authentication failed for app with {password} at db")
    assert quote(password, safe="") not in redactor.text(url)


@seeded
@given(text=words, secret=passwords)
def test_cleaning_twice_changes_nothing(text: str, secret: str) -> None:
    redactor = Redactor([secret], b"salt")
    once = redactor.text(text)
    assert redactor.text(once) == once


def test_the_parts_of_a_known_json_document_are_known_too() -> None:
    document = json.dumps({"type": "service_account", "private": {"material": "qwertzuiop-asdfghjkl"}})
    assert Redactor([document]).text("material qwertzuiop-asdfghjkl") == "material ***"


def test_each_key_of_a_known_list_is_known_too() -> None:
    newer, older = "3q2-7wXYabcdefgh3q2-7wXY", "Zk3q27wXYabcdefghZk3q27w"
    redactor = Redactor([f"{newer},{older}"])
    assert redactor.text(f"sealed with {older}, opened with {newer}") == "sealed with ***, opened with ***"


def test_a_known_value_that_is_an_ordinary_word_hides_no_secret_from_other_rules() -> None:
    redactor = Redactor(["token", "postgresql://app"])
    assert redactor.text("token=hunter2") == "***=***"
    assert redactor.text("to postgresql://app:hunter2@db failed") == "to ***:***@db failed"


def test_the_longest_form_goes_first() -> None:
    assert Redactor(["hunter22", "hunter22-and-more"]).text("x hunter22-and-more y") == "x *** y"


def test_a_short_value_is_only_taken_out_where_it_stands_alone() -> None:
    assert Redactor(["calls"]).text("calls recalls calls-2") == "*** recalls ***-2"


def test_a_value_that_is_too_short_is_not_looked_for() -> None:
    assert Redactor(["abc"]).text("abc") == "abc"


@pytest.mark.parametrize(
    "name", ["password", "DB_PASSWORD", "authToken", "auth_token", "apiKey", "AWS_SECRET_ACCESS_KEY"]
)
def test_a_name_says_secret(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name", ["secretName", "secretRef", "tokenExpirationSeconds", "key", "authTokenKey", "call_sid"]
)
def test_a_name_that_only_mentions_a_secret(name: str) -> None:
    assert not names_a_secret(name)


def test_a_phone_number_needs_a_name_and_digits() -> None:
    assert names_a_phone("to", "14155551267")
    assert names_a_phone("from_number", "+1 415 555 1267")
    assert not names_a_phone("number", "2")
    assert not names_a_phone("port", "14155551267")


@pytest.mark.parametrize(("number", "masked"), [("+14155551267", "+1415*****67"), ("123456", "******")])
def test_a_number_is_masked_as_the_services_do(number: str, masked: str) -> None:
    assert mask_phone(number) == masked
