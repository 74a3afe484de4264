"""Runs ``kubectl switchboard`` as people do, with the rights that they have, and reads what it wrote."""

import base64
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from apiserver import rbac
from apiserver.binaries import MissingBinaryError, find_binary
from apiserver.client import Client
from apiserver.control_plane import ControlPlane
from apiserver.site import NAME, Site
from docs_pages import blocks
from switchboard_operator import names

_TIMEOUT_S = 90.0
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True)
class Run:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What went to standard error, however its lines were wrapped."""
        return " ".join(self.err.split())

    @property
    def shown(self) -> str:
        """What went to standard output, however its lines were wrapped."""
        return " ".join(self.out.split())


def command() -> list[str]:
    """``kubectl switchboard``; the plugin alone where kubectl was not built."""
    try:
        return [str(find_binary("kubectl")), "switchboard"]
    except MissingBinaryError:
        return [str(SCRIPTS / "kubectl-switchboard")]


def environment(kubeconfig: Path | None, home: Path) -> dict[str, str]:
    """Variables of a shell of its own, in which the plugin is on the PATH."""
    found = {"PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}
    return found | {"KUBECONFIG": str(kubeconfig)} if kubeconfig else found


class Plugin:
    """The plugin with the kubeconfig of one user.

    Args:
        kubeconfig: of the user; None for a machine without one.
        folder: where it runs.
    """

    def __init__(self, kubeconfig: Path | None, folder: Path) -> None:
        self.folder = folder
        self.environment = environment(kubeconfig, folder)

    def __call__(self, *arguments: str) -> Run:
        """Run one command to its end."""
        done = subprocess.run(
            [*command(), *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Run(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that does not end by itself."""
        return subprocess.Popen(
            [*command(), *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )


def unpack(path: Path) -> dict[str, str]:
    """The files of a report, by their path inside its folder."""
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:gz") as packed:
        members = {entry.name.partition("/")[2]: packed.extractfile(entry) for entry in packed.getmembers()}
        return {name: member.read().decode() for name, member in members.items() if member}


def leaks(files: Mapping[str, str], secrets: Mapping[str, str]) -> set[tuple[str, str]]:
    """Files in which a secret is found, plain or in base64 at any offset, with the name of the secret."""
    found = set()
    for name, secret in secrets.items():
        runs = {base64.b64encode(b"\0" * offset + secret.encode()).decode() for offset in range(3)}
        # The first and last characters depend on what stands around the secret.
        forms = {secret, *(run[4:-4] for run in runs), base64.b64encode(secret.encode()).decode()}
        found |= {(path, name) for path, content in files.items() for form in forms if form in content}
    return found


def internal_token(site: Site) -> str:
    """The token that the operator made."""
    secret = site.client.get("Secret", site.namespace, names.internal_secret_name(NAME))
    return base64.b64decode(secret["data"]["token"]).decode()


def sealing_key(site: Site) -> str:
    """The key that the operator made."""
    secret = site.client.get("Secret", site.namespace, names.credentials_secret_name(NAME))
    return base64.b64decode(secret["data"]["CREDENTIALS_KEYS"]).decode()


def documented_roles() -> dict[str, dict[str, Any]]:
    """The ClusterRoles that the documentation tells people to copy."""
    text = "\n---\n".join(
        block.content for block in blocks("kubectl-plugin.md") if "kind: ClusterRole" in block.content
    )
    return {role["metadata"]["name"]: role for role in yaml.safe_load_all(text)}


def user(control_plane: ControlPlane, client: Client, site: Site, role: str, rules: list[Any], folder: Path) -> Plugin:
    """The plugin of somebody with these rights in one namespace."""
    token = rbac.make_account(client, site.namespace, role)
    path = f"{_RBAC}/namespaces/{site.namespace}"
    meta = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": role}}
    client.request("POST", f"{path}/roles", meta | {"kind": "Role", "rules": rules})
    subjects = [{"kind": "ServiceAccount", "namespace": site.namespace, "name": role}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
    client.request(
        "POST", f"{path}/rolebindings", meta | {"kind": "RoleBinding", "roleRef": reference, "subjects": subjects}
    )
    return Plugin(control_plane.kubeconfig(role, token, site.namespace), folder)
