"""The carrier's signature: who else knows our URLs must not be able to tell us how a call ended."""

import hmac
import json
from typing import Annotated
from urllib.parse import parse_qs, parse_qsl, urlparse

from fastapi import Depends, Request
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator, add_port, get_signature_algorithm, remove_port

from switchboard_api.auth import RuntimeDep
from switchboard_api.problems import Problem
from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings

log = get_logger(__name__)

SIGNATURE = "X-Twilio-Signature"
_SETTINGS_HEADER = "X-Twilio-Webhooks-Signature-Settings"
_MAX_FIELDS = 1000


def signed_url(settings: Settings, request: Request) -> str:
    """The URL that the carrier was given and signs.

    Built from ``PUBLIC_URL`` and never from the Host header, which anybody can set. Path and query are taken as they
    came over the wire: decoding and encoding again might not give the same bytes.
    """
    raw_path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    url = settings.public_url + raw_path.decode("latin-1")
    return f"{url}?{query.decode('latin-1')}" if query else url


def parse_parameters(body: bytes, content_type: str) -> ImmutableMultiDict[str, str] | str:
    """The parameters of a form, or a JSON body as text.

    Raises:
        Problem: 400, the body is not what it says.
    """
    try:
        text = body.decode()
        if "json" in content_type:
            return text
        return ImmutableMultiDict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise Problem(400, "Malformed form", "The body is not a form in UTF-8.") from None


async def verified(request: Request, runtime: RuntimeDep) -> dict[str, str]:
    """The parameters of a request that the carrier signed.

    Raises:
        Problem: 403 when the signature is missing or wrong, 503 when this api has no token to check it with.
    """
    token = runtime.settings.twilio_auth_token.get_secret_value()
    if not token:
        # An empty token is known to everybody, so that anybody could sign with it.
        log.error("webhook refused: TWILIO_AUTH_TOKEN is not set")
        raise Problem(503, "Carrier not configured", "TWILIO_AUTH_TOKEN is not set: an administrator has to set it.")
    parameters = parse_parameters(await request.body(), request.headers.get("content-type", ""))
    algorithm = get_signature_algorithm(request.headers.get(_SETTINGS_HEADER))
    signature = request.headers.get(SIGNATURE, "")
    if not is_signed(signed_url(runtime.settings, request), parameters, signature, token, algorithm):
        log.warning("webhook refused: wrong signature", path=request.url.path, signed=SIGNATURE in request.headers)
        detail = "The signature is not the carrier's for this URL and body: check PUBLIC_URL and TWILIO_AUTH_TOKEN."
        raise Problem(403, "Wrong signature", detail)
    return _scalars(parameters) if isinstance(parameters, str) else dict(parameters)


def is_signed(
    url: str, parameters: ImmutableMultiDict[str, str] | str, signature: str, token: str, algorithm: str
) -> bool:
    """Whether the carrier signed a request: what ``RequestValidator.validate`` finds out, in constant time.

    The package compares character by character in Python. Here it only computes what a signature has to be.

    Args:
        url: that the carrier was given.
        parameters: of a form, or a JSON body, which counts only with its hash in the URL.
        signature: as sent.
        token: secret of the carrier's account.
        algorithm: ``HMAC_SHA1`` or ``HMAC_SHA256``.
    """
    validator, parsed, is_body_right = RequestValidator(token), urlparse(url), True
    form: ImmutableMultiDict[str, str] | dict[str, str]
    if isinstance(parameters, str):
        named = parse_qs(parsed.query).get("bodySHA256")
        if not named:
            return False  # without its hash in the URL a signature says nothing about a body
        is_body_right, form = _same(validator.compute_hash(parameters), named[0]), {}
    else:
        form = parameters
    try:
        # The carrier signs sometimes with the port and sometimes without.
        computed = [validator.compute_signature(port(parsed), form, algorithm) for port in (remove_port, add_port)]
    except ValueError:
        log.warning("webhook refused: unknown algorithm", algorithm=algorithm[:40])
        return False
    matches = [_same(one, signature) for one in computed]  # each of them in full, whatever the first one says
    return is_body_right and any(matches)


def _same(computed: str, sent: str) -> bool:
    return hmac.compare_digest(computed.encode(), sent.encode())


def _scalars(text: str) -> dict[str, str]:
    try:
        content = json.loads(text)
    except ValueError:
        raise Problem(400, "Malformed JSON", "The body is not JSON.") from None
    if not isinstance(content, dict):
        raise Problem(400, "Malformed JSON", "The body is not a JSON object.")
    return {key: str(value) for key, value in content.items() if isinstance(value, str | int | float)}


CarrierParameters = Annotated[dict[str, str], Depends(verified)]
"""Parameters of a signed webhook."""
