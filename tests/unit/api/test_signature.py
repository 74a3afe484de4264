"""The carrier's signature, made by the official validator and checked by the api."""

import asyncio
import hashlib
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from twilio.request_validator import RequestValidator

from switchboard_api.app import create_app
from switchboard_api.webhooks.signature import CarrierParameters
from switchboard_core.runtime import make_runtime
from switchboard_core.settings import Settings

TOKEN = "a-token-of-the-tests"
PUBLIC = "https://calls.example.com"
PATH = "/webhooks/test/status"
FORM = {"CallSid": "CA1", "CallStatus": "completed", "Empty": ""}

router = APIRouter(prefix="/webhooks/test")


@router.post("/{kind}")
async def echo(kind: str, form: CarrierParameters) -> dict[str, str]:
    """What the route gets."""
    return {**form, "kind": kind}


def make_app(public_url: str = PUBLIC, token: str = TOKEN) -> FastAPI:
    nobody: dict[str, Any] = {
        "database_url": "postgresql+psycopg://nobody:none@127.0.0.1:9/none",
        "redis_url": "redis://127.0.0.1:9/0",
    }
    settings = Settings(_env_file=None, public_url=public_url, twilio_auth_token=token, **nobody)
    app = create_app(make_runtime(settings, name="test"))
    app.include_router(router)
    return app


def post(app: FastAPI, url: str, **request: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:8000") as client:
            return await client.post(url, **request)

    return asyncio.run(send())


def signed(url: str, parameters: Any, token: str = TOKEN) -> dict[str, str]:
    return {"X-Twilio-Signature": RequestValidator(token).compute_signature(url, parameters)}


def test_a_signed_form_reaches_the_route() -> None:
    answer = post(make_app(), PATH, data=FORM, headers=signed(PUBLIC + PATH, FORM))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {**FORM, "kind": "status"}


def test_the_query_is_part_of_what_is_signed() -> None:
    query = "?attempt=0b5c&x=a%20b%2Fc"
    headers = signed(PUBLIC + PATH + query, FORM)
    assert post(make_app(), PATH + query, data=FORM, headers=headers).status_code == 200
    assert post(make_app(), PATH + "?attempt=other", data=FORM, headers=headers).status_code == 403


@pytest.mark.parametrize("url", ["https://calls.example.com:443", "https://calls.example.com"])
def test_the_carrier_may_sign_with_or_without_the_port(url: str) -> None:
    assert post(make_app(), PATH, data=FORM, headers=signed(url + PATH, FORM)).status_code == 200


def test_a_port_and_a_prefix_of_the_public_url_count() -> None:
    public = "http://calls.example.com:8443/sb"
    assert post(make_app(public), PATH, data=FORM, headers=signed(public + PATH, FORM)).status_code == 200


def test_the_host_header_does_not_count() -> None:
    headers = {**signed("http://evil.example" + PATH, FORM), "Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    assert post(make_app(), PATH, data=FORM, headers=headers).status_code == 403


@pytest.mark.parametrize("headers", [{}, {"X-Twilio-Signature": ""}, {"X-Twilio-Signature": "wrong"}])
def test_an_unsigned_request_is_refused_as_a_problem(headers: dict[str, str]) -> None:
    answer = post(make_app(), PATH, data=FORM, headers=headers)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Wrong signature"


def test_a_changed_form_is_refused() -> None:
    headers = signed(PUBLIC + PATH, FORM)
    assert post(make_app(), PATH, data={**FORM, "CallStatus": "busy"}, headers=headers).status_code == 403


def test_another_account_s_token_is_refused() -> None:
    assert post(make_app(), PATH, data=FORM, headers=signed(PUBLIC + PATH, FORM, "other")).status_code == 403


def test_without_a_token_nobody_can_sign() -> None:
    answer = post(make_app(token=""), PATH, data=FORM, headers=signed(PUBLIC + PATH, FORM, ""))
    assert answer.status_code == 503
    assert "TWILIO_AUTH_TOKEN" in answer.json()["detail"]


def test_a_field_that_comes_twice_is_signed_with_all_its_values() -> None:
    body = urlencode([("Digits", "2"), ("Digits", "1")])
    headers = {
        "X-Twilio-Signature": RequestValidator(TOKEN).compute_signature(
            PUBLIC + PATH + "", _Multi({"Digits": ["2", "1"]})
        ),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert post(make_app(), PATH, content=body, headers=headers).status_code == 200


class _Multi(dict[str, list[str]]):
    """What the validator takes for fields with several values."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


def test_a_json_body_is_held_against_its_hash() -> None:
    body = '{"CallSid": "CA1", "nested": {}, "number": 3}'
    path = f"{PATH}?bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    headers = {**signed(PUBLIC + path, {}), "Content-Type": "application/json"}
    answer = post(make_app(), path, content=body, headers=headers)
    assert answer.json() == {"CallSid": "CA1", "number": "3", "kind": "status"}
    assert post(make_app(), path, content=body.replace("CA1", "CA2"), headers=headers).status_code == 403


def test_a_json_body_without_a_hash_is_refused() -> None:
    headers = {**signed(PUBLIC + PATH, {}), "Content-Type": "application/json"}
    assert post(make_app(), PATH, content='{"CallSid": "CA1"}', headers=headers).status_code == 403


def test_a_body_that_is_no_text_is_refused() -> None:
    headers = {"X-Twilio-Signature": "x", "Content-Type": "application/x-www-form-urlencoded"}
    assert post(make_app(), PATH, content=b"\xff\xfe", headers=headers).status_code == 400


def test_a_body_that_is_too_large_is_refused_before_it_is_hashed() -> None:
    answer = post(make_app(), PATH, content=b"x" * (2 * 1024 * 1024), headers=signed(PUBLIC + PATH, {}))
    assert answer.status_code == 413
