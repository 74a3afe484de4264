"""``/u/{token}``: the link at the end of a mail. No key: who has the token may opt its address out, and nothing else.

Opening the link changes nothing, because mail scanners open every link; the button does, and so does the mail program
that offers a button of its own (RFC 8058).
"""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse

from switchboard_api.auth import RuntimeDep
from switchboard_core.broadcasts.unsubscribe import UnknownLinkError, sender_of, unsubscribe

router = APIRouter(tags=["broadcasts"])

Token = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]

_HEADERS = {
    "Cache-Control": "no-store",
    # The token must not travel on, and the page needs nothing from anywhere.
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
}
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}}
button{{font:inherit;padding:.5rem 1.25rem}}</style></head>
<body><h1>{title}</h1><p>{text}</p>{form}</body>
</html>
"""
_FORM = '<form method="post"><button type="submit">Unsubscribe</button></form>'
_UNKNOWN = "This link is not known, or no longer: nothing was changed. Use the link of a newer message."
_EXAMPLE = {"content": {"text/html": {"example": "<!doctype html>…"}}}
_UNKNOWN_LINK = {**_EXAMPLE, "description": "A page that says so."}


def _page(title: str, text: str, *, form: str = "", status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=escape(title), text=escape(text), form=form), status, _HEADERS)


def _unknown() -> HTMLResponse:
    return _page("Unknown link", _UNKNOWN, status=404)


@router.get(
    "/u/{token}",
    summary="Ask whether to unsubscribe",
    response_class=HTMLResponse,
    responses={200: {**_EXAMPLE, "description": "A page with a button."}, 404: _UNKNOWN_LINK},
)
def ask(token: Token, runtime: RuntimeDep) -> HTMLResponse:
    """Changes nothing."""
    try:
        name = sender_of(runtime, token)
    except UnknownLinkError:
        return _unknown()
    return _page("Unsubscribe", f"Get no more of these messages from {name}?", form=_FORM)


@router.post(
    "/u/{token}",
    summary="Unsubscribe",
    response_class=HTMLResponse,
    responses={200: {**_EXAMPLE, "description": "Done; doing it again changes nothing."}, 404: _UNKNOWN_LINK},
)
def confirm(token: Token, runtime: RuntimeDep) -> HTMLResponse:
    """The address of this mail gets no more broadcasts of the business. Also one-click (RFC 8058); no body is read."""
    try:
        name = unsubscribe(runtime, token)
    except UnknownLinkError:
        return _unknown()
    return _page("Unsubscribed", f"You get no more of these messages from {name}.")
