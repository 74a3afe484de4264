"""Options that every command has, as kubectl has them."""

from pathlib import Path
from typing import Annotated

import typer

from kubectl_switchboard.cluster import Cluster
from kubectl_switchboard.kubeconfig import connect

_PANEL = "Cluster"

Name = Annotated[
    str | None,
    typer.Argument(
        help="The Switchboard; may be left out where there is only one.", metavar="NAME", show_default=False
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", help="Namespace; the context's by default.", rich_help_panel=_PANEL, show_default=False
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        help="Context of the kubeconfig; its current one by default.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        help="Kubeconfig file; $KUBECONFIG or ~/.kube/config by default.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]


def open_cluster(kubeconfig: Path | None, context: str | None, namespace: str | None) -> Cluster:
    """The cluster that the options mean.

    Raises:
        PluginError: there is no usable kubeconfig.
    """
    cluster = Cluster(connect(kubeconfig, context))
    if namespace:
        cluster.namespace = namespace
    return cluster
