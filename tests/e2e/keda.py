"""A real KEDA, from its Go module: its manifests, and an image of the programs that were built from it.

Its admission webhook is left out: it only checks what people write by hand.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from cluster import kind, parts
from cluster.console import step
from e2e.kube import Json, Kube, program
from e2e.lab import Lab

NAMESPACE = "keda"
DEPLOYMENTS = ("keda-operator", "keda-metrics-apiserver")
METRICS = "apiservice/v1beta1.external.metrics.k8s.io"
_MODULE = "github.com/kedacore/keda/v2"
_IMAGE = f"switchboard-e2e-keda:{parts.PARTS['keda-operator'].version}"
_DOCKERFILE = Path(__file__).with_name("keda_image") / "Dockerfile"
_LEFT_OUT = frozenset({"keda-admission", "keda-admission-webhooks"})


@contextmanager
def installed(lab: Lab) -> Iterator[Kube]:
    """KEDA in a namespace of its own, until the end of the body."""
    kube, everywhere = lab.kube.within(NAMESPACE), lab.kube.within("")
    manifests = _manifests(lab)
    _build_image(lab)
    kind.load([_IMAGE])
    text = yaml.safe_dump_all(manifests)
    try:
        with step("installing KEDA"):
            everywhere.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
            for name in DEPLOYMENTS:
                kube.run("rollout", "status", f"deployment/{name}", "--timeout=180s", timeout=190)
            # The API server asks again at growing intervals, the first times before KEDA has made its certificates.
            kube.run("wait", "--for=condition=Available", METRICS, "--timeout=240s", timeout=250)
        yield kube
    finally:
        everywhere.run("delete", "--ignore-not-found", "-f", "-", stdin=text, timeout=180)


def _manifests(lab: Lab) -> list[Json]:
    """What KEDA's own kustomization makes, with our image."""
    sources = parts.PARTS["keda-operator"].sources
    assert sources is not None
    folder = program(["go", "list", "-C", sources, "-m", "-f", "{{.Dir}}", _MODULE], lab.docker, timeout=60).strip()
    made = yaml.safe_load_all(lab.kube.run("kustomize", f"{folder}/config/default"))
    kept = [each for each in made if each["metadata"]["name"] not in _LEFT_OUT]
    for each in kept:
        if each["kind"] == "Deployment":
            container = each["spec"]["template"]["spec"]["containers"][0]
            container |= {"image": _IMAGE, "imagePullPolicy": "IfNotPresent"}
            container["resources"]["requests"] = {"cpu": "10m", "memory": "64Mi"}
            container["readinessProbe"] |= {"initialDelaySeconds": 1, "periodSeconds": 2}
    return kept


def _build_image(lab: Lab) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("keda-operator", "keda-adapter"):
            shutil.copy(parts.binary(name), folder)
        shutil.copy(_DOCKERFILE, folder)
        program(["docker", "build", "--quiet", "--tag", _IMAGE, folder], lab.docker, timeout=300)
