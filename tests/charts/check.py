"""Checks both charts: ``helm lint``, their unit tests, and every manifest against the schema of its kind."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charts import schemas
from charts.paths import BOTH, EXAMPLES, OPERATOR, ROOT, SWITCHBOARD
from cluster import parts
from cluster.commands import run
from cluster.settings import KUBERNETES


@dataclass(frozen=True)
class Case:
    """One way to install a chart.

    Attributes:
        name: says what is special about it.
        chart: which.
        values: files with values, later ones first in rank.
        settings: single values, as for ``--set``.
    """

    name: str
    chart: Path
    values: tuple[Path, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """Options for helm."""
        files = [option for path in self.values for option in ("--values", str(path))]
        return files + [option for setting in self.settings for option in ("--set", setting)]


_MONITORED = ("metrics.prometheusRule.enabled=true", "metrics.dashboard.enabled=true")
CASES = (
    Case("operator of all namespaces", OPERATOR),
    Case("operator of two namespaces", OPERATOR, settings=("watchNamespaces={calls,sales}",)),
    Case(
        "operator with everything",
        OPERATOR,
        settings=(*_MONITORED, "metrics.serviceMonitor.enabled=true", "networkPolicy.enabled=true"),
    ),
    Case("trial", SWITCHBOARD, (EXAMPLES / "values-trial.yaml",)),
    Case("production", SWITCHBOARD, (EXAMPLES / "values-production.yaml",)),
    Case(
        "trial with everything",
        SWITCHBOARD,
        (EXAMPLES / "values-trial.yaml",),
        (
            *_MONITORED,
            "metrics.podMonitor.enabled=true",
            "spec.networkPolicies.enabled=true",
            "egressPolicy.enabled=true",
            "ingress.enabled=true",
            "ingress.host=calls.example.com",
            "httpRoute.enabled=true",
            "httpRoute.parentRefs[0].name=public",
        ),
    ),
)


def render(case: Case) -> str:
    """The manifests of a case, hooks and tests included.

    Raises:
        ClusterError: helm is missing, or refuses the values.
    """
    options = ["--namespace", "calls", "--kube-version", KUBERNETES, *case.options]
    return run([parts.binary("helm"), "template", "main", case.chart, *options])


def validate(manifests: Sequence[Path]) -> str:
    """Check manifests against the schemas of their kinds; returns kubeconform's summary.

    Raises:
        ClusterError: one is wrong, or kubeconform or a schema is missing.
    """
    location = f"{schemas.folder()}/{schemas.FILE_NAME}"
    return run([parts.binary("kubeconform"), "-strict", "-summary", "-schema-location", location, *manifests])


def check_all() -> None:
    """Run every check, and say what is checked.

    Raises:
        ClusterError: a check fails, or a program is missing.
    """
    for case in CASES:
        _say(f"lint: {case.name}")
        options = ["--strict", "--quiet", "--kube-version", KUBERNETES, *case.options]
        run([parts.binary("helm"), "lint", case.chart, *options])
    for chart in BOTH:
        _say(f"unit tests: {chart.name}")
        _say(run([parts.binary("helm-unittest"), "--strict", chart]).rstrip())
    with tempfile.TemporaryDirectory() as folder:
        manifests = [EXAMPLES / "switchboard.yaml"]
        for case in CASES:
            manifests.append(Path(folder) / f"{case.name.replace(' ', '-')}.yaml")
            manifests[-1].write_text(render(case), "utf-8")
        _say(f"manifests: {', '.join(str(path.name) for path in manifests)}")
        _say(validate(manifests).rstrip())


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence.replace(f'{ROOT}/', '')}\n")
    sys.stdout.flush()
