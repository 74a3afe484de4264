"""The cluster itself: three kind nodes that are kept while they are healthy and made anew when they are not."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cluster import docker, network, node_image, parts, storage
from cluster.commands import lock, run, succeeds
from cluster.console import say, step
from cluster.errors import ClusterError
from cluster.hashing import key
from cluster.kubectl import kubectl, read
from cluster.node_image import NodeImage
from cluster.settings import CLUSTER_NAME, KUBECONFIG, cache_root

ROLES = ("control-plane", "worker", "worker")
LIST_IMAGES = ("ctr", "--namespace=k8s.io", "images", "list")
RECIPE_LABEL = "switchboard.dev/recipe"
SECONDS_TO_CREATE = 600.0
SECONDS_TO_BE_READY = 180
SECONDS_FOR_A_HEALTHY_ONE = 20
# What must run before a test may begin, as kubectl names it.
DEPLOYMENTS = (("kube-system", "coredns"), (storage.NAMESPACE, "local-path-provisioner"))


def up() -> None:
    """Make sure that a healthy cluster runs, and write its kubeconfig.

    Raises:
        ClusterError: it cannot be had here; the sentence says what is missing.
    """
    env = docker.ensure()
    parts.ensure_all(["kind", "kubectl"])
    image = node_image.choose(env)
    volumes = storage.on_this_machine()
    volumes.mkdir(parents=True, exist_ok=True)
    config = cluster_config(image, str(volumes))
    with lock(cache_root() / "cluster.lock"):
        if _exists(env):
            if (reason := _why_not_kept(env, recipe_of(config))) is None:
                _repair(image, env)
                say(f"the cluster {CLUSTER_NAME} is healthy and kept; its kubeconfig is {KUBECONFIG}")
                return
            say(f"the cluster {CLUSTER_NAME} is made anew: {reason}")
            _delete(env)
        _create(config, image, env)
    say(f"the cluster {CLUSTER_NAME} is ready; its kubeconfig is {KUBECONFIG}")


def down() -> None:
    """Delete the cluster, if there is one, with everything that ran in it."""
    env = docker.find()
    if env is None:
        say("no Docker engine answers, so no cluster runs")
        return
    with lock(cache_root() / "cluster.lock"):
        if not _exists(env):
            say(f"there is no cluster {CLUSTER_NAME}")
            return
        with step(f"deleting the cluster {CLUSTER_NAME}"):
            _delete(env)


def load(images: Sequence[str]) -> None:
    """Copy images from the Docker engine to every node that lacks them.

    Args:
        images: their references; a pod must name them the same, and not ask for them to be pulled always.

    Raises:
        ClusterError: the engine lacks one, or there is no cluster.
    """
    env = docker.environment()
    nodes = run(_containers("--filter", "status=running"), env=env).split()
    if not nodes:
        raise ClusterError("There is no cluster to load images into; make one with `make cluster`.")
    wanted = {image: _id_of(image, env) for image in images}
    listings = {node: run(["docker", "exec", node, *LIST_IMAGES], env=env) for node in nodes}
    lacking = lacking_nodes(wanted, listings)
    if not lacking:
        say(f"all nodes have {', '.join(images)}")
        return
    missing = [image for image in images if image in lacking]
    targets = sorted({node for image in missing for node in lacking[image]})
    with step(f"loading {', '.join(missing)} into {', '.join(targets)}"):
        _kind(env, "load", "docker-image", "--name", CLUSTER_NAME, "--nodes", ",".join(targets), *missing)


def cluster_config(image: NodeImage, volumes: str) -> dict[str, Any]:
    """Return kind's configuration.

    Args:
        image: what the nodes run; one that was built here needs our network, and images under names of its own.
        volumes: the folder of this machine that all nodes share.
    """
    mount = {"hostPath": volumes, "containerPath": storage.ON_THE_NODES}
    config: dict[str, Any] = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"apiServerAddress": "127.0.0.1", "disableDefaultCNI": image.own},
        "nodes": [{"role": role, "image": image.reference, "extraMounts": [mount]} for role in ROLES],
    }
    if image.own:
        config["kubeadmConfigPatches"] = [json.dumps(_own_images())]
    recipe = recipe_of(config)
    for node in config["nodes"]:
        node["labels"] = {RECIPE_LABEL: recipe}
    return config


def recipe_of(config: Mapping[str, Any]) -> str:
    """Return the hash of a configuration, which the nodes carry as a label."""
    nodes = [{name: value for name, value in node.items() if name != "labels"} for node in config["nodes"]]
    return key({**config, "nodes": nodes})


def why_unhealthy(nodes: dict[str, Any], recipe: str) -> str | None:
    """Return why the nodes in a listing make no usable cluster, or None when they do.

    Args:
        nodes: as the API server lists them.
        recipe: the hash that they must have been made from.
    """
    if len(nodes["items"]) != len(ROLES):
        return f"it has {len(nodes['items'])} nodes instead of {len(ROLES)}"
    for node in nodes["items"]:
        name, labels = node["metadata"]["name"], node["metadata"].get("labels", {})
        if labels.get(RECIPE_LABEL) != recipe:
            return "it was made from another node image or configuration"
        conditions = {entry["type"]: entry["status"] for entry in node["status"].get("conditions", [])}
        if conditions.get("Ready") != "True":
            return f"its node {name} is not ready"
    return None


def lacking_nodes(wanted: Mapping[str, str], listings: Mapping[str, str]) -> dict[str, list[str]]:
    """Return which nodes lack which images.

    Args:
        wanted: the ids of images, by reference.
        listings: what containerd's client lists on each node: a name and a digest in each line. It knows an image by
            its id too, and both names of one image have the same digest.

    Returns:
        The nodes that lack an image, by its reference; images that all nodes have are left out.
    """
    lacking: dict[str, list[str]] = {}
    for node, listing in listings.items():
        digests = {words[0]: words[2] for line in listing.splitlines() if len(words := line.split()) > 2}
        for reference, identity in wanted.items():
            named = {digest for name, digest in digests.items() if f"/{name}".endswith(f"/{reference}")}
            if digests.get(identity) not in named:
                lacking.setdefault(reference, []).append(node)
    return lacking


def _id_of(image: str, env: Mapping[str, str]) -> str:
    try:
        return run(["docker", "image", "inspect", "--format", "{{.Id}}", image], env=env).strip()
    except ClusterError as error:
        raise ClusterError(f"The Docker engine has no image {image}; build it with `make images`.") from error


def _own_images() -> dict[str, Any]:
    """Return kubeadm's settings for the images baked into a node image built here."""
    etcd, dns = parts.PARTS["etcd"].version, parts.PARTS["coredns"].version
    return {
        "kind": "ClusterConfiguration",
        "imageRepository": node_image.REPOSITORY,
        "dns": {"imageTag": dns},
        # The cluster is thrown away: it need not survive a power cut, and disks of test machines are slow.
        "etcd": {"local": {"imageTag": etcd, "extraArgs": {"unsafe-no-fsync": "true"}}},
    }


def _create(config: Mapping[str, Any], image: NodeImage, env: Mapping[str, str]) -> None:
    with step(f"creating the cluster {CLUSTER_NAME} on {image.reference}"):
        KUBECONFIG.parent.mkdir(parents=True, exist_ok=True)
        arguments = ("--name", CLUSTER_NAME, "--kubeconfig", str(KUBECONFIG), "--config", "-")
        _kind(env, "create", "cluster", *arguments, stdin=json.dumps(config), timeout=SECONDS_TO_CREATE)
    with step("connecting its pods, DNS and volumes"):
        if image.own:
            network.connect(env)
        storage.share()
        _await_ready()


def _await_ready() -> None:
    timeout = f"--timeout={SECONDS_TO_BE_READY}s"
    kubectl("wait", "--for=condition=Ready", "nodes", "--all", timeout, timeout=SECONDS_TO_BE_READY + 10)
    for namespace, name in DEPLOYMENTS:
        _await_deployment(namespace, name, SECONDS_TO_BE_READY)


def _repair(image: NodeImage, env: Mapping[str, str]) -> None:
    """Put right what a test that was interrupted, or a node that was restarted, leaves behind."""
    kubectl("uncordon", "--selector", RECIPE_LABEL)
    if image.own:
        network.connect(env)


def _why_not_kept(env: Mapping[str, str], recipe: str) -> str | None:
    running = run(_containers("--filter", "status=running"), env=env).split()
    if len(running) != len(ROLES):
        return f"only {len(running)} of its {len(ROLES)} nodes run"
    KUBECONFIG.parent.mkdir(parents=True, exist_ok=True)
    try:
        _kind(env, "export", "kubeconfig", "--name", CLUSTER_NAME, "--kubeconfig", str(KUBECONFIG))
        unhealthy = why_unhealthy(read("nodes", "--request-timeout=10s"), recipe)
    except ClusterError as error:
        return f"its API server does not answer ({str(error).splitlines()[-1]})"
    return unhealthy or _why_not_serving(SECONDS_FOR_A_HEALTHY_ONE)


def _why_not_serving(seconds: int) -> str | None:
    """Return which of the cluster's own deployments does not become available in time, or None when all do."""
    for namespace, name in DEPLOYMENTS:
        try:
            _await_deployment(namespace, name, seconds)
        except ClusterError:
            return f"its deployment {namespace}/{name} is not available"
    return None


def _await_deployment(namespace: str, name: str, seconds: int) -> None:
    timeout = f"--timeout={seconds}s"
    kubectl("rollout", "status", f"deployment/{name}", "--namespace", namespace, timeout, timeout=seconds + 10)


def _exists(env: Mapping[str, str]) -> bool:
    return bool(run(_containers("--all"), env=env).split())


def _containers(*arguments: str) -> list[str]:
    own = f"label=io.x-k8s.kind.cluster={CLUSTER_NAME}"
    return ["docker", "ps", *arguments, "--filter", own, "--format", "{{.Names}}"]


def _delete(env: Mapping[str, str]) -> None:
    # From within, where it is root: volumes hold files of the users that pods ran as.
    clear = ["find", storage.ON_THE_NODES, "-mindepth", "1", "-delete"]
    succeeds(["docker", "exec", f"{CLUSTER_NAME}-control-plane", *clear], env=env)
    _kind(env, "delete", "cluster", "--name", CLUSTER_NAME, "--kubeconfig", str(KUBECONFIG))


def _kind(env: Mapping[str, str], *arguments: str, stdin: str | None = None, timeout: float = 300.0) -> str:
    return run([parts.binary("kind"), *arguments], env=env, stdin=stdin, timeout=timeout)
