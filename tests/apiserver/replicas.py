"""Replicas of the operator for tests that start, kill and freeze them: a home with a Lease, and rights of their own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

from apiserver import rbac
from apiserver.audit import Audit, Entry
from apiserver.client import Object
from apiserver.control_plane import ControlPlane
from apiserver.kubelet import Kubelet
from apiserver.operator_process import OperatorProcess
from apiserver.site import Site

_numbers = count(1)


class Replicas:
    """Some replicas of one operator, and the namespaces that they watch.

    Args:
        sites: the namespaces; the Lease is in the first one.
        processes: not started yet; their identity is the name of their service account, so that the audit log tells
            them apart.
    """

    def __init__(self, sites: list[Site], processes: list[OperatorProcess]) -> None:
        self.sites = sites
        self.processes = processes

    @property
    def site(self) -> Site:
        """The first namespace."""
        return self.sites[0]

    def elsewhere(self, namespace: str) -> Site:
        """Another namespace."""
        return Site(self.site.client, self.site.kubelet, self.site.audit, namespace)

    def lease(self) -> Object:
        """Spec of the Lease."""
        found: Object = self.site.client.get("Lease", self.site.namespace, rbac.LEASE)["spec"]
        return found

    def await_leader(self, process: OperatorProcess, within_s: float = 30.0) -> Object:
        """Wait until a replica holds the Lease."""
        return self.site.await_object(
            "Lease", rbac.LEASE, lambda found: found["spec"]["holderIdentity"] == process.identity, "a leader", within_s
        )

    def await_any_leader(self, within_s: float = 30.0) -> str:
        """Wait until somebody holds the Lease; returns who."""
        found = self.site.await_object(
            "Lease", rbac.LEASE, lambda found: bool(found["spec"]["holderIdentity"]), "a leader", within_s
        )
        return str(found["spec"]["holderIdentity"])

    def forget_lease(self) -> None:
        """Take the Lease from a replica that was killed: a test that is not about it need not wait for its end."""
        self.site.client.patch("Lease", self.site.namespace, rbac.LEASE, {"spec": {"holderIdentity": ""}})

    def writes_of(self, process: OperatorProcess, mark: int) -> list[Entry]:
        """What a replica wrote that was accepted, its Lease left out."""
        return [
            entry
            for entry in self.site.audit.writes_of(process.identity, mark)
            if entry.resource != "leases" and entry.code < 300
        ]

    def intruders(self) -> list[Entry]:
        """Writes in the first namespace whose author did not hold the Lease when they arrived."""
        entries = [entry for entry in self.site.writes() if entry.code < 300]
        holder, found = "", []
        for entry in sorted(entries, key=lambda entry: entry.at):
            if entry.resource == "leases":
                holder = entry.body["spec"]["holderIdentity"]
            elif entry.user != holder:
                found.append(entry)
        return found

    def last_renewal(self, process: OperatorProcess, mark: int = 0) -> datetime:
        """When the API server last accepted a Lease from a replica."""
        entries = self.site.audit.writes_of(process.identity, mark)
        return max(entry.at for entry in entries if entry.resource == "leases" and entry.code < 300)


@contextmanager
def replicas_of(
    control_plane: ControlPlane,
    kubelet: Kubelet,
    folder: Path,
    number: int,
    namespaces: Sequence[str],
    *,
    watched: Sequence[str] = (),
) -> Iterator[Replicas]:
    """Make namespaces and so many replicas for them; whatever still runs in the end is killed.

    Args:
        control_plane: which runs.
        kubelet: that runs the pods.
        folder: for logs.
        number: of replicas.
        namespaces: to make and to have rights in.
        watched: by the replicas; the same ones when not given.
    """
    home = namespaces[0]
    with control_plane.admin as client:
        for namespace in namespaces:
            client.make_namespace(namespace)
        processes = []
        for _ in range(number):
            identity = f"operator-{next(_numbers)}"
            kubeconfig = control_plane.kubeconfig(identity, rbac.make_account(client, home, identity))
            log = folder / f"{identity}.log"
            processes.append(OperatorProcess(identity, kubeconfig, home, tuple(watched or namespaces), log))
        accounts = [process.identity for process in processes]
        rbac.grant_lease(client, home, *accounts)
        for namespace in namespaces:
            rbac.grant_namespace(client, namespace, home, *accounts)
        audit = Audit(control_plane.audit_log, client)
        try:
            yield Replicas([Site(client, kubelet, audit, namespace) for namespace in namespaces], processes)
        finally:
            for process in processes:
                process.kill()
