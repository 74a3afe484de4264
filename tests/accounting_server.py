"""A small accounting system on loopback, as docs/ledger.md describes one, that can misbehave on request."""

import base64
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

TOKEN = "an-accounting-token"

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    collection: str
    query: dict[str, str]
    etag: str | None


@dataclass(frozen=True)
class Answer:
    """What is sent instead of a page.

    Attributes:
        status: of the answer.
        body: its bytes.
        headers: further ones.
        cut: bytes of the body that are announced but never sent.
        wait: nothing is sent before it is set.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    wait: threading.Event | None = None


def _as_it_is(page: Json) -> Json:
    return page


@dataclass
class AccountingServer:
    """Its documents, what it was asked, and what goes wrong next.

    Attributes:
        page_limit: documents on a page, whatever is asked for; None: as asked.
        answers: sent instead of pages, one for each request, until there are none left.
        spoil: changes every page before it is sent.
    """

    url: str = ""
    page_limit: int | None = None
    asked: list[Asked] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    spoil: Callable[[Json], Json] = _as_it_is
    token: str = TOKEN
    collections: dict[str, dict[str, Json]] = field(default_factory=lambda: {"counterparties": {}, "transactions": {}})
    clock: int = 0
    _changed: dict[tuple[str, str], int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, collection: str, *documents: Json) -> None:
        """Add or change documents; each change is a new version."""
        with self._lock:
            for document in documents:
                self.clock += 1
                kept = {"version": self.clock, **document}
                self.collections[collection][str(document.get("id", f"nameless {self.clock}"))] = kept
                self._changed[collection, str(document.get("id", f"nameless {self.clock}"))] = self.clock

    def delete(self, collection: str, identity: str) -> None:
        """Delete a document: what is left says so."""
        self.put(collection, {"id": identity, "deleted": True})

    def answer(self, collection: str, query: dict[str, str], etag: str | None, token: str) -> Answer:
        """What a request gets."""
        with self._lock:
            self.asked.append(Asked(collection, query, etag))
            if self.answers:
                return self.answers.pop(0)
            if token != f"Bearer {self.token}":
                return Answer(401)
            if collection not in self.collections:
                return Answer(404)
            return self._page(collection, query, etag)

    def _page(self, collection: str, query: dict[str, str], etag: str | None) -> Answer:
        since = int(query.get("updated_since", 0))
        now = max((at for (of, _), at in self._changed.items() if of == collection), default=0)
        first = "cursor" not in query
        named = f'"{collection}-{since}-{now}"'
        if first and etag == named:
            return Answer(304, b"", {"ETag": named})
        after = int(base64.urlsafe_b64decode(query["cursor"])) if not first else since
        limit = self.page_limit or int(query["limit"])
        changes = sorted(
            (at, identity) for (of, identity), at in self._changed.items() if of == collection and at > after
        )
        shown = changes[:limit]
        following = None
        if len(changes) > limit:
            cursor = base64.urlsafe_b64encode(str(shown[-1][0]).encode()).decode()
            following = f"{collection}?{urlencode({'limit': limit, 'cursor': cursor})}"
        items = [self.collections[collection][identity] for _, identity in shown]
        page: Json = {"items": items, "next": following}
        if first:
            page["as_of"] = str(now)
        body = json.dumps(self.spoil(page)).encode()
        return Answer(200, body, {"ETag": named} if first else {})

    @property
    def pages(self) -> list[str]:
        """The collections that were asked for, request by request."""
        return [asked.collection for asked in self.asked]


def page(**fields: Any) -> Answer:
    """A page without documents, its fields changed."""
    return Answer(200, json.dumps({"items": [], **fields}).encode())


def bomb(size: int) -> Answer:
    """A few bytes that become ``size`` bytes."""
    return Answer(200, gzip.compress(b" " * size), {"Content-Encoding": "gzip"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Books/1", ""
    books: ClassVar[AccountingServer]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        answer = self.books.answer(
            parts.path.rpartition("/")[2],
            query,
            self.headers.get("If-None-Match"),
            self.headers.get("Authorization", ""),
        )
        if answer.wait is not None:
            answer.wait.wait(30)
        try:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) + answer.cut))
            self.end_headers()
            self.wfile.write(answer.body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if answer.cut:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


@contextmanager
def accounting_server(books: AccountingServer | None = None) -> Iterator[AccountingServer]:
    """Serve an accounting system on a free port."""
    made = books or AccountingServer()
    handler = type("Handler", (_Handler,), {"books": made})
    server = _Server(("127.0.0.1", 0), handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}/api/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def counterparty(identity: str, **more: Any) -> Json:
    """A counterparty as it is sent."""
    return {"id": identity, "name": f"Company {identity}", **more}


def transaction(identity: str, of: str | None = "C-1", **more: Any) -> Json:
    """A transaction as it is sent."""
    return {"id": identity, "amount": "119.90", "currency": "EUR", "date": "2026-01-26", "counterparty": of, **more}
