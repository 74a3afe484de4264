"""What there is to watch.

An operator for the whole cluster is told by kopf's own watch which kinds come and go. One for some namespaces has no
rights for that: kopf looks once what there is, never watches what comes later, and when it may not watch a namespace
(any more) it gives up all of its watches without ending. So that is looked at before kopf starts, and when there is
more to watch later, or less, this process makes room for a new one.
"""

import asyncio
import contextlib
from dataclasses import dataclass

import structlog

from switchboard_operator.api import Api, ApiError
from switchboard_operator.kinds import SCALED_OBJECT, SWITCHBOARD

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

_ASK_AGAIN_S = 1.0


@dataclass(frozen=True)
class Scope:
    """What is watched.

    Attributes:
        namespaces: that may be watched; empty for all.
        left_out: namespaces that may not, or that do not exist.
        keda: KEDA is installed.
    """

    namespaces: tuple[str, ...]
    left_out: tuple[str, ...]
    keda: bool


async def await_scope(api: Api, namespaces: tuple[str, ...], stop: asyncio.Event) -> Scope | None:
    """Wait until there is something to watch.

    Args:
        api: the API server.
        namespaces: that are to be watched; none for all.
        stop: this process is to end.

    Returns:
        What is to be watched; None when ``stop`` came first.
    """
    told = ""
    while not stop.is_set():
        try:
            if not await api.serves(SWITCHBOARD):
                reason = "The custom resource definition is not there: install the chart switchboard-operator."
            else:
                permitted = await _permitted(api, namespaces)
                if permitted or not namespaces:
                    return await _scope(api, namespaces, permitted)
                reason = f"No namespace of WATCH_NAMESPACES may be read: {', '.join(namespaces)}."
        except ApiError as error:
            reason = error.message
        if reason != told:
            log.warning("waiting for the API server", reason=reason)
            told = reason
        await _wait(stop, _ASK_AGAIN_S)
    return None


async def leave_for_another(api: Api, scope: Scope, stop: asyncio.Event, every_s: float = 15.0) -> None:
    """Set ``stop`` when there is more to watch, or less, than this process watches.

    More is a namespace that was left out and may be watched now, or KEDA, which was installed; less is a namespace that
    was deleted, or in which the operator has no rights any more.

    Args:
        api: the API server.
        scope: what is watched.
        stop: this process is to end.
        every_s: how often to look, in seconds; kopf tries for most of a minute before it gives up.
    """
    while not stop.is_set():
        await _wait(stop, every_s)
        try:
            more = await _permitted(api, scope.left_out)
            if not scope.keda and await api.serves(SCALED_OBJECT):
                more = (*more, "KEDA")
            still = await _permitted(api, scope.namespaces)
        except ApiError:
            # The API server is away; that is told elsewhere.
            continue
        if more:
            log.info("leaving, so that a new process watches more", more=more)
            stop.set()
        if lost := tuple(name for name in scope.namespaces if name not in still):
            log.warning("leaving, so that a new process watches the others: these may not be read any more", lost=lost)
            stop.set()


async def _scope(api: Api, namespaces: tuple[str, ...], permitted: tuple[str, ...]) -> Scope:
    left_out = tuple(name for name in namespaces if name not in permitted)
    for name in left_out:
        log.warning("namespace left out: it does not exist, or the operator has no rights in it", namespace=name)
    return Scope(permitted, left_out, keda=await api.serves(SCALED_OBJECT))


async def _permitted(api: Api, namespaces: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([name for name in namespaces if await api.may_list(SWITCHBOARD, name)])


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
