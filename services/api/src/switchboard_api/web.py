"""The pages for people: the application that ``make web`` builds from ``services/api/web``, served by the api itself.

Each page's path is a route of its own, and there is no catch-all: nothing else of the api can be shadowed, and a path
that does not exist stays a problem. Assets carry a hash of their content in their names, so a browser keeps them for
ever; the document that names them is asked for again each time.
"""

from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

BUILT = Path(__file__).parent / "web_dist"
"""Where ``make web`` puts the application, and where wheels and images have it."""

ASSETS = "/assets"

PAGES = (
    "/",
    "/sign-in",
    "/tasks",
    "/tasks/{id:int}",
    "/campaigns",
    "/campaigns/new",
    "/campaigns/{id:int}",
)
"""Paths that the application answers in the browser; ``web/src/router/routes.ts`` lists the same."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}

_NOT_BUILT = """<!doctype html>
<html lang="en">
<title>Switchboard</title>
<h1>The pages are not built</h1>
<p>Run <code>make web</code> in the checkout, then load this page again. The api itself works: see
<a href="/docs">its documentation</a>.</p>
</html>
"""


class _Assets(StaticFiles):
    """Files whose names change with their content."""

    async def check_config(self) -> None:
        """Accept a folder that is not there: before ``make web`` nothing is found in it, and that is all."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, for a year; whatever else it answers stays as it is."""
        response = await super().get_response(path, scope)
        if response.status_code in {200, 304}:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def install(app: FastAPI) -> None:
    """Add the pages and their assets, which need not be built yet."""
    built = BUILT
    # A session in a browser loads them once; compressed they are a third.
    assets = GZipMiddleware(_Assets(directory=built / "assets", check_dir=False), minimum_size=1024)
    app.mount(ASSETS, assets, name="assets")

    def page() -> HTMLResponse:
        try:
            # Read each time: built anew, it names other assets.
            return HTMLResponse((built / "index.html").read_bytes(), headers=_HEADERS)
        except FileNotFoundError:
            return HTMLResponse(_NOT_BUILT, 503, headers=_HEADERS)

    for path in PAGES:
        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
