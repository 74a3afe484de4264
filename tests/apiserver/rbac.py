"""Grants the operator under test what its chart grants, and nothing else."""

import re
from pathlib import Path
from typing import Any

import yaml

from apiserver.client import Client, Object

_CHART = Path(__file__).resolve().parents[2] / "charts" / "switchboard-operator" / "templates" / "_rbac.tpl"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_TOKEN_LIVES_S = 7200
LEASE = "switchboard-operator"

Rules = list[dict[str, Any]]


def rules_of(name: str) -> Rules:
    """Rules that the chart defines; they are plain YAML there.

    Args:
        name: of the template, ``namespacedRules`` or ``clusterRules``.
    """
    text = _CHART.read_text("utf-8")
    found = re.search(rf'define "operator\.{name}" -}}}}\n(.*?){{{{- end', text, re.DOTALL)
    assert found, f"{_CHART.name} defines no {name}"
    rules: Rules = yaml.safe_load(found[1])
    return rules


_LEASE_RULES = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [LEASE],
        "verbs": ["get", "update"],
    },
]


def make_account(client: Client, namespace: str, name: str) -> str:
    """Make a ServiceAccount without any right; returns a token of it."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    client.request("POST", path, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    answer = client.request("POST", f"{path}/{name}/token", body | {"spec": {"expirationSeconds": _TOKEN_LIVES_S}})
    return str(answer["status"]["token"])


def grant_lease(client: Client, namespace: str, *accounts: str) -> None:
    """Let operators elect their leader in a namespace."""
    _grant(client, namespace, "switchboard-operator-lease", _LEASE_RULES, namespace, accounts)


def grant_namespace(client: Client, namespace: str, home: str, *accounts: str) -> None:
    """Let operators that live in ``home`` manage the Switchboards of a namespace."""
    _grant(client, namespace, "switchboard-operator", rules_of("namespacedRules"), home, accounts)


def grant_cluster(client: Client, home: str, *accounts: str) -> None:
    """Let operators that live in ``home`` manage all Switchboards."""
    rules = [*rules_of("namespacedRules"), *rules_of("clusterRules")]
    _make(client, f"{_RBAC}/clusterroles", "ClusterRole", "switchboard-operator", {"rules": rules})
    binding = _binding("ClusterRole", "switchboard-operator", home, accounts)
    _make(client, f"{_RBAC}/clusterrolebindings", "ClusterRoleBinding", "switchboard-operator", binding)


def _grant(client: Client, namespace: str, name: str, rules: Rules, home: str, accounts: tuple[str, ...]) -> None:
    path = f"{_RBAC}/namespaces/{namespace}"
    _make(client, f"{path}/roles", "Role", name, {"rules": rules})
    _make(client, f"{path}/rolebindings", "RoleBinding", name, _binding("Role", name, home, accounts))


def _binding(kind: str, role: str, home: str, accounts: tuple[str, ...]) -> Object:
    return {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "namespace": home, "name": account} for account in accounts],
    }


def _make(client: Client, path: str, kind: str, name: str, body: Object) -> None:
    found = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, **body}
    client.request("POST", path, found)
