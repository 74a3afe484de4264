"""Access tokens of a mailbox: fetched anew from the provider shortly before they end."""

import asyncio
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from switchboard_core.egress import Egress, EgressRefusedError
from switchboard_core.mailbox.errors import MailboxRefusedError, MailboxUnreachableError, WrongCredentialsError

RENEW_BEFORE_S = 120.0
TIMEOUT_S = 10.0
"""For all of it, however lively the answer trickles in."""

_PLAIN_JSON = {"Accept": "application/json", "Accept-Encoding": "identity"}
_MAX_ANSWER_BYTES = 64 * 1024
_DEFAULT_LIFETIME_S = 300.0
_CONNECT_AGAIN = "connect the mailbox again"
# RFC 6749, 5.2: these do not pass by themselves.
_FINAL = {
    "invalid_grant": f"access was withdrawn or has ended: {_CONNECT_AGAIN}.",
    "invalid_client": f"client id or secret are wrong: {_CONNECT_AGAIN} with the right ones.",
    "unauthorized_client": f"this client may not use refresh tokens: allow it there, then {_CONNECT_AGAIN}.",
}


@dataclass(frozen=True)
class Grant:
    """What the vault holds for a mailbox with OAuth2.

    Attributes:
        token_url: the provider's token endpoint.
        client_id: of the application.
        client_secret: of the application; None for a public client.
        refresh_token: buys access tokens.
        access_token: the last one bought.
        expires_at: when it ends, in seconds since 1970.
    """

    token_url: str
    client_id: str
    client_secret: str | None = field(repr=False)
    refresh_token: str = field(repr=False)
    access_token: str | None = field(default=None, repr=False)
    expires_at: float = 0.0

    def usable_at(self, now: float) -> bool:
        """Whether the access token is good for a while after ``now``, in seconds since 1970."""
        return self.access_token is not None and now < self.expires_at - RENEW_BEFORE_S

    def as_secret(self) -> dict[str, Any]:
        """For the vault."""
        return asdict(self)


def renew(grant: Grant, egress: Egress, now: float) -> Grant:
    """Buy a new access token.

    Args:
        grant: as stored.
        egress: opens the connection.
        now: in seconds since 1970.

    Returns:
        The grant with the new token, and with the new refresh token where the provider gives one.

    Raises:
        WrongCredentialsError: the provider gives no more: somebody has to connect the mailbox again.
        MailboxRefusedError: the endpoint may not be used, or does not do what it should.
        MailboxUnreachableError: it does not answer now.
    """
    form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token, "client_id": grant.client_id}
    if grant.client_secret is not None:
        form["client_secret"] = grant.client_secret
    host = urlsplit(grant.token_url).hostname or ""
    status, answer = _ask(grant.token_url, host, form, egress)
    if status != httpx.codes.OK:
        raise _refusal(host, status, answer)
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise MailboxRefusedError(f"{host} gave no access token: check the token URL, then {_CONNECT_AGAIN}.")
    rotated = answer.get("refresh_token")
    return replace(
        grant,
        access_token=token,
        expires_at=now + _lifetime_s(answer.get("expires_in")),
        refresh_token=rotated if isinstance(rotated, str) and rotated else grant.refresh_token,
    )


def _ask(url: str, host: str, form: dict[str, str], egress: Egress) -> tuple[int, dict[str, Any]]:
    try:
        if urlsplit(url).scheme != "https" and not egress.trusts(host, urlsplit(url).port or 80):
            raise MailboxRefusedError(f"The token URL on {host} is not encrypted: use its https address.")
        # On a loop of its own: the blocking client can bound no more than the silence between two bytes.
        return asyncio.run(_post(url, form, egress))
    except EgressRefusedError as error:
        raise MailboxRefusedError(str(error)) from error
    except (httpx.HTTPError, OSError) as error:  # TimeoutError is an OSError
        msg = f"{host}, which gives the access tokens, cannot be reached."
        raise MailboxUnreachableError(msg) from error


async def _post(url: str, form: dict[str, str], egress: Egress) -> tuple[int, dict[str, Any]]:
    async with (
        asyncio.timeout(TIMEOUT_S),
        httpx.AsyncClient(transport=egress.async_transport(), timeout=TIMEOUT_S) as client,
        client.stream("POST", url, data=form, headers=_PLAIN_JSON) as response,
    ):
        return response.status_code, await _json(response)


async def _json(response: httpx.Response) -> dict[str, Any]:
    """The answer's object, or an empty one where there is none or it is far too large to be one."""
    body = b""
    async for chunk in response.aiter_raw():  # not unpacked: what is small on the wire may be large in memory
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            return {}
    try:
        found = httpx.Response(200, content=body).json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(host: str, status: int, answer: dict[str, Any]) -> Exception:
    # The provider's own words may quote what was sent, so only its code is looked at.
    code = answer.get("error")
    if isinstance(code, str) and code in _FINAL:
        return WrongCredentialsError(f"{host} gives no access token any more, {_FINAL[code]}")
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return MailboxUnreachableError(f"{host}, which gives the access tokens, is in trouble (status {status}).")
    return MailboxRefusedError(
        f"{host} refused to give an access token (status {status}): check the token URL, then {_CONNECT_AGAIN}."
    )


def _lifetime_s(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return _DEFAULT_LIFETIME_S
