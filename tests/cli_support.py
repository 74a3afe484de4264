"""The command line as a person or a script runs it, against a running stack."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from typer.testing import CliRunner

from stack import Stack
from switchboard_cli.main import app


@dataclass(frozen=True)
class Ran:
    """What a command printed, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Each line as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Cli:
    """The command line of one business."""

    stack: Stack
    business_id: int
    key: str
    url: str

    @property
    def env(self) -> dict[str, str]:
        return {"SWITCHBOARD_URL": self.url, "SWITCHBOARD_API_KEY": self.key}

    def __call__(self, *arguments: str, **env: str) -> Ran:
        """Run a command in this process: quick, and the code is the same."""
        return self._run(arguments, env)

    def asked(self, answer: str, *arguments: str) -> Ran:
        """Run a command that asks something; an empty answer is the end of the input."""
        return self._run(arguments, {}, f"{answer}\n" if answer else "")

    def _run(self, arguments: tuple[str, ...], env: dict[str, str], answer: str | None = None) -> Ran:
        result = CliRunner().invoke(app, arguments, env=self.env | env, input=answer)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def ok(self, *arguments: str) -> Any:
        """Run a command that succeeds with ``--json``; what it printed."""
        ran = self(*arguments, "--json")
        assert (ran.status, ran.err) == (0, "")
        return ran.json


def started(*arguments: str, **env: str) -> subprocess.Popen[str]:
    """Start a command as a process of its own, away from the environment of the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "switchboard_cli", *arguments],
        env=kept | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(*arguments: str, **env: str) -> Ran:
    """Run a command as a process of its own, to its end."""
    with started(*arguments, **env) as process:
        out, err = process.communicate(timeout=60)
    return Ran(process.returncode, out, err)


@contextmanager
def without_websockets(api_url: str) -> Iterator[str]:
    """A proxy before the api that lets no WebSocket through, as some in the wild; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "Upgrade" in self.headers:
                self.send_error(426)
                return
            headers = {"Authorization": self.headers["Authorization"]}
            answer = httpx.get(api_url + self.path, headers=headers, timeout=10)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
