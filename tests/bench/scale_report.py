"""What the scale bench measured, and its section of docs/benchmarks.md."""

from collections.abc import Iterable
from dataclasses import dataclass

from scale_figures import quantile

from apiserver.audit import Entry

_TEXT = """One operator process (`python -m switchboard_operator`, {workers} workers, the rights of its chart for the
whole cluster) and {switchboards} `Switchboard` resources in {namespaces} namespaces. Each has Secrets of its own, an
api with two pods, two pools of workers and a recorder.

- *Real*: etcd (without fsync), kube-apiserver, the controllers of Deployments, Jobs and what belongs to them, and the
  scheduler, all on the same cores as the operator.
- *Simulated* by kwok: {nodes} nodes and the {pods:,} pods on them. Pods are ready, and those of Jobs have done their
  work, as soon as they are scheduled; the gate is gone through as at a first install (`--check` finds something to
  apply, then expand, roll-out, contract).
- *Not there*: KEDA, and pools that the operator scales itself.
- Load average of the machine: {load_before:.1f} before, {load_after:.1f} in the end.

{figures}

In a phase, calls are requests to the API server as its audit log has them, without the Lease's. The latency of a
reconciliation is from the operator's own histogram; *stopped* ones met a conflict or an error and were repeated. While
nothing happens each Switchboard is looked at every ten minutes; the restart looks at all of them.

{phases}

The peer is one client with {connections} connections that applies the same {peer_objects} objects a Switchboard
(server-side apply) and does nothing else: no migrations, no order, no status, no Events, no answer to changes.

{peers}
"""


@dataclass(frozen=True)
class Work:
    """What the operator did between two moments.

    Attributes:
        seconds: between them.
        cpu: processor time as a share of one core, by program.
        reconciles: by the operator.
        stopped: of these, by a conflict or an error; they were repeated.
        calls: its requests to the API server, those for its Lease left out.
        writes: of these.
        p50_ms: median of one reconciliation.
        p99_ms: its p99.
    """

    seconds: float
    cpu: dict[str, float]
    reconciles: int
    stopped: int
    calls: int
    writes: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Converged:
    """A cold start with everything to do; seconds since the start of the process.

    Attributes:
        ready_s: until each Switchboard was ready.
        settled_s: until each was at rest, its contract phase included.
        work: until all were.
    """

    ready_s: list[float]
    settled_s: list[float]
    work: Work


@dataclass(frozen=True)
class Steady:
    """A time in which nothing happens.

    Attributes:
        writes: of the operator, its Lease left out.
        renewals: of its Lease.
        peak_mib: its largest memory since its start.
        rest_mib: its memory at the end.
        work: of the whole time.
    """

    writes: list[Entry]
    renewals: int
    peak_mib: float
    rest_mib: float
    work: Work


@dataclass(frozen=True)
class Changed:
    """Single changes, one after the other, while everything else rests.

    Attributes:
        first_write_ms: from the arrival of each change until the operator's first write for it arrives.
        settled_s: until the Switchboard is at rest again, its new pod included.
        work: for all of them.
    """

    first_write_ms: list[float]
    settled_s: list[float]
    work: Work


@dataclass(frozen=True)
class Restarted:
    """A new process where there is nothing to do; seconds since its start.

    Attributes:
        first_look_s: until it looked at its first Switchboard.
        looked_s: until it had looked at all.
        writes: that it made, its Lease left out.
        work: until it was idle.
    """

    first_look_s: float
    looked_s: float
    writes: list[Entry]
    work: Work


@dataclass(frozen=True)
class Peer:
    """The same objects, applied by one client.

    Attributes:
        number: of copies.
        objects: of each.
        connections: that it used.
        applied_s: until the last object was applied.
        available_s: until the last pod was available.
        cpu_s: processor time that the control plane needed until then.
    """

    number: int
    objects: int
    connections: int
    applied_s: float
    available_s: float
    cpu_s: float


@dataclass(frozen=True)
class Report:
    """Everything measured, and where.

    Attributes:
        switchboards: how many.
        namespaces: that they are in.
        nodes: simulated.
        pods: simulated, in the end.
        workers: of the operator.
        converged: the cold start.
        steady: the time of rest.
        changed: single changes.
        restarted: the restart.
        peer: somebody else's way to the same pods.
        load: average of the machine before and after.
    """

    switchboards: int
    namespaces: int
    nodes: int
    pods: int
    workers: int
    converged: Converged
    steady: Steady
    changed: Changed
    restarted: Restarted
    peer: Peer
    load: tuple[float, float]


def section(report: Report) -> str:
    """The section's text, without its heading."""
    return _TEXT.format(
        workers=report.workers,
        switchboards=report.switchboards,
        namespaces=report.namespaces,
        nodes=report.nodes,
        pods=report.pods,
        load_before=report.load[0],
        load_after=report.load[1],
        figures=_table(["", f"{report.switchboards} Switchboards"], _figures(report).items()),
        phases=_table(_PHASE_HEAD, _phases(report)),
        connections=report.peer.connections,
        peer_objects=report.peer.objects,
        peers=_table(_PEER_HEAD, _peers(report)),
    )


_PHASE_HEAD = (
    "phase",
    "reconciliations",
    "stopped",
    "calls",
    "writes",
    "calls each",
    "p50 ms",
    "p99 ms",
    "operator, cores",
    "API server, cores",
)
_PEER_HEAD = (
    "",
    "Switchboards",
    "all pods serve after s",
    "Switchboards/s",
    "requests each",
    "control plane's CPU s each",
    "x peer, time",
    "x peer, CPU",
)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def _figures(report: Report) -> dict[str, str]:
    converged, steady, changed, restarted = report.converged, report.steady, report.changed, report.restarted
    return {
        "cold start: half are ready after": f"{quantile(converged.ready_s, 0.5):.0f} s",
        "cold start: all are ready after": f"{max(converged.ready_s):.0f} s",
        "cold start: all are at rest after (contract phase included)": f"{max(converged.settled_s):.0f} s",
        "memory of the operator, peak": f"{steady.peak_mib:.0f} MiB",
        "memory of the operator, at rest": f"{steady.rest_mib:.0f} MiB",
        f"at rest for {steady.work.seconds:.0f} s: writes besides the Lease's": str(len(steady.writes)),
        f"at rest for {steady.work.seconds:.0f} s: renewals of the Lease": str(steady.renewals),
        f"one change in {report.switchboards}: first write after, p50": f"{_ms(changed.first_write_ms, 0.5)} ms",
        f"one change in {report.switchboards}: first write after, p99": f"{_ms(changed.first_write_ms, 0.99)} ms",
        "the same: at rest again, one pod more, p50": f"{quantile(changed.settled_s, 0.5):.1f} s",
        "the same: at rest again, one pod more, p99": f"{quantile(changed.settled_s, 0.99):.1f} s",
        "restart with nothing to do: first look after": f"{restarted.first_look_s:.1f} s",
        "restart with nothing to do: has looked at all after": f"{restarted.looked_s:.1f} s",
        "restart with nothing to do: writes besides the Lease's": str(len(restarted.writes)),
    }


def _ms(values: list[float], share: float) -> str:
    return f"{quantile(values, share):.0f}"


def _phases(report: Report) -> list[list[str]]:
    number = len(report.changed.first_write_ms)
    phases = {
        "cold start": report.converged.work,
        "at rest": report.steady.work,
        f"{number} single changes": report.changed.work,
        "restart": report.restarted.work,
    }
    return [
        [
            f"{name}, {work.seconds:.0f} s",
            f"{work.reconciles:,}",
            f"{work.stopped:,}",
            f"{work.calls:,}",
            f"{work.writes:,}",
            f"{work.calls / work.reconciles:.1f}" if work.reconciles else "-",
            f"{work.p50_ms:.0f}" if work.reconciles else "-",
            f"{work.p99_ms:.0f}" if work.reconciles else "-",
            f"{work.cpu['operator']:.3f}",
            f"{work.cpu['kube-apiserver']:.3f}",
        ]
        for name, work in phases.items()
    ]


def _peers(report: Report) -> list[list[str]]:
    peer, work, ready_s = report.peer, report.converged.work, max(report.converged.ready_s)
    used_s = sum(share for name, share in work.cpu.items() if name != "operator") * work.seconds
    peer_each, own_each = peer.available_s / peer.number, ready_s / report.switchboards
    peer_cpu, own_cpu = peer.cpu_s / peer.number, used_s / report.switchboards
    ways = {
        "the peer": (peer.number, peer.available_s, peer_each, peer.objects, peer_cpu),
        "the operator": (report.switchboards, ready_s, own_each, work.calls / report.switchboards, own_cpu),
    }
    return [
        [
            name,
            str(number),
            f"{seconds:.0f}",
            f"{1 / each:.1f}",
            f"{requests:.0f}",
            f"{cpu:.2f}",
            f"{each / peer_each:.1f}",
            f"{cpu / peer_cpu:.1f}",
        ]
        for name, (number, seconds, each, requests, cpu) in ways.items()
    ]
