"""Hundreds of Switchboards, one operator: a cold start, rest, single changes, and a restart when all is done.

The operator is the real process with the rights of its chart, and the control plane is real too. Nodes and pods are
simulated by kwok, so that the operator and the API server are measured and not how fast containers start.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import scale_peer
from scale_cluster import ACCOUNT, HOME, ScaleAudit, ScaleControlPlane, add_nodes, build_programs
from scale_figures import Scrape, Usage
from scale_report import Changed, Converged, Report, Restarted, Steady, Work
from scale_sites import VERSION, Key, Progress, await_all, create_all, keys_of

from apiserver import rbac
from apiserver.audit import Entry
from apiserver.client import Client, Object
from apiserver.operator_process import OperatorProcess
from apiserver.site import is_settled
from switchboard_cli.devstack import temporary_folder
from switchboard_operator.crd import build_crd
from switchboard_operator.settings import Settings

SWITCHBOARDS = 500
NODES = 200
STEADY_S = 180.0
CHANGES = 50
PEERS = 100
SEED = 20261126
_CONVERGE_TIMEOUT_S = 1800.0
_CHANGE_TIMEOUT_S = 60.0
_LOOK_TIMEOUT_S = 300.0
_BETWEEN_LOOKS_S = 0.5
_QUIET_S = 12.0
"""Longer than anything that the operator waits for while it has something to do."""

Say = Callable[[str], None]


class Moment:
    """All counters, now.

    Args:
        plane: which runs.
        audit: its log.
        operator: which runs, or is about to be started; then nothing was counted yet.
    """

    def __init__(self, plane: ScaleControlPlane, audit: ScaleAudit, operator: OperatorProcess) -> None:
        pids = plane.pids()
        self.scrape = Scrape({})
        self.usage = {"operator": Usage(0.0, 0.0, 0.0)}
        if operator.is_running():
            self.scrape = Scrape.parse(operator.ask("/metrics")[1])
            pids["operator"] = operator.pid
        self.usage |= {name: Usage.of(pid) for name, pid in pids.items()}
        self.mark = audit.mark()
        self.at = time.monotonic()


class Bench:
    """One operator and its Switchboards.

    Args:
        plane: which runs.
        client: of an administrator.
        operator: not started yet.
        keys: of the Switchboards, which exist.
        say: shows a line of progress.
    """

    def __init__(
        self, plane: ScaleControlPlane, client: Client, operator: OperatorProcess, keys: list[Key], say: Say
    ) -> None:
        self._plane = plane
        self._client = client
        self._operator = operator
        self._keys = keys
        self._say = say
        self._audit = ScaleAudit(plane.audit_log, client)

    def converge(self) -> Converged:
        """Start the operator cold, and wait until everything is at rest.

        Raises:
            TimeoutError: something does not come to rest.
        """
        before = self._now()
        self._operator.start()
        progress = await_all(self._client, self._keys, _CONVERGE_TIMEOUT_S, self._tell)
        return Converged(list(progress.ready.values()), list(progress.settled.values()), self._work(before))

    def rest(self, seconds: float) -> Steady:
        """Let some time pass in which nobody changes anything.

        Raises:
            AssertionError: the operator wrote something.
        """
        self._await_quiet()
        before = self._now()
        self._say(f"at rest for {seconds:.0f} s …")
        time.sleep(seconds)
        work, writes = self._work(before), self._audit.own_writes(before.mark)
        renewals = sum(entry.is_write for entry in self._audit.calls(before.mark)) - len(writes)
        usage = self._now().usage["operator"]
        _must_be_none(writes, "while nothing happened")
        return Steady(writes, renewals, usage.peak_mib, usage.rss_mib, work)

    def change(self, number: int) -> Changed:
        """Give single Switchboards one pod of the api more.

        Raises:
            AssertionError: one does not come to rest, or nothing was written for it.
        """
        before, settled = self._now(), []
        chosen = random.Random(SEED).sample(self._keys, number)
        for key in chosen:
            began = time.monotonic()
            self._client.patch("Switchboard", *key, {"spec": {"api": {"replicas": 3}}})
            self._client.wait("Switchboard", *key, _is_enlarged, "one pod more", _CHANGE_TIMEOUT_S)
            settled.append(time.monotonic() - began)
        work = self._work(before)
        written = self._audit.own_writes(before.mark)
        patched = {(entry.namespace, entry.name): entry for entry in self._audit.patches(before.mark)}
        delays = [_first_write(patched[key], written) for key in chosen]
        return Changed([delay * 1000 for delay in delays], settled, work)

    def restart(self) -> Restarted:
        """Replace the process while there is nothing to do.

        Raises:
            AssertionError: it wrote something, or did not look at every Switchboard.
        """
        self._await_quiet()
        assert self._operator.terminate() == 0
        before, began = self._now(), time.time()
        self._operator.start()
        self._operator.await_watching()
        _await(lambda: self._is_idle() and len(self._looks(before.mark)) == len(self._keys), "a look at everything")
        work = self._work(before)
        looked = [at - began for at in self._looks(before.mark).values()]
        self._await_quiet()
        writes = self._audit.own_writes(before.mark)
        _must_be_none(writes, "after a restart with nothing to do")
        return Restarted(min(looked), max(looked), writes, work)

    # --- How it is told, and waiting --------------------------------------------------------------------------------

    def _now(self) -> Moment:
        return Moment(self._plane, self._audit, self._operator)

    def _work(self, before: Moment) -> Work:
        after = self._now()
        seconds, added = after.at - before.at, after.scrape.since(before.scrape)
        calls = [entry for entry in self._audit.calls(before.mark) if entry.resource != "leases"]
        return Work(
            seconds=seconds,
            cpu={name: (use.cpu_s - before.usage[name].cpu_s) / seconds for name, use in after.usage.items()},
            reconciles=int(added.total("reconciles_total")),
            stopped=int(added.total("reconciles_total") - added.total("reconciles_total", result="ok")),
            calls=len(calls),
            writes=sum(entry.is_write for entry in calls),
            p50_ms=added.quantile("reconcile_seconds", 0.5) * 1000,
            p99_ms=added.quantile("reconcile_seconds", 0.99) * 1000,
        )

    def _tell(self, progress: Progress, seconds: float) -> None:
        assert self._operator.is_running(), f"the operator has ended: {self._operator.log.read_text('utf-8')[-2000:]}"
        used = Usage.of(self._operator.pid)
        self._say(
            f"  {seconds:4.0f} s: {len(progress.ready)} ready, {len(progress.settled)} at rest of {len(self._keys)}; "
            f"operator {used.rss_mib:.0f} MiB, {used.cpu_s / max(seconds, 1):.0%} of a core"
        )

    def _looks(self, mark: int) -> dict[Key, float]:
        """When the operator first looked at each Switchboard after a mark, in seconds since the epoch."""
        first: dict[Key, float] = {}
        for entry in self._audit.calls(mark):
            if entry.verb == "get" and entry.resource == "switchboards":
                first.setdefault((entry.namespace, entry.name), entry.at.timestamp())
        return first

    def _is_idle(self) -> bool:
        """It has reconciled as often as there are Switchboards, and none waits."""
        return not self._queued() and self._scrape().total("reconciles_total") >= len(self._keys)

    def _queued(self) -> float:
        """Switchboards that wait for a look."""
        return self._scrape().total("queue_depth")

    def _scrape(self) -> Scrape:
        return Scrape.parse(self._operator.ask("/metrics")[1])

    def _await_quiet(self) -> None:
        """Wait until no Switchboard has waited for a look, and nothing was written, for a while."""
        mark, since = self._audit.mark(), time.monotonic()

        def quiet() -> bool:
            nonlocal mark, since
            if self._queued() or self._audit.own_writes(mark):
                mark, since = self._audit.mark(), time.monotonic()
            return time.monotonic() - since > _QUIET_S

        _await(quiet, f"{_QUIET_S:g} s without work")


def run(switchboards: int, say: Say, *, steady_s: float = STEADY_S) -> Report:
    """Measure.

    Args:
        switchboards: how many.
        say: shows a line of progress.
        steady_s: how long to watch the operator at rest, in seconds.

    Raises:
        AssertionError: the operator wrote something where it had nothing to do.
        ClusterError: a program is missing and cannot be built.
        TimeoutError: something did not come to rest.
    """
    build_programs()
    load = os.getloadavg()[0]
    keys = keys_of(switchboards)
    with _servers() as (plane, client, operator):
        say(f"{NODES} nodes …")
        add_nodes(client, NODES)
        say(f"{switchboards} Switchboards …")
        create_all(client, keys)
        bench = Bench(plane, client, operator, keys, say)
        say("cold start …")
        converged = bench.converge()
        steady = bench.rest(steady_s)
        say("single changes …")
        changed = bench.change(min(CHANGES, switchboards))
        say("restart …")
        restarted = bench.restart()
        operator.terminate()
        pods = len(client.request("GET", "/api/v1/pods")["items"])
        say("the peer …")
        peer = scale_peer.measure(client, keys[0], min(PEERS, switchboards), plane.cpu_s)
        return Report(
            switchboards=switchboards,
            namespaces=len({namespace for namespace, _ in keys}),
            nodes=NODES,
            pods=pods,
            workers=Settings().workers,
            converged=converged,
            steady=steady,
            changed=changed,
            restarted=restarted,
            peer=peer,
            load=(load, os.getloadavg()[0]),
        )


@contextmanager
def _servers() -> Iterator[tuple[ScaleControlPlane, Client, OperatorProcess]]:
    with ExitStack() as stack:
        folder: Path = stack.enter_context(temporary_folder("switchboard-scale-"))
        plane = stack.enter_context(ScaleControlPlane(folder))
        client = stack.enter_context(plane.admin)
        client.install_crd(build_crd())
        client.make_namespace(HOME)
        token = rbac.make_account(client, HOME, ACCOUNT)
        rbac.grant_lease(client, HOME, ACCOUNT)
        rbac.grant_cluster(client, HOME, ACCOUNT)
        kubeconfig = plane.kubeconfig(ACCOUNT, token)
        operator = OperatorProcess(ACCOUNT, kubeconfig, HOME, (), folder / "operator.log")
        stack.callback(operator.kill)
        yield plane, client, operator


def _is_enlarged(found: Object | None) -> bool:
    if found is None or not is_settled(found, VERSION):
        return False
    return bool(found["status"]["roles"]["api"]["available"] == found["spec"]["api"]["replicas"])


def _first_write(patch: Entry, writes: list[Entry]) -> float:
    """Seconds from a change until the first write for its Switchboard; its objects begin with its name."""
    return next(
        (entry.at - patch.at).total_seconds()
        for entry in writes
        if entry.at > patch.at and entry.namespace == patch.namespace and entry.name.startswith(patch.name)
    )


def _await(condition: Callable[[], bool], what: str) -> None:
    """As ``await_true``, but seldom: whoever looks all the time takes the processor from what is measured."""
    deadline = time.monotonic() + _LOOK_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            msg = f"waited {_LOOK_TIMEOUT_S:g} s in vain for {what}"
            raise TimeoutError(msg)
        time.sleep(_BETWEEN_LOOKS_S)


def _must_be_none(writes: list[Entry], when: str) -> None:
    shown = "; ".join(str(entry) for entry in writes[:10])
    assert not writes, f"the operator wrote {len(writes)} times {when}: {shown}"
