"""Callbacks on the wire, signed as the carrier signs them."""

import asyncio
from urllib.parse import parse_qsl

import httpx
import pytest
from twilio.request_validator import RequestValidator

from switchboard_simulator.callbacks import Webhook
from switchboard_simulator.courier import http_client, signed_request

TOKEN = "12345"
VECTOR = {
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+14158675309",
    "Caller": "+14158675309",
    "To": "+18005551212",
}


def request_for(url: str, method: str = "POST", params: dict[str, str] | None = None) -> httpx.Request:
    webhook = Webhook("status", "AC1", "CA1", url, method, VECTOR if params is None else params, token="token-1")

    async def build() -> httpx.Request:
        async with http_client() as client:
            return signed_request(client, webhook, TOKEN)

    return asyncio.run(build())


def test_the_carriers_own_example_is_signed_as_the_carrier_signs_it() -> None:
    request = request_for("https://mycompany.com/myapp.php?foo=1&bar=2")
    assert request.headers["X-Twilio-Signature"] == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/webhooks/twilio/status?attempt=1&business=2",
        "https://example.com/webhooks",
        "https://example.com:8443/webhooks?a=b%20c&d=%2B1",
        "http://example.com/ünï?q=ö",
        "https://example.com/path#rc=2",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_validator_accepts_what_arrives(url: str, method: str) -> None:
    request = request_for(url, method)
    arrived = dict(parse_qsl(request.content.decode()))
    signature = request.headers["X-Twilio-Signature"]
    assert RequestValidator(TOKEN).validate(str(request.url), arrived, signature)
    assert "#" not in str(request.url)


def test_the_validator_refuses_another_token_and_changed_parameters() -> None:
    request = request_for("https://example.com/webhooks")
    signature = request.headers["X-Twilio-Signature"]
    assert not RequestValidator("other").validate(str(request.url), VECTOR, signature)
    assert not RequestValidator(TOKEN).validate(str(request.url), {**VECTOR, "Digits": "9"}, signature)


def test_every_webhook_carries_its_idempotency_token() -> None:
    assert request_for("https://example.com/").headers["I-Twilio-Idempotency-Token"] == "token-1"


def test_a_get_carries_its_parameters_in_the_address() -> None:
    request = request_for("https://example.com/hook?attempt=1", "GET", {"CallSid": "CA1"})
    assert str(request.url) == "https://example.com/hook?attempt=1&CallSid=CA1"
    assert request.content == b""
