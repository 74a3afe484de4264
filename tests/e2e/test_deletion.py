"""A Switchboard takes everything that it owns with it, whether or not an operator is there to see it."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.installation import Installation
from e2e.kube import Kube
from e2e.lab import Operator

OWNED = (
    "deployments,replicasets,jobs,pods,services,serviceaccounts,secrets,persistentvolumeclaims,"
    "poddisruptionbudgets,networkpolicies"
)
MANAGED = "app.kubernetes.io/managed-by=switchboard-operator"


def test_everything_goes_while_the_operator_runs(first: Installation) -> None:
    _delete_and_check(first)


def test_everything_goes_while_no_operator_runs(second: Installation, operator: Operator) -> None:
    with _no_operator(operator):
        _delete_and_check(second)


def _delete_and_check(installation: Installation) -> None:
    kube = installation.kube
    assert _owned(kube)
    kube.run("delete", "switchboard", installation.name, timeout=60)
    kube.run("wait", "--for=delete", OWNED, "-l", MANAGED, "--timeout=120s", timeout=130)
    assert _owned(kube) == []
    kube.run("delete", "namespace", kube.namespace, timeout=180)


def _owned(kube: Kube) -> list[str]:
    return kube.run("get", OWNED, "-l", MANAGED, "-o", "name").split()


@contextmanager
def _no_operator(operator: Operator) -> Iterator[None]:
    operator.scale(0)
    try:
        yield
    finally:
        operator.scale(2)
