"""The carrier's signature: who else knows our URLs must not be able to tell us how a call ended."""

import json
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator, get_signature_algorithm

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
    if not _is_signed(request, runtime.settings, RequestValidator(token), parameters):
        log.warning("webhook refused: wrong signature", path=request.url.path, signed=SIGNATURE in request.headers)
        detail = "The signature is not the carrier's for this URL and body: check PUBLIC_URL and TWILIO_AUTH_TOKEN."
        raise Problem(403, "Wrong signature", detail)
    return _scalars(parameters) if isinstance(parameters, str) else dict(parameters)


def _is_signed(
    request: Request, settings: Settings, validator: RequestValidator, parameters: ImmutableMultiDict[str, str] | str
) -> bool:
    if isinstance(parameters, str) and "bodySHA256" not in request.query_params:
        return False  # without its hash in the URL a signature says nothing about a body
    algorithm = get_signature_algorithm(request.headers.get(_SETTINGS_HEADER))
    signature = request.headers.get(SIGNATURE, "")
    return bool(validator.validate(signed_url(settings, request), parameters, signature, algorithm))


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
