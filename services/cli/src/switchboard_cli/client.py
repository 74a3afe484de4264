"""The api as commands use it: requests that are sent again safely, pages, and every error in one sentence."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Self

import httpx

from switchboard_cli.errors import CliError
from switchboard_cli.output import Json, clean

PAGE_SIZE = 200
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TRIES = 3
_PAUSE_S = 1.0

Params = Mapping[str, str | int | bool | list[str] | None]
Content = Callable[[], Iterable[bytes]]


class ApiError(CliError):
    """The api refused a request, or could not be asked.

    Attributes:
        http_status: of the answer; None when there was none.
    """

    def __init__(self, sentence: str, http_status: int | None = None) -> None:
        super().__init__(sentence)
        self.http_status = http_status

    @property
    def passing(self) -> bool:
        """Whether asking again later may help: no answer, or the answer of a server in trouble."""
        return self.http_status is None or self.http_status == 429 or self.http_status >= 500


class ApiClient:
    """A connection to the api with one business's key.

    Args:
        url: where the api is, such as ``http://127.0.0.1:8000``.
        api_key: sent with every request.
        timeout_s: how long an answer may take.

    Raises:
        CliError: url or key cannot be right.
    """

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 30.0) -> None:
        self.url = _checked_url(url)
        self.headers = {"Authorization": f"Bearer {_checked_key(api_key)}"}
        self.is_local = self.url.host in _LOOPBACK
        self._timeout_s = timeout_s
        # A proxy of the environment must not stand between us and loopback.
        self._http = httpx.Client(
            base_url=self.url, headers=self.headers, timeout=timeout_s, trust_env=not self.is_local
        )

    def get(self, path: str, params: Params | None = None) -> Any:  # noqa: ANN401 - JSON of any kind
        """The answer to a GET.

        Raises:
            ApiError: there was none, or it was not a success.
        """
        return self._answer(self._send("GET", path, params=_given(params)))

    def post(self, path: str, body: Json | None = None) -> Any:  # noqa: ANN401
        """The answer to a POST, which has its effect once, however often it has to be sent.

        Raises:
            ApiError: there was none, or it was not a success.
        """
        return self._once(lambda headers: self._send("POST", path, json=body, headers=headers))

    def put(self, path: str, body: Json) -> Any:  # noqa: ANN401
        """The answer to a PUT.

        Raises:
            ApiError: there was none, or it was not a success.
        """
        return self._answer(self._send("PUT", path, json=body))

    def delete(self, path: str) -> None:
        """Have something deleted.

        Raises:
            ApiError: there was no answer, or it was not a success.
        """
        self._answer(self._send("DELETE", path))

    def document(self, method: str, path: str, params: Params | None = None, body: Json | None = None) -> bytes:
        """The content of an answer that is no JSON.

        Raises:
            ApiError: there was none, or it was not a success.
        """
        response = self._send(method, path, params=_given(params), json=body)
        if not response.is_success:
            raise ApiError(self._problem(response), response.status_code)
        return response.content

    def upload(
        self,
        path: str,
        content: Content,
        params: Params,
        *,
        content_type: str = "text/csv",
        timeout_s: float = 900.0,
    ) -> Any:  # noqa: ANN401
        """The answer to a POST of a file.

        Args:
            path: of the route.
            content: opens the file from its start; called again when it has to be sent again.
            params: query of the request.
            content_type: of the file.
            timeout_s: how long the answer may take once everything was sent.

        Raises:
            ApiError: there was none, or it was not a success.
        """
        return self._once(
            lambda headers: self._send(
                "POST",
                path,
                params=_given(params),
                content=content(),
                headers={**headers, "Content-Type": content_type},
                timeout=timeout_s,
            )
        )

    def items(self, path: str, params: Params | None = None, *, limit: int | None = None) -> list[Json]:
        """Items of a listing, from as many pages as it takes.

        Args:
            path: of the listing.
            params: its filters.
            limit: how many at most; None for all.
        """
        return list(islice(self._pages(path, dict(params or {}), limit), limit))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pages(self, path: str, params: dict[str, Any], limit: int | None) -> Iterator[Json]:
        params["limit"] = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit)
        while True:
            page = self.get(path, params)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    def _once(self, send: Callable[[dict[str, str]], httpx.Response]) -> Any:  # noqa: ANN401
        """Send under one Idempotency-Key until there is an answer: the api replays it where the first one was lost."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        for last_try in (*(False for _ in range(_TRIES - 1)), True):
            try:
                response = send(headers)
            except _AnswerLostError as error:
                if last_try:
                    raise ApiError(str(error)) from None
                continue
            if _still_at_work(response) and not last_try:
                time.sleep(_PAUSE_S)
                continue
            return self._answer(response)
        raise AssertionError("unreachable")

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
        try:
            return self._http.request(method, path, **options)
        except httpx.ConnectError:
            raise ApiError(self._nobody_there()) from None
        except httpx.TimeoutException:
            raise _AnswerLostError(
                f"The api at {self.url} did not answer within {self._timeout_s:g} s: look at its log and try again."
            ) from None
        except httpx.TransportError as error:
            raise _AnswerLostError(
                f"The connection to the api at {self.url} broke off ({error or type(error).__name__}): try again."
            ) from None

    def _nobody_there(self) -> str:
        hint = "start one with `switchboard serve api`, or " if self.is_local else ""
        return f"No api answers at {self.url}: {hint}say where it is with --url or SWITCHBOARD_URL."

    def _answer(self, response: httpx.Response) -> Any:  # noqa: ANN401
        if not response.is_success:
            raise ApiError(self._problem(response), response.status_code)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise ApiError(
                f"What answers at {self.url} is not Switchboard's api: check --url or SWITCHBOARD_URL."
            ) from None

    def _problem(self, response: httpx.Response) -> str:
        """The sentence of a problem (RFC 9457), or what can be said without one."""
        if not response.headers.get("content-type", "").startswith("application/problem+json"):
            return (
                f"{self.url} answered {response.status_code} {response.reason_phrase}, not as Switchboard's api does: "
                "check --url or SWITCHBOARD_URL."
            )
        detail = clean(response.json()["detail"])
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return f"{detail} Pass it with --api-key or SWITCHBOARD_API_KEY."
        return detail


class _AnswerLostError(ApiError):
    """Whether the request had its effect is not known."""


def _still_at_work(response: httpx.Response) -> bool:
    return response.status_code == httpx.codes.CONFLICT and "request-in-flight" in response.text


def _given(params: Params | None) -> dict[str, Any]:
    """Query parameters without those that were left out."""
    return {name: value for name, value in (params or {}).items() if value is not None}


def _checked_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url.rstrip("/"))
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise CliError(f"{clean(url)!r} is not where an api can be: give a URL such as http://127.0.0.1:8000.", 2)
    return parsed


def _checked_key(api_key: str) -> str:
    key = api_key.strip()
    if not key:
        raise CliError(
            "An API key is needed: pass --api-key or set SWITCHBOARD_API_KEY "
            "(`switchboard business create NAME` prints one).",
            2,
        )
    if not (key.isascii() and key.isprintable()):
        raise CliError("The API key has characters that no key has: check that it was copied whole.", 2)
    return key
