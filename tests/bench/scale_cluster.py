"""The control plane of the scale bench: a whole one on loopback, whose nodes and pods kwok simulates."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scale_figures import Usage

from apiserver.audit import Audit, Entry
from apiserver.client import Client, Object
from apiserver.control_plane import CONTROLLERS, ControlPlane
from cluster import parts
from waiting import await_true

HOME = "switchboard-system"
ACCOUNT = "operator"
"""Service account of the operator: its rights are those of the chart, and the audit log knows it by this name."""

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
_LONGEST_LINE = 1 << 20
_STAGES = Path(__file__).with_name("kwok_stages.yaml")
_NODES = "/api/v1/nodes"
_AT_ONCE = 8
# Nothing but the API server's own capacity shall hold anybody back.
_UNTHROTTLED = ("--kube-api-qps=5000", "--kube-api-burst=10000")
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        # Every call of the operator, reads and watches too, and when somebody changed a Switchboard.
        {"level": "Metadata", "users": [f"system:serviceaccount:{HOME}:{ACCOUNT}"]},
        {
            "level": "Metadata",
            "verbs": ["patch"],
            "resources": [{"group": "switchboard.dev", "resources": ["switchboards"]}],
        },
        # By which a reader knows that the log has caught up.
        {"level": "Metadata", "verbs": ["delete"], "resources": [{"group": "", "resources": ["configmaps"]}]},
        {"level": "None"},
    ],
}


class ScaleControlPlane(ControlPlane):
    """etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok.

    Args:
        folder: for data, keys and logs.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, controllers=False)

    def pids(self) -> dict[str, int]:
        """Process ids by program."""
        return {server.name: server.process.pid for server in self._servers}

    def cpu_s(self) -> float:
        """Processor time that all of them have used, in seconds."""
        return sum(Usage.of(pid).cpu_s for pid in self.pids().values())

    def _start(self) -> None:
        super()._start()
        kubeconfig = f"--kubeconfig={self.admin_kubeconfig()}"
        self._launch(
            "kube-controller-manager",
            kubeconfig,
            f"--controllers={','.join((*CONTROLLERS, 'node-lifecycle-controller'))}",
            "--leader-elect=false",
            "--secure-port=0",
            "--concurrent-deployment-syncs=20",
            "--concurrent-replicaset-syncs=20",
            "--concurrent-job-syncs=20",
            # A machine that is busy with everything at once may renew the Leases of its nodes late.
            "--node-monitor-grace-period=10m",
            *_UNTHROTTLED,
        )
        self._launch("kube-scheduler", kubeconfig, "--leader-elect=false", "--secure-port=0", *_UNTHROTTLED)
        self._launch(
            "kwok",
            kubeconfig,
            f"--config={_STAGES}",
            "--manage-all-nodes",
            "--node-ip=127.0.0.1",
            # Whoever asks a simulated pod something is refused at once, on this machine.
            "--cidr=127.64.0.1/10",
            "--node-lease-duration-seconds=40",
        )

    def _apiserver_options(self, etcd_url: str, port: int) -> list[str]:
        options = super()._apiserver_options(etcd_url, port)
        policy = self._folder / "audit-policy.json"
        policy.write_text(json.dumps(_AUDIT_POLICY), encoding="utf-8")
        return [
            *options,
            "--max-requests-inflight=800",
            "--max-mutating-requests-inflight=400",
            # Marks are positions in one file.
            "--audit-log-maxsize=10000",
        ]


class ScaleAudit(Audit):
    """The log of that control plane."""

    def mark(self) -> int:
        """Where the log's last whole line ends: the API server may just be writing the next one."""
        with self._path.open("rb") as log:
            begin = max(0, log.seek(0, os.SEEK_END) - _LONGEST_LINE)
            log.seek(begin)
            return begin + log.read().rfind(b"\n") + 1

    def calls(self, mark: int = 0) -> list[Entry]:
        """All requests of the operator after a mark, in their order."""
        self.catch_up()
        return [entry for entry in self._read(mark, f':{ACCOUNT}"') if entry.user == ACCOUNT]

    def own_writes(self, mark: int = 0) -> list[Entry]:
        """What the operator wrote after a mark, its Lease left out."""
        return [entry for entry in self.calls(mark) if entry.is_write and entry.resource != "leases"]

    def patches(self, mark: int = 0) -> list[Entry]:
        """When somebody changed a Switchboard."""
        return [entry for entry in self._read(mark, '"patch"') if entry.resource == "switchboards"]


def build_programs() -> None:
    """Build what is not there yet; nothing happens when everything is.

    Raises:
        ClusterError: a program cannot be built here.
    """
    parts.ensure_all([name for name in PROGRAMS if not _is_built(name)])


def _is_built(name: str) -> bool:
    try:
        parts.binary(name)
    except parts.MissingPartError:
        return False
    return True


def add_nodes(client: Client, number: int) -> None:
    """Make simulated nodes in three zones, and wait until pods may run on all of them."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda node: client.request("POST", _NODES, node), _nodes(number)))
    await_true(lambda: _usable(client) == number, f"{number} simulated nodes to be ready", 120)


def _nodes(number: int) -> Iterator[Object]:
    room = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    for index in range(number):
        name = f"node-{index:03}"
        labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{index % 3}"}
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "status": {"allocatable": room, "capacity": room},
        }


def _usable(client: Client) -> int:
    nodes = client.request("GET", _NODES)["items"]
    return sum(not node["spec"].get("taints") and _is_ready(node) for node in nodes)


def _is_ready(node: Object) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
