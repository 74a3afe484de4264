"""``kubectl switchboard status``: one screen."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from kubectl_switchboard import gather, view
from kubectl_switchboard.cluster import Cluster
from kubectl_switchboard.errors import ClusterError, PluginError
from kubectl_switchboard.kinds import Json
from kubectl_switchboard.options import Context, Kubeconfig, Name, Namespace, open_cluster
from kubectl_switchboard.output import Output
from kubectl_switchboard.overview import build
from kubectl_switchboard.resource import Resource

NOT_READY = 1


class Format(StrEnum):
    """How a result is printed."""

    text = "text"
    json = "json"


class Look:
    """What was seen at a moment.

    Attributes:
        is_ready: everything that was asked for is ready.
        screen: for people.
        value: for machines.
    """

    def __init__(self, screen: RenderableType, value: Json, *, is_ready: bool) -> None:
        self.screen = screen
        self.value = value
        self.is_ready = is_ready


def status(
    name: Name = None,
    namespace: Namespace = None,
    *,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Look into every namespace.")] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="json is for machines.")] = Format.text,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.5, help="Seconds between two looks.")] = 2.0,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show how a Switchboard is and what to do about it.

    Without a name: the only one there is, or a list. Exit code: 0 when every one shown is ready, otherwise 1.
    """
    if name and all_namespaces:
        msg = "A name belongs to one namespace: leave -A out and say which with -n."
        raise PluginError(msg)
    cluster = open_cluster(kubeconfig, context, namespace)
    where = None if all_namespaces else cluster.namespace
    look = _one(cluster, name) if name else _any(cluster, where)
    out = Output()
    if watch:
        _watch(look, out, output, interval)
    found = look()
    if output is Format.json:
        out.json(found.value)
    else:
        out.show(found.screen)
    raise typer.Exit(0 if found.is_ready else NOT_READY)


def _one(cluster: Cluster, name: str) -> Callable[[], Look]:
    return lambda: _detailed(cluster, gather.find(cluster, name))


def _any(cluster: Cluster, namespace: str | None) -> Callable[[], Look]:
    def look() -> Look:
        found = gather.find_all(cluster, namespace)
        if len(found) == 1:
            only = _detailed(cluster, found[0])
            # Machines that name nothing always get a list, however many there are today.
            return Look(only.screen, {"items": [only.value]}, is_ready=only.is_ready)
        if not found:
            where = f"in namespace {namespace}: choose another one with -n, or -A for all" if namespace else "at all"
            msg = f"There is no Switchboard {where}."
            raise PluginError(msg)
        return _listed(found, namespaces=namespace is None)

    return look


def _detailed(cluster: Cluster, resource: Resource) -> Look:
    overview = gather.look_at(cluster, resource)
    return Look(view.screen(overview, datetime.now(UTC)), overview.as_json(), is_ready=resource.is_ready)


def _listed(resources: list[Resource], *, namespaces: bool) -> Look:
    value: Json = {"items": [build(each).as_json() for each in resources]}
    screen = view.listing(resources, datetime.now(UTC), namespaces=namespaces)
    return Look(screen, value, is_ready=all(each.is_ready for each in resources))


def _watch(look: Callable[[], Look], out: Output, output: Format, interval_s: float) -> None:
    """Go on until the process is interrupted; an API server that is away is waited for."""
    if output is Format.json or not out.is_terminal:
        last = None
        while True:
            found = look()
            if found.value != last:
                out.json_line(found.value) if output is Format.json else out.show(found.screen)
                last = found.value
            time.sleep(interval_s)
    screen: RenderableType = Text()
    with out.live() as live:
        while True:
            try:
                screen = look().screen
                live.update(screen, refresh=True)
            except ClusterError as error:
                live.update(Group(Text(f"{error}\n", style="bold red"), screen), refresh=True)
            time.sleep(interval_s)
