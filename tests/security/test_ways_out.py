"""Connections leave through ``switchboard_core.egress``, or to what the installation itself named: nowhere else.

Read from the source, so that a new way out fails here before somebody points it at the network inside.
"""

import ast
from collections.abc import Iterator, Mapping

import pytest

from docs_pages import ROOT

SERVICES = ("core", "api", "worker", "recorder")

OPENERS: Mapping[str, set[str] | None] = {
    "aiohttp": None,
    "asyncio": {"open_connection", "open_unix_connection", "create_connection", "start_server"},
    "boto3": None,
    "ftplib": None,
    "http.client": None,
    "http.server": {"HTTPServer", "ThreadingHTTPServer"},
    "httpcore": {
        *("AnyIOBackend", "SyncBackend", "TrioBackend", "ConnectionPool", "AsyncConnectionPool"),
        *("HTTPProxy", "SOCKSProxy", "request", "stream"),
    },
    "httpx": {
        *("Client", "AsyncClient", "HTTPTransport", "AsyncHTTPTransport"),
        *("request", "stream", "get", "post", "put", "patch", "delete", "head", "options"),
    },
    "imapclient": {"IMAPClient"},
    "imaplib": {"IMAP4", "IMAP4_SSL", "IMAP4_stream"},
    "poplib": None,
    "requests": None,
    "smtplib": {"SMTP", "SMTP_SSL", "LMTP"},
    "socket": {"socket", "create_connection", "create_server", "socketpair", "fromfd"},
    "socketserver": None,
    "telnetlib": None,
    "twilio.rest": {"Client"},
    "urllib.request": None,
    "urllib3": None,
    "websockets": None,
    "xmlrpc": None,
}
"""What opens a connection or listens, by module; None: whatever is taken from it."""

ALLOWED = {
    # The one way to hosts that businesses name.
    "switchboard_core/egress.py": {
        *("socket.create_connection", "httpx.HTTPTransport", "httpx.AsyncHTTPTransport"),
        *("httpcore.ConnectionPool", "httpcore.AsyncConnectionPool", "httpcore.SyncBackend", "httpcore.AnyIOBackend"),
    },
    # Protocols over a socket or a transport that egress made; see the tests below.
    "switchboard_core/ledger/accounting_api.py": {"httpx.AsyncClient"},
    "switchboard_core/mailbox/connection.py": {"imaplib.IMAP4", "imapclient.IMAPClient"},
    "switchboard_core/mailbox/oauth.py": {"httpx.AsyncClient"},
    "switchboard_core/outbox/smtp.py": {"smtplib.SMTP"},
    # To the carrier, whose address the installation sets; recordings only from there, see media_url.py.
    "switchboard_core/calls/twilio_carrier.py": {"httpx.Client", "twilio.rest.Client"},
    "switchboard_recorder/download.py": {"httpx.Client"},
    # To the bucket, whose address the installation sets.
    "switchboard_recorder/store_s3.py": {"boto3.session.Session"},
    # These listen.
    "switchboard_api/server.py": {"socket.socket"},
    "switchboard_core/process.py": {"http.server.ThreadingHTTPServer"},
}

THROUGH_EGRESS: Mapping[str, dict[str, str]] = {
    "switchboard_core/ledger/accounting_api.py": {},
    "switchboard_core/mailbox/connection.py": {
        "imaplib.IMAP4": "_create_socket",
        "imapclient.IMAPClient": "_create_IMAP4",
    },
    "switchboard_core/mailbox/oauth.py": {},
    "switchboard_core/outbox/smtp.py": {"smtplib.SMTP": "_get_socket"},
}
"""Modules that reach what businesses name: what they derive from, and where that would make a socket of its own."""


def modules() -> dict[str, str]:
    """The source of every module of the services, by its path."""
    found: dict[str, str] = {}
    for service in SERVICES:
        root = ROOT / "services" / service / "src"
        found |= {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    return found


MODULES = modules()


def openers(source: str) -> set[str]:
    """What of a module opens connections or listens: calls, base classes and values, but no annotations."""
    tree = ast.parse(source)
    return {name for name in _used(tree, dict(_imported(tree))) if _is_opener(name)}


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What each imported name stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _used(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """Everything imported that a module uses, in full: ``socket.create_connection``, however it is written."""
    if dotted := _dotted(node, names):
        yield dotted
        return
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns"}:
            continue  # a type opens nothing
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _used(child, names)


def _dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        parent = _dotted(node.value, names)
        return f"{parent}.{node.attr}" if parent else None
    return None


def _is_opener(name: str) -> bool:
    return any(
        name.startswith(f"{module}.") and (members is None or name.removeprefix(f"{module}.") in members)
        for module, members in OPENERS.items()
    )


def unchecked(source: str, bases: dict[str, str]) -> list[str]:
    """What of a module that has to go through egress goes past it."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (called := _dotted(node.func, names)) and _is_opener(called):
            transports = [word.value for word in node.keywords if word.arg == "transport"]
            if not called.startswith("httpx.") or not any(_of_egress(value) for value in transports):
                found.append(f"{node.lineno}: {called}")
        if isinstance(node, ast.ClassDef):
            own = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            derived = [name for base in node.bases if (name := _dotted(base, names)) and _is_opener(name)]
            found += [f"{node.lineno}: {name}" for name in derived if bases.get(name) not in own]
    if not any(_of_egress(node) for node in ast.walk(tree)):
        found.append("egress is never asked")
    return found


def _of_egress(node: ast.AST) -> bool:
    """Whether this is ``egress.connect(…)``, ``self._egress.transport()`` or the like."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    asked, whom = node.func.attr, node.func.value
    name = whom.attr if isinstance(whom, ast.Attribute) else whom.id if isinstance(whom, ast.Name) else ""
    return asked in {"connect", "transport", "async_transport"} and name.lstrip("_") == "egress"


def test_only_these_modules_open_connections() -> None:
    assert len(MODULES) > 200
    found = {module: ways for module, source in MODULES.items() if (ways := openers(source))}
    assert found == ALLOWED


@pytest.mark.parametrize("module", THROUGH_EGRESS)
def test_what_a_business_names_is_reached_through_egress(module: str) -> None:
    assert unchecked(MODULES[module], THROUGH_EGRESS[module]) == []


@pytest.mark.parametrize(
    ("planted", "way"),
    [
        ("import socket\nsocket.create_connection(place)", "socket.create_connection"),
        ("from socket import create_connection as dial\ndial(place)", "socket.create_connection"),
        ("import httpx\nwith httpx.Client() as client: pass", "httpx.Client"),
        ("from httpx import get\nget(url)", "httpx.get"),
        ("import requests as r\nr.post(url)", "requests.post"),
        ("import urllib.request\nurllib.request.urlopen(url)", "urllib.request.urlopen"),
        ("from urllib.request import urlopen\nurlopen(url)", "urllib.request.urlopen"),
        ("import smtplib\nclass Mine(smtplib.SMTP): pass", "smtplib.SMTP"),
        ("import imaplib\nwork(imaplib.IMAP4_SSL)", "imaplib.IMAP4_SSL"),
        ("import asyncio\nasync def f(): await asyncio.open_connection(h, p)", "asyncio.open_connection"),
        ("def f():\n    import http.client\n    http.client.HTTPConnection(h)", "http.client.HTTPConnection"),
    ],
)
def test_a_planted_way_out_is_noticed(planted: str, way: str) -> None:
    assert openers(planted) == {way}


@pytest.mark.parametrize(
    "harmless",
    [
        "import socket\ndef f(sock: socket.socket) -> socket.socket: sock.settimeout(socket.SO_ERROR)",
        "import imaplib\ntry: work()\nexcept imaplib.IMAP4.error: pass",
        "import httpx\nhttpx.URL(url).copy_with(fragment=None)",
        "from http import HTTPStatus\nHTTPStatus.OK",
    ],
)
def test_types_errors_and_addresses_are_no_way_out(harmless: str) -> None:
    assert openers(harmless) == set()


@pytest.mark.parametrize(
    "planted",
    [
        "import httpx\nhttpx.Client(timeout=3)\negress.connect(h, p, 3)",
        "import httpx\nhttpx.Client(transport=httpx.HTTPTransport())\negress.transport()",
        "import smtplib\nclass Mine(smtplib.SMTP): pass\nself._egress.connect(h, p, 3)",
        "import smtplib\nclass Mine(smtplib.SMTP):\n    def _get_socket(self): return made",
        "import smtplib\nsmtplib.SMTP(host)\nself.egress.connect(h, p, 3)",
    ],
)
def test_a_way_past_egress_is_noticed(planted: str) -> None:
    assert unchecked(planted, {"smtplib.SMTP": "_get_socket"})
