"""Helm against a real API server: install, upgrade, uninstall, and what is left."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from apiserver.client import ApiRefusedError, Client
from charts.paths import OPERATOR, SWITCHBOARD
from cluster import parts
from cluster.commands import run
from switchboard_operator import names
from waiting import await_true

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/switchboards.switchboard.dev"

RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
"""Labels of a namespace that enforces Pod Security *restricted*."""

COLLECTIONS = (
    "/api/v1/configmaps",
    "/api/v1/pods",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/api/v1/services",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/batch/v1/jobs",
    "/apis/networking.k8s.io/v1/ingresses",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "/apis/rbac.authorization.k8s.io/v1/roles",
)
"""Everything that the charts may make, but for the CRD and Switchboards."""


class Helm:
    """Helm with a kubeconfig and folders of its own.

    Args:
        kubeconfig: of the API server.
        folder: for Helm's own files.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECONFIG": str(kubeconfig),
            **{f"HELM_{name}_HOME": str(folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")},
        }

    def __call__(self, *arguments: str | Path) -> str:
        """Run one command; returns what it printed.

        Raises:
            ClusterError: it failed.
        """
        return run([parts.binary("helm"), *arguments], env=self._environment, timeout=120)

    def install_operator(self, namespace: str, *options: str) -> str:
        """Install the operator's chart, or upgrade it."""
        return self("upgrade", "--install", "op", OPERATOR, "--namespace", namespace, *options)

    def install_trial(self, namespace: str, *options: str) -> str:
        """Install a trial, or upgrade it, without its hooks, which need pods that run."""
        trial = ("--set", "trial.enabled=true", "--no-hooks")
        return self("upgrade", "--install", "main", SWITCHBOARD, "--namespace", namespace, *trial, *options)

    def manifests(self, namespace: str, release: str) -> list[dict[str, Any]]:
        """Everything of a release, hooks and tests included."""
        shown = [self("get", what, release, "--namespace", namespace) for what in ("manifest", "hooks")]
        return [each for text in shown for each in yaml.safe_load_all(text) if each]


def objects(client: Client) -> set[str]:
    """Kind, namespace and name of everything that the charts may make; what the API server makes itself is left out."""
    return {
        f"{path} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
        for path in COLLECTIONS
        for item in client.request("GET", path)["items"]
        if not _is_api_servers_own(item["metadata"])
    }


def _is_api_servers_own(metadata: dict[str, Any]) -> bool:
    own_namespaces = {"default", "kube-node-lease", "kube-public", "kube-system"}
    return metadata.get("namespace") in own_namespaces or "kubernetes.io/bootstrapping" in metadata.get("labels", {})


def await_crd(client: Client) -> None:
    """Wait until Switchboards are served: Helm does not wait for it, and nobody is that fast in real life."""

    def served() -> bool:
        try:
            found = client.request("GET", f"/apis/{names.API_VERSION}")["resources"]
        except (ApiRefusedError, ValueError):
            # Not even the group is known, which is answered in plain text.
            return False
        return any(each["name"] == names.PLURAL for each in found)

    await_true(served, "Switchboards to be served")


def await_no_crd(client: Client) -> None:
    """Delete the CRD and wait until it is gone."""
    client.request("DELETE", CRD)

    def gone() -> bool:
        try:
            client.request("GET", CRD)
        except ApiRefusedError as error:
            return error.status == 404
        return False

    await_true(gone, "the CRD to be gone")


def pods_of(manifests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A pod for each pod template in manifests, named after its owner, and every plain pod."""
    found = []
    for manifest in manifests:
        template = manifest if manifest["kind"] == "Pod" else manifest.get("spec", {}).get("template")
        if isinstance(template, dict) and "spec" in template:
            claims = [each["metadata"]["name"] for each in manifest["spec"].get("volumeClaimTemplates", [])]
            volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
            spec = template["spec"] | {"volumes": [*template["spec"].get("volumes", []), *volumes]}
            metadata = {"name": manifest["metadata"]["name"], "labels": template["metadata"].get("labels", {})}
            found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return found
