"""Where the cache is, and which settings are understood."""

from pathlib import Path

import pytest

from cluster import settings
from cluster.errors import ClusterError


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"HOME": "/home/a"}, "/home/a/.cache/switchboard"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/cache"}, "/cache/switchboard"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/cache", "SWITCHBOARD_CACHE_DIR": "/own"}, "/own"),
    ],
)
def test_the_cache_is_where_its_owner_wants_it(environment: dict[str, str], root: str) -> None:
    assert settings.cache_root(environment) == Path(root)


def test_the_kubeconfig_lies_in_the_checkout() -> None:
    assert Path(__file__).parents[3] / ".tools" / "cluster" / "kubeconfig" == settings.KUBECONFIG


def test_images_come_from_a_registry_or_from_here_unless_one_is_insisted_on() -> None:
    assert settings.image_source({}) == "auto"
    assert settings.image_source({"SWITCHBOARD_IMAGE_SOURCE": "local"}) == "local"


def test_an_unknown_source_of_images_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ClusterError, match=r"'private'; it can be auto, public or local"):
        settings.image_source({"SWITCHBOARD_IMAGE_SOURCE": "private"})


def test_the_usual_kubernetes_is_the_one_that_can_be_built_here() -> None:
    assert settings.KUBERNETES.startswith(f"v{settings.kubernetes_minor({})}.")


def test_an_unknown_kubernetes_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ClusterError, match=r"'1.20'; it can be 1.34, 1.35"):
        settings.kubernetes_minor({"SWITCHBOARD_KUBERNETES": "1.20"})


def test_every_public_node_image_is_pinned_by_its_content() -> None:
    assert all("@sha256:" in image for image in settings.PUBLIC_NODES.values())
