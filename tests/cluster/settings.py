"""Where things are, and the versions that are pinned."""

import os
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import ClusterError

PACKAGE = Path(__file__).parent
CHECKOUT = PACKAGE.parents[1]

# Of the programs built here, and so of the node image built here.
KUBERNETES = "v1.34.4"
# Released together with the version of kind in `parts`, which promises to start them.
PUBLIC_NODES = {
    "1.34": "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d",
    "1.35": "kindest/node:v1.35.8@sha256:07b2536e30b803ed61d1677a79df6115f798ce64c80f9e22f6ed45afd09323c0",
    "1.36": "kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed",
    "1.37": "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5",
}

CLUSTER_NAME = "switchboard"
KUBECONFIG = CHECKOUT / ".tools" / "cluster" / "kubeconfig"


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder outside the checkout in which everything built or pulled is kept between runs.

    Args:
        environment: ``SWITCHBOARD_CACHE_DIR`` names it; without that it lies in the user's cache folder.

    Returns:
        An absolute path that need not exist yet.
    """
    if own := environment.get("SWITCHBOARD_CACHE_DIR"):
        return Path(own).expanduser().absolute()
    if shared := environment.get("XDG_CACHE_HOME"):
        return Path(shared).absolute() / "switchboard"
    return Path(environment.get("HOME") or Path.home()) / ".cache" / "switchboard"


def image_source(environment: Mapping[str, str] = os.environ) -> str:
    """Return where base and node images come from.

    Args:
        environment: ``SWITCHBOARD_IMAGE_SOURCE`` insists on ``public`` or ``local``.

    Returns:
        ``public`` (a registry), ``local`` (built here) or ``auto`` (public where a registry can be reached).

    Raises:
        ClusterError: it names something else.
    """
    source = environment.get("SWITCHBOARD_IMAGE_SOURCE") or "auto"
    if source not in ("auto", "local", "public"):
        raise ClusterError(f"SWITCHBOARD_IMAGE_SOURCE is {source!r}; it can be auto, public or local.")
    return source


def kubernetes_minor(environment: Mapping[str, str] = os.environ) -> str:
    """Return the minor version of Kubernetes that the cluster runs, such as "1.34".

    Args:
        environment: ``SWITCHBOARD_KUBERNETES`` names another than the usual one.

    Raises:
        ClusterError: no node image is known for it.
    """
    minor = environment.get("SWITCHBOARD_KUBERNETES") or next(iter(PUBLIC_NODES))
    if minor not in PUBLIC_NODES:
        raise ClusterError(f"SWITCHBOARD_KUBERNETES is {minor!r}; it can be {', '.join(PUBLIC_NODES)}.")
    return minor
