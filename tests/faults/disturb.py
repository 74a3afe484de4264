"""Lets a planned fault begin, and lets it be over."""

from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from faults.plan import POSTGRES, Fault, Kind
from faults.scene import Scene

SLOW_S = 0.1
"""How late everything arrives, each way: a statement takes a fifth of a second, and a transaction a second."""


def begin(scene: Scene, fault: Fault) -> None:
    """Let a fault happen; it lasts until ``end``."""
    _BEGIN[fault.kind](scene, fault)


def end(scene: Scene, fault: Fault) -> list[str]:
    """Let a fault be over; returns the processes that were started again and are not ready yet."""
    match fault.kind:
        case Kind.KILL:
            for name in fault.targets:
                scene.stack.processes[name].start()
            return list(fault.targets)
        case Kind.STOP_BRIEFLY | Kind.STOP_FOR_LONG:
            for name in fault.targets:
                scene.stack.processes[name].resume()
        case Kind.REFUSE | Kind.HOLD | Kind.SLOW | Kind.AWAY | Kind.SILENT:
            for name in fault.targets:
                scene.proxies[name].pass_on()
        case Kind.RESTART_POSTGRES:
            assert scene.postgres is not None
            scene.postgres.start()
        case Kind.RESTART_VALKEY:
            assert scene.valkey is not None
            scene.valkey.start()
        case Kind.STORE_FULL:
            scene.full_store.unlink()
        case Kind.CUT | Kind.FLUSH:
            pass
    return []


def _kill(scene: Scene, fault: Fault) -> None:
    for name in fault.targets:
        scene.stack.processes[name].kill()


def _stop(scene: Scene, fault: Fault) -> None:
    for name in fault.targets:
        scene.stack.processes[name].pause()


def _cut(scene: Scene, fault: Fault) -> None:
    for name in fault.targets:
        scene.proxies[name].cut()


def _refuse(scene: Scene, fault: Fault) -> None:
    for name in fault.targets:
        scene.proxies[name].refuse()


def _hold(scene: Scene, fault: Fault) -> None:
    for name in fault.targets:
        scene.proxies[name].hold()


def _slow(scene: Scene, fault: Fault) -> None:
    for name in fault.targets:
        scene.proxies[name].slow(SLOW_S)


def _flush(scene: Scene, _fault: Fault) -> None:
    with redis.Redis.from_url(scene.valkey_url, socket_timeout=10, retry=Retry(NoBackoff(), 0)) as client:
        client.flushall()


def _shut_down(scene: Scene, fault: Fault) -> None:
    import signal

    if POSTGRES in fault.targets:
        assert scene.postgres is not None
        scene.postgres.kill(signal.SIGQUIT)
    else:
        assert scene.valkey is not None
        scene.valkey.kill()


def _fill_the_store(scene: Scene, _fault: Fault) -> None:
    scene.full_store.touch()


_BEGIN: dict[Kind, Callable[[Scene, Fault], None]] = {
    Kind.KILL: _kill,
    Kind.STOP_BRIEFLY: _stop,
    Kind.STOP_FOR_LONG: _stop,
    Kind.CUT: _cut,
    Kind.REFUSE: _refuse,
    Kind.HOLD: _hold,
    Kind.SLOW: _slow,
    Kind.AWAY: _refuse,
    Kind.SILENT: _hold,
    Kind.FLUSH: _flush,
    Kind.RESTART_VALKEY: _shut_down,
    Kind.RESTART_POSTGRES: _shut_down,
    Kind.STORE_FULL: _fill_the_store,
}
