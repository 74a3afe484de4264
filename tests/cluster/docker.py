"""The Docker engine: the one that answers, or a private one that keeps its data in the cache folder."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.commands import lock, run, succeeds
from cluster.console import say, step
from cluster.errors import ClusterError
from cluster.settings import PACKAGE, cache_root

PACKAGES = "docker.io containerd runc containernetworking-plugins iptables conntrack debootstrap jq"
# From a range reserved for documentation, so that it meets no network that this machine can reach.
BRIDGE = "198.51.101.1/24"
RUNTIME = "without-sys-resource"
CAP_SYS_RESOURCE = 24
# The machine's containerd, where one runs, is used under names of our own.
CONTAINERD_NAMES = ("--containerd-namespace=switchboard", "--containerd-plugins-namespace=plugins.switchboard")
LONGEST_SOCKET_PATH = 107
SECONDS_TO_START = 60.0
SECONDS_TO_STOP = 60.0
LINES_OF_LOG = 10


def folder() -> Path:
    """Return the folder of the private engine: its data, socket, pid file and log."""
    return cache_root() / "docker"


def find() -> dict[str, str] | None:
    """Return the environment that reaches an engine that answers, or None.

    It is the one that ``DOCKER_HOST`` names and no other; without that the machine's own, or else the private one.
    """
    if not shutil.which("docker"):
        return None
    machine = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    private = {**machine, "DOCKER_HOST": _host(folder())}
    for env in (dict(os.environ),) if _chosen_host() else (machine, private):
        if succeeds(["docker", "info"], env=env):
            return env
    return None


def environment() -> dict[str, str]:
    """Return the environment in which ``docker`` and ``kind`` reach the engine that is in use.

    Raises:
        ClusterError: no engine answers.
    """
    if found := find():
        return found
    raise ClusterError("No Docker engine answers; start one with `make cluster` or `python -m cluster docker`.")


def ensure() -> dict[str, str]:
    """Find a Docker engine that answers or start a private one, and return the environment that reaches it.

    Raises:
        ClusterError: none answers and none can be started here.
    """
    if found := find():
        return found
    with lock(cache_root() / "docker.lock"):
        if found := find():
            return found
        if refusal := why_no_engine(sys.platform, os.geteuid(), _chosen_host()):
            raise ClusterError(refusal)
        if not (shutil.which("docker") and shutil.which("dockerd")):
            _install()
        _start()
    return environment()


def stop() -> None:
    """Stop the private engine, if it runs, and wait until it is gone; its data stays."""
    pid = _recorded_pid()
    if pid is None:
        say("no private Docker engine runs")
        return
    with step(f"stopping the private Docker engine (process {pid})"):
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            ended, _, _ = select.select([descriptor], [], [], SECONDS_TO_STOP)
        finally:
            os.close(descriptor)
        if not ended:
            raise ClusterError(
                f"The Docker engine (process {pid}) still runs after {SECONDS_TO_STOP:g} s; see {_log()}."
            )


def endpoint(env: Mapping[str, str]) -> str:
    """Return the address of the engine that an environment reaches."""
    if own := env.get("DOCKER_HOST"):
        return own
    return run(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], env=env).strip()


def why_no_engine(platform: str, user: int, chosen: str | None) -> str | None:
    """Return the sentence that says why no private engine can be started, or None when it can.

    Args:
        platform: as in ``sys.platform``.
        user: the effective user's number.
        chosen: the address of an engine that a person wants to be used and that does not answer.
    """
    if chosen:
        return f"The Docker engine at DOCKER_HOST={chosen} does not answer; start it, or unset DOCKER_HOST."
    if platform != "linux":
        return "No Docker engine answers; start Docker (Docker Desktop, for example) and try again."
    if user != 0:
        return (
            "No Docker engine answers, and only root can start one: start Docker (`sudo systemctl start docker`)"
            " and let this user into its group, or run this as root."
        )
    return None


def engine_settings(home: Path, *, runtime: Sequence[str] | None) -> dict[str, object]:
    """Return the private engine's configuration.

    Args:
        home: the folder in which it keeps everything; nothing of an engine that the machine may have is touched.
        runtime: the program and arguments that stand in for runc, or None for runc itself.
    """
    settings: dict[str, object] = {
        "data-root": str(home / "data"),
        "exec-root": str(home / "run"),
        "pidfile": str(home / "dockerd.pid"),
        "hosts": [_host(home)],
        "bip": BRIDGE,
    }
    if runtime:
        program, *arguments = runtime
        settings["runtimes"] = {RUNTIME: {"path": program, "runtimeArgs": arguments}}
        settings["default-runtime"] = RUNTIME
    return settings


def has_capability(status: str, number: int) -> bool:
    """Return whether the effective capabilities in the text of ``/proc/<pid>/status`` hold one."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _host(home: Path) -> str:
    return f"unix://{home / 'docker.sock'}"


def _chosen_host() -> str | None:
    """Return ``DOCKER_HOST``, unless it is what a shell has from ``python -m cluster docker``."""
    host = os.environ.get("DOCKER_HOST")
    return None if host == _host(folder()) else host


def _log() -> Path:
    return folder() / "dockerd.log"


def _install() -> None:
    """Install the engine from Debian's packages."""
    if not shutil.which("apt-get"):
        raise ClusterError("No Docker engine is installed and there is no apt-get to install one: install Docker.")
    with step(f"installing {PACKAGES} with apt-get"):
        # A run level of 1 keeps the packages from starting services of the machine.
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        run(["apt-get", "update"], env=env)
        run(["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES.split()], env=env)


def _start() -> None:
    """Start the private engine and wait until it answers."""
    home = folder()
    if len(_host(home)) > LONGEST_SOCKET_PATH:
        raise ClusterError(f"The path {home} is too long for a socket; set SWITCHBOARD_CACHE_DIR to a shorter one.")
    home.mkdir(parents=True, exist_ok=True)
    if _recorded_pid() is None:
        # A pid file of a boot that is gone keeps the engine from starting when its number is taken by another process.
        (home / "dockerd.pid").unlink(missing_ok=True)
    configuration = home / "daemon.json"
    configuration.write_text(json.dumps(engine_settings(home, runtime=_runtime(home)), indent=2))
    with step(f"starting a private Docker engine in {home}"), _log().open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", "--config-file", configuration, *CONTAINERD_NAMES],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if name != "DOCKER_HOST"},
            start_new_session=True,
        )
        _await_answer(process)


def _await_answer(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not find():
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            last = _log().read_text(errors="replace").splitlines()[-LINES_OF_LOG:]
            raise ClusterError("\n".join([f"The Docker engine does not start; its log {_log()} ends with:", *last]))
        time.sleep(0.2)


def _runtime(home: Path) -> list[str] | None:
    if has_capability(Path("/proc/self/status").read_text(), CAP_SYS_RESOURCE):
        return None
    # A copy, for the engine outlives the checkout.
    script = shutil.copy(PACKAGE / "engine" / "runc_without_sys_resource.py", home)
    return [str(Path(sys.executable).resolve()), "-I", "-S", str(script)]


def _recorded_pid() -> int | None:
    """Return the private engine's process number if that process still is the engine."""
    try:
        pid = int((folder() / "dockerd.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except (OSError, ValueError):
        return None
    return pid if str(folder() / "daemon.json") in command.split("\0") else None
