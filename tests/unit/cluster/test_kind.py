"""What the cluster is made from, and when it is kept."""

import json
from typing import Any

import pytest

from cluster import kind, node_image
from cluster.node_image import NodeImage

PUBLIC = NodeImage("kindest/node:v1.34.0", own=False)
OWN = NodeImage("switchboard-node:0123456789ab", own=True)


def listing(recipe: str, *, ready: str = "True", nodes: int = 3) -> dict[str, Any]:
    node = {
        "metadata": {"name": "switchboard-worker", "labels": {kind.RECIPE_LABEL: recipe}},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }
    return {"items": [node] * nodes}


def test_the_public_image_keeps_its_own_network_and_images() -> None:
    config = kind.cluster_config(PUBLIC, "/volumes")

    assert config["networking"]["disableDefaultCNI"] is False
    assert "kubeadmConfigPatches" not in config


def test_an_image_built_here_gets_our_network_and_runs_the_images_baked_into_it() -> None:
    config = kind.cluster_config(OWN, "/volumes")

    (patch,) = config["kubeadmConfigPatches"]
    assert config["networking"]["disableDefaultCNI"] is True
    assert json.loads(patch)["imageRepository"] == node_image.REPOSITORY


def test_every_node_runs_the_image_and_shares_the_folder_of_volumes() -> None:
    nodes = kind.cluster_config(OWN, "/volumes")["nodes"]

    assert [node["role"] for node in nodes] == ["control-plane", "worker", "worker"]
    assert all(node["image"] == OWN.reference for node in nodes)
    assert all(node["extraMounts"][0]["hostPath"] == "/volumes" for node in nodes)


def test_the_nodes_carry_the_recipe_that_they_were_made_from() -> None:
    config = kind.cluster_config(OWN, "/volumes")

    assert {node["labels"][kind.RECIPE_LABEL] for node in config["nodes"]} == {kind.recipe_of(config)}


def test_another_image_is_another_recipe() -> None:
    assert kind.recipe_of(kind.cluster_config(OWN, "/volumes")) != kind.recipe_of(
        kind.cluster_config(PUBLIC, "/volumes")
    )


def test_three_ready_nodes_of_the_same_recipe_are_kept() -> None:
    assert kind.why_unhealthy(listing("same"), "same") is None


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (listing("same", nodes=2), "it has 2 nodes instead of 3"),
        (listing("other"), "it was made from another node image or configuration"),
        (listing("same", ready="Unknown"), "its node switchboard-worker is not ready"),
    ],
)
def test_the_reason_to_make_a_cluster_anew_is_named(nodes: dict[str, Any], reason: str) -> None:
    assert kind.why_unhealthy(nodes, "same") == reason


LISTING = """REF                                          TYPE        DIGEST      SIZE    PLATFORMS   LABELS
docker.io/library/switchboard-api:0.1.0      application sha256:aaa  1.0 MiB linux/amd64 io.cri
docker.io/library/old-switchboard-api:0.1.0  application sha256:bbb  1.0 MiB linux/amd64 io.cri
sha256:111                                   application sha256:aaa  1.0 MiB linux/amd64 io.cri
sha256:222                                   application sha256:bbb  1.0 MiB linux/amd64 io.cri
"""


def test_an_image_that_every_node_has_is_loaded_nowhere() -> None:
    assert kind.lacking_nodes({"switchboard-api:0.1.0": "sha256:111"}, {"worker": LISTING}) == {}


@pytest.mark.parametrize(
    "wanted",
    [
        {"switchboard-api:0.1.0": "sha256:333"},
        {"switchboard-api:0.1.0": "sha256:222"},
        {"switchboard-api:9": "sha256:111"},
    ],
    ids=["built anew", "the name is another image's", "another name"],
)
def test_an_image_that_a_node_has_otherwise_is_loaded_there(wanted: dict[str, str]) -> None:
    empty = LISTING.splitlines()[0]

    assert kind.lacking_nodes(wanted, {"worker": LISTING, "worker2": empty}) == {
        next(iter(wanted)): ["worker", "worker2"]
    }


def test_a_kubernetes_that_cannot_be_built_here_asks_for_a_registry() -> None:
    assert node_image.why_no_own("1.34") is None
    assert node_image.why_no_own("1.37") == (
        "Kubernetes 1.37 needs kind's public node image and no registry can be reached; 1.34 can be built here."
    )


def test_another_program_gives_another_node_image() -> None:
    assert node_image.own_reference(["a", "b"]) == node_image.own_reference(["b", "a"])
    assert node_image.own_reference(["a", "b"]) != node_image.own_reference(["a", "c"])
