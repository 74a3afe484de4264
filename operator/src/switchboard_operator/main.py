"""The operator process."""

import asyncio
import signal
import sys

import kopf
import structlog

from switchboard_operator.api import Api, KubernetesTransport, connect
from switchboard_operator.handlers import Index, registry_for, settings_for
from switchboard_operator.health import Pulse, serve
from switchboard_operator.kept import Kept
from switchboard_operator.lease import ApiLeaseStore, Elector
from switchboard_operator.logs import configure_logging
from switchboard_operator.observe import Key
from switchboard_operator.reconcile import Reconciler
from switchboard_operator.scaler import Scaler
from switchboard_operator.scope import await_scope, leave_for_another
from switchboard_operator.settings import Settings, SettingsError
from switchboard_operator.workqueue import WorkQueue

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

_BEAT_S = 1.0


def main() -> None:
    """Run the operator until SIGTERM; exits with 1 where the environment is wrong."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        sys.exit(f"switchboard-operator: {error}")
    configure_logging(settings.log_level, settings.log_format)
    pulse = Pulse()
    try:
        server = serve(pulse, "", settings.health_port)
    except OSError as error:
        sys.exit(
            f"switchboard-operator: port {settings.health_port} cannot be had ({error.strerror}): set HEALTH_PORT."
        )
    log.info("started", identity=settings.identity, health_port=server.server_port, namespaces=settings.namespaces)
    asyncio.run(run(settings, pulse))


async def run(settings: Settings, pulse: Pulse) -> None:
    """Watch on every replica, act on the one that leads."""
    transport = await connect()
    try:
        await _run(settings, pulse, transport)
    finally:
        await transport.close()


async def _run(settings: Settings, pulse: Pulse, transport: KubernetesTransport) -> None:
    queue: WorkQueue[Key] = WorkQueue()
    kept = Kept()
    index = Index(queue, kept)
    api = Api(transport)
    elector = Elector(ApiLeaseStore(api, settings.lease_namespace, settings.lease_name), settings.identity)
    scaler = Scaler(queue.add)
    reconciler = Reconciler(Api(transport, elector.write_window), kept, queue, scaler, settings.identity)

    async def act() -> None:
        # Somebody else may have led meanwhile.
        kept.clear()
        scaler.clear()
        index.queue_all()
        async with asyncio.TaskGroup() as group:
            group.create_task(reconciler.run(settings.workers))
            group.create_task(scaler.run())

    stop, watches_end = asyncio.Event(), asyncio.Event()
    _take_signals(stop)
    # Made before kopf starts: at its end kopf cancels every task that was made after.
    leading = asyncio.create_task(elector.run(act, stop), name="elector")
    beating = asyncio.create_task(_beat(pulse), name="pulse")
    watches = asyncio.create_task(_watch(settings, api, index, pulse, stop, watches_end), name="watches")
    await asyncio.wait({leading, watches}, return_when=asyncio.FIRST_COMPLETED)
    # First hand over, so that a successor acts at once; the watches take their time to end.
    stop.set()
    await leading
    watches_end.set()
    await watches
    beating.cancel()
    log.info("operator left")


async def _watch(
    settings: Settings, api: Api, index: Index, pulse: Pulse, stop: asyncio.Event, end: asyncio.Event
) -> None:
    """Watch until ``end``, as soon as there is something to watch."""
    scope = await await_scope(api, settings.namespaces, stop)
    if scope is None:
        return
    watching = asyncio.Event()
    helpers = [asyncio.create_task(_when_watching(watching, pulse, stop), name="readiness")]
    if settings.namespaces:
        helpers.append(asyncio.create_task(leave_for_another(api, scope, stop), name="scope"))
    try:
        await kopf.operator(
            registry=registry_for(index),
            settings=settings_for(namespaced=bool(settings.namespaces)),
            clusterwide=not settings.namespaces,
            namespaces=scope.namespaces,
            ready_flag=watching,
            stop_flag=end,
        )
    finally:
        for helper in helpers:
            helper.cancel()


async def _when_watching(watching: asyncio.Event, pulse: Pulse, stop: asyncio.Event) -> None:
    """Become ready, and take the signals back from kopf, which would end the watches first."""
    await watching.wait()
    _take_signals(stop)
    pulse.ready = True
    log.info("watching")


def _take_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _beat(pulse: Pulse) -> None:
    """Show that the event loop runs."""
    while True:
        pulse.beat()
        await asyncio.sleep(_BEAT_S)


if __name__ == "__main__":
    main()
