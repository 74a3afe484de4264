"""``kubectl switchboard report``: an archive for support, with every secret taken out."""

import io
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kubectl_switchboard import archive, gather, overview, view
from kubectl_switchboard.collect import Collector, Material
from kubectl_switchboard.gaps import Gap
from kubectl_switchboard.kinds import Json
from kubectl_switchboard.options import Context, Kubeconfig, Name, Namespace, open_cluster
from kubectl_switchboard.output import Output
from kubectl_switchboard.redact import MASK, SHORTEST, Redactor
from kubectl_switchboard.redact_objects import redact_log, redact_object
from kubectl_switchboard.resource import Resource

_SCREEN_WIDTH = 120
_READ_IT = "Look through it before you send it: names, addresses and the words of log lines are left as they are."
_NOT_READ = (
    "Not every Secret could be read, so not all of their values could be looked for in logs: mind that when you look "
    "through it."
)


def report(
    name: Name = None,
    namespace: Namespace = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; a name with the time by default.", show_default=False),
    ] = None,
    tail: Annotated[int, typer.Option("--tail", min=1, help="Lines of each log.")] = 1000,
    operator_namespace: Annotated[
        str | None,
        typer.Option(
            "--operator-namespace", help="Where the operator runs; looked for by default.", show_default=False
        ),
    ] = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Write an archive for support: resource, objects, Events and logs, with every secret taken out.

    What you may not read is left out, and the archive says so.
    """
    cluster = open_cluster(kubeconfig, context, namespace)
    resource = gather.find_only(cluster, name)
    out = Output()
    now = datetime.now(UTC)
    folder = f"switchboard-report-{resource.namespace}-{resource.name}-{now:%Y%m%dT%H%M%SZ}"
    material = Collector(cluster, resource, lines=tail, operator_namespace=operator_namespace).collect()
    files = make_files(resource, material, now, salt=os.urandom(32))
    path = output or Path(f"{folder}.tar.gz")
    content = archive.pack(files, folder, now)
    archive.write(path, content)
    out.line(f"Wrote {path}: {len(files)} files, {-(-len(content) // 1024)} KiB. Secrets and tokens are {MASK} in it.")
    for gap in material.gaps.found:
        out.warn(f"Not in it: {gap.words}.")
    out.note(_READ_IT if material.secrets_read else f"{_READ_IT} {_NOT_READ}")


def make_files(resource: Resource, material: Material, now: datetime, *, salt: bytes) -> dict[str, str]:
    """The files of a report, redacted.

    Args:
        resource: the Switchboard.
        material: what was read.
        now: when.
        salt: makes the pseudonyms of this report its own.
    """
    redactor = Redactor(material.secrets, salt)
    objects = {path: redact_object(found, redactor) for path, found in material.objects.items()}
    files = {path: archive.as_json(found) for path, found in objects.items()}
    files |= {path: redact_log(log, redactor) for path, log in material.logs.items()}
    files["status.txt"] = redactor.text(_screen(objects, material.gaps.found, now))
    kept, held_back = archive.checked(files, redactor)
    facts = _facts(resource, material, now, held_back)
    return kept | {archive.MANIFEST: redactor.text(archive.as_json(archive.manifest(kept, facts)))}


def _screen(objects: dict[str, Json], gaps: list[Gap], now: datetime) -> str:
    """What ``status`` shows, made from redacted objects: a line that is wrapped could hide a secret from a pattern."""
    events = objects.get("events.json", {}).get("items", [])
    seen = overview.build(
        Resource(objects["switchboard.json"]),
        deployments=[each for path, each in objects.items() if path.startswith("objects/deployments/")],
        pods=[each for path, each in objects.items() if path.startswith("objects/pods/")],
        events=events,
        gaps=gaps,
    )
    console = Console(file=io.StringIO(), width=_SCREEN_WIDTH, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(view.screen(seen, now))
    return captured.get()


def _facts(resource: Resource, material: Material, now: datetime, held_back: list[str]) -> Json:
    left_out = [*material.left_out, *(f"{path}: a known secret was still in it." for path in held_back)]
    return {
        "switchboard": {"name": resource.name, "namespace": resource.namespace},
        "madeAt": now.isoformat(timespec="seconds"),
        "madeBy": f"kubectl-switchboard {metadata.version('kubectl-switchboard')}, Python {sys.version.split()[0]}",
        "redaction": {
            "mask": MASK,
            "valuesOfSecretsLookedFor": material.secrets_read,
            "note": f"{_READ_IT} Values shorter than {SHORTEST} characters are not looked for. The same identifier "
            "has the same pseudonym in this report only.",
        },
        "unreadable": [asdict(gap) for gap in material.gaps.found],
        "leftOut": left_out,
    }
