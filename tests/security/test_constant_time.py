"""Secrets that somebody sends are compared with ``hmac.compare_digest``, and with nothing else.

How long a comparison takes must not tell how much of a guess is right.
"""

import ast
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator

from docs_pages import ROOT
from integration.api_support import TOKEN, RunningApi, fresh_api
from switchboard_api.webhooks.signature import is_signed
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.tenancy.models import Role

INTERNAL_TOKEN = "the-autoscaler's-token"
PUBLIC = "https://calls.example.com"
FORM = {"CallSid": "CA1", "CallStatus": "completed"}

Compared = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    options = {"internal_token": INTERNAL_TOKEN, "public_url": PUBLIC}
    with fresh_api(postgres, migrated_template, valkey, **options) as made:
        yield made


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compared:
    """What is compared from now on; ``hmac`` and ``secrets`` have the same function."""
    assert secrets.compare_digest is hmac.compare_digest
    found: Compared = []
    real = hmac.compare_digest

    def spy(first: Any, second: Any) -> bool:
        found.append((first, second))
        return real(first, second)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    monkeypatch.setattr(secrets, "compare_digest", spy)
    return found


# Each secret


def test_an_api_key_is_compared_by_its_hash(api: RunningApi, compared: Compared) -> None:
    tenant = api.tenant()
    tenant.viewer.get("/api/leads").raise_for_status()
    digest = hashlib.sha256(tenant.secrets[Role.VIEWER].encode()).digest()
    assert compared == [(digest, digest)]


def test_a_key_that_nobody_has_is_looked_up_by_its_hash_and_compared_with_nothing(
    api: RunningApi, compared: Compared
) -> None:
    assert api.client("sbk_" + "x" * 43).get("/api/leads").status_code == 401
    assert compared == []


@pytest.mark.parametrize("sent", [INTERNAL_TOKEN, INTERNAL_TOKEN[:-1] + "x", "x", "ü"])
def test_the_autoscaler_s_token_is_compared_in_constant_time(api: RunningApi, compared: Compared, sent: str) -> None:
    headers = httpx.Headers({"Authorization": f"Bearer {sent}"}, encoding="latin-1")
    answer = api.client().get("/internal/autoscaling/calls", params={"queues": "calls"}, headers=headers)
    assert (answer.status_code == 401) is (sent != INTERNAL_TOKEN), answer.text
    assert [second for _, second in compared] == [INTERNAL_TOKEN.encode()]


@pytest.mark.parametrize("sent", ["right", "x", "", "ü"])
def test_a_webhook_s_signature_is_compared_in_constant_time(api: RunningApi, compared: Compared, sent: str) -> None:
    path = "/webhooks/twilio/status"
    validator = RequestValidator(TOKEN)
    signatures = [validator.compute_signature(f"{PUBLIC}{port}{path}", FORM) for port in ("", ":443")]
    given = signatures[0] if sent == "right" else sent
    headers = httpx.Headers({"X-Twilio-Signature": given}, encoding="latin-1")
    answer = api.client().post(path, data=FORM, headers=headers)
    assert answer.status_code == (204 if sent == "right" else 403)
    assert compared == [(one.encode(), given.encode()) for one in signatures]


def test_the_hash_of_a_webhook_s_body_is_compared_in_constant_time(api: RunningApi, compared: Compared) -> None:
    body, claimed = '{"CallSid": "CA1"}', "0" * 64
    path = f"/webhooks/twilio/status?bodySHA256={claimed}"
    signature = RequestValidator(TOKEN).compute_signature(PUBLIC + path, {})
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/json"}
    assert api.client().post(path, content=body, headers=headers).status_code == 403
    assert compared[0] == (hashlib.sha256(body.encode()).hexdigest().encode(), claimed.encode())
    assert len(compared) == 3


def test_a_json_body_whose_url_names_an_empty_hash_is_refused(api: RunningApi) -> None:
    for query in ("?bodySHA256=", "?x=1#bodySHA256=0"):
        headers = {"X-Twilio-Signature": "x", "Content-Type": "application/json"}
        answer = api.client().post(f"/webhooks/twilio/status{query}", content='{"a": 1}', headers=headers)
        assert answer.status_code == 403, answer.text


# The same answers as the carrier's own package gives

BODY = '{"CallSid": "CA1"}'
HASHED = f"?bodySHA256={hashlib.sha256(BODY.encode()).hexdigest()}"
URLS = [
    "https://calls.example.com/x",
    "https://calls.example.com:443/x",
    "http://calls.example.com/x?a=1",
    "http://calls.example.com:80/x",
    "http://calls.example.com:8443/sb/x?attempt=0b5c",
    f"https://calls.example.com/x{HASHED}",
    "https://calls.example.com/x?bodySHA256=" + "0" * 64,
]
ALGORITHMS = ["HMAC_SHA1", "HMAC_SHA256", "hmac_sha256", "HMAC_MD5", ""]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("signed_as", URLS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_the_carrier_s_package_takes_for_signed_is_signed(url: str, signed_as: str, algorithm: str) -> None:
    validator = RequestValidator(TOKEN)
    forms: Sequence[Any] = [ImmutableMultiDict([("Digits", "2"), ("Digits", "1"), ("Empty", "")]), BODY]
    for parameters in forms:
        is_text = isinstance(parameters, str)
        if is_text and "bodySHA256" not in url:
            continue  # refused here, whatever it is signed with
        for made_with in ("HMAC_SHA1", "HMAC_SHA256"):
            signature = validator.compute_signature(signed_as, {} if is_text else parameters, made_with)
            for sent in (signature, signature[:-1], signature.lower(), ""):
                expected = validator.validate(url, parameters, sent, algorithm)
                assert is_signed(url, parameters, sent, TOKEN, algorithm) is expected


# No other comparison

COMPARING = [
    "core/src/switchboard_core/tenancy/service.py",
    "api/src/switchboard_api/auth.py",
    "api/src/switchboard_api/entrance.py",
    "api/src/switchboard_api/routes/autoscaling.py",
    "api/src/switchboard_api/webhooks/signature.py",
]
SECRET = re.compile("secret|token|signature|digest|hash|credential|password|sent|computed|wanted", re.IGNORECASE)


def equals_on_secrets(source: str) -> list[int]:
    """Lines that compare something secret, by its name, with ``==`` or ``!=``."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and any(isinstance(sign, ast.Eq | ast.NotEq) for sign in node.ops)
        and any(SECRET.search(name) for side in (node.left, *node.comparators) for name in _names(side))
    ]


def _names(expression: ast.expr) -> list[str]:
    parts = list(ast.walk(expression))
    found = [part.id for part in parts if isinstance(part, ast.Name)]
    return found + [part.attr for part in parts if isinstance(part, ast.Attribute)]


@pytest.mark.parametrize("module", COMPARING)
def test_nothing_secret_is_compared_with_equals(module: str) -> None:
    assert equals_on_secrets((ROOT / "services" / module).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "row.key_hash == wanted",
        "if credentials.credentials.encode() != other: pass",
        "x = request.headers.get(SIGNATURE) == expected",
        "settings.internal_token.get_secret_value() == given",
    ],
)
def test_a_planted_comparison_is_noticed(planted: str) -> None:
    assert equals_on_secrets(planted) == [1]
