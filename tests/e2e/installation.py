"""One running Switchboard, and what a person does with it and sees of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from e2e import truth
from e2e.campaign import Business, create_business
from e2e.history import History, Version, condition, is_true
from e2e.kube import Json, Kube
from e2e.truth import Truth
from switchboard_operator import names

ROLES = ("api", "worker", "recorder")


@dataclass
class Installation:
    """One ``Switchboard``.

    Attributes:
        kube: its namespace.
        history: what the API server told about it.
        name: of the resource.
    """

    kube: Kube
    history: History
    name: str
    _generation: int = field(default=0, init=False)

    @property
    def api(self) -> str:
        """Deployment and Service of the api."""
        return names.api_name(self.name)

    @property
    def recorder(self) -> str:
        """Deployment of the recorder."""
        return names.recorder_name(self.name)

    def worker(self, pool: str) -> str:
        """Deployment of a pool."""
        return names.worker_name(self.name, pool)

    def board(self) -> Json | None:
        """The resource, once the watch has seen the newest spec that was written here."""
        found = self.history.one("switchboards", self.name)
        return found if found and found["metadata"]["generation"] >= self._generation else None

    def change(self, spec: Mapping[str, Any]) -> None:
        """Change the spec as ``kubectl patch --type merge`` does."""
        self.kube.merge("switchboard", self.name, {"spec": spec})
        self.changed_elsewhere()

    def changed_elsewhere(self) -> None:
        """Somebody else, helm say, may have changed the spec: older versions of it are not looked at any more."""
        found = self.kube.get("switchboard", self.name)
        assert found is not None, f"Switchboard {self.name} is gone"
        self._generation = found["metadata"]["generation"]

    def wait(self, look: Callable[[Json], object], what: str, timeout: float) -> Json:
        """Wait for something about the resource; returns it.

        Args:
            look: takes the resource; a false value means not yet.
            what: is awaited, in words.
            timeout: seconds.
        """

        def seen() -> Json | None:
            board = self.board()
            return board if board and look(board) else None

        return self.history.wait(seen, what, timeout)

    def await_release(self, version: str, timeout: float = 240.0) -> Json:
        """Wait until a release serves and its migration has ended, the contract phase included."""
        return self.wait(
            lambda board: is_true(board, "Ready") and _applied(board) == (version, "done"),
            f"release {version} to serve with its migration ended",
            timeout,
        )

    def await_rest(self, timeout: float = 150.0) -> None:
        """Wait until it is ready, nothing is under way, and every pod that should be there serves, and no other."""

        def at_rest() -> bool:
            board, pods = self.board(), self.pods()
            is_settled = is_true(board, "Ready") and (condition(board, "Progressing") or {}).get("status") == "False"
            return is_settled and len(pods) == sum(self.replicas().values()) and all(is_serving(pod) for pod in pods)

        self.history.wait(at_rest, "everything to be at rest", timeout)

    def await_reason(self, kind: str, status: str, reason: str, timeout: float) -> Json:
        """Wait until a condition has a status for a reason; returns the condition."""

        def has_it(board: Json) -> bool:
            found = condition(board, kind)
            return found is not None and (found["status"], found["reason"]) == (status, reason)

        found = condition(self.wait(has_it, f"{kind}={status} {reason}", timeout), kind)
        assert found is not None
        return found

    def pods(self, *roles: str) -> list[Json]:
        """Pods of some roles, of all that serve by default, as they are now."""
        return [pod for pod in self.history.live("pods") if role_of(pod) in (roles or ROLES)]

    def replicas(self) -> dict[str, int]:
        """Replicas that every Deployment should have."""
        return {each["metadata"]["name"]: each["spec"]["replicas"] for each in self.deployments()}

    def deployments(self) -> list[Json]:
        """Deployments that the operator made."""
        return [each for each in self.history.live("deployments") if role_of(each)]

    def events(self, reason: str) -> list[Json]:
        """Events about the resource, by their reason."""
        return [each for each in self.history.live("events") if each["reason"] == reason and _is_about(each, self.name)]

    def business(self, name: str = "Acme", **options: object) -> Business:
        """Create a business; see ``create_business``."""
        return create_business(self.kube, self.api, name, **options)

    @contextmanager
    def truth(self) -> Iterator[Truth]:
        """Database, queue and carrier themselves."""
        spec = self.kube.get("switchboard", self.name) or {}
        database, redis = spec["spec"]["database"]["migrationSecretRef"], spec["spec"]["redis"]["secretRef"]
        with truth.opened(
            self.kube,
            owner_url=secret_value(self.kube, database["name"], database["key"]),
            redis_url=secret_value(self.kube, redis["name"], redis["key"]),
            simulator_url=spec["spec"]["carrier"]["baseUrl"],
        ) as found:
            yield found


def role_of(found: Json) -> str | None:
    """The role of a pod or of another object."""
    role: str | None = found["metadata"].get("labels", {}).get(names.ROLE_LABEL)
    return role


def is_ready(pod: Json) -> bool:
    """Whether a pod serves."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def is_serving(pod: Json) -> bool:
    """Whether a pod serves, and is not about to go."""
    return is_ready(pod) and "deletionTimestamp" not in pod["metadata"]


def on_node(pod: Json, node: str) -> bool:
    """Whether a pod runs on a node."""
    return bool(pod["spec"].get("nodeName") == node)


def unready_moments(versions: list[Version], pods: set[str]) -> list[str]:
    """When any of some pods did not serve or was going, in words."""
    return [
        f"{each.name} at version {each.number}: {each.event}"
        for each in versions
        if each.name in pods and (each.event == "DELETED" or not is_serving(each.body))
    ]


def await_replicas(installation: Installation, deployment: str, count: int, *, timeout: float) -> None:
    """Wait until a Deployment should have so many replicas, and has them."""

    def there() -> bool:
        found = installation.history.one("deployments", deployment)
        ready = found.get("status", {}).get("availableReplicas", 0) if found else 0
        return bool(found and found["spec"]["replicas"] == count == ready)

    installation.history.wait(there, f"{deployment} to have {count} replicas", timeout)


def seconds_to_correct(installation: Installation) -> float:
    """Scale a Deployment as no operator lets it be, and see how long it takes until one corrects it."""
    wanted = installation.replicas()[installation.recorder]
    begun = installation.history.last
    installation.kube.run("scale", f"deployment/{installation.recorder}", f"--replicas={wanted + 1}")
    return seconds_to_undo(
        installation, installation.recorder, begun, lambda found: bool(found["spec"]["replicas"] == wanted)
    )


def seconds_to_undo(installation: Installation, name: str, begun: int, is_right: Callable[[Json], bool]) -> float:
    """How long a Deployment is not right.

    Args:
        installation: that it belongs to.
        name: of the Deployment that somebody has changed.
        begun: resource version from before that.
        is_right: looks at the Deployment.
    """
    history = installation.history

    def wrong() -> Version | None:
        return history.after(begun, "deployments", name, lambda found: not is_right(found))

    changed = history.wait(wrong, "the change", 10)
    undone = history.wait(lambda: history.after(changed.number, "deployments", name, is_right), "its repair", 60)
    return undone.at - changed.at


def secret_value(kube: Kube, name: str, key: str) -> str:
    """One value of a Secret."""
    template = f'{{{{index .data "{key}" | base64decode}}}}'
    return kube.run("get", "secret", name, "-o", f"go-template={template}")


def _applied(board: Json) -> tuple[str, str]:
    applied = board["status"].get("applied") or {}
    return applied.get("version", ""), applied.get("stage", "")


def _is_about(event: Json, name: str) -> bool:
    about = event.get("involvedObject", {})
    return (about.get("kind"), about.get("name")) == (names.KIND, name)
