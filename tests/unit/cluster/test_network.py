"""The network between pods of nodes that were built here."""

from typing import Any

from cluster import network
from cluster.network import Node

ONE = Node("one", "172.18.0.2", "10.244.0.0/24")
TWO = Node("two", "172.18.0.3", "10.244.1.0/24")

COREFILE = """.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
    }
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
"""


def item(**spec: Any) -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": "one"}, {"type": "InternalIP", "address": "172.18.0.2"}]
    return {"metadata": {"name": "one"}, "spec": spec, "status": {"addresses": addresses}}


def test_a_node_reaches_the_pods_of_the_others_through_the_others() -> None:
    assert network.routes(ONE, [ONE, TWO]) == [["ip", "route", "replace", "10.244.1.0/24", "via", "172.18.0.3"]]


def test_a_node_gives_its_pods_addresses_from_its_own_range() -> None:
    bridge, _ports = network.bridge_configuration(ONE.pods)["plugins"]

    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.0.0/24"}]]


def test_dns_forwards_nothing_and_still_answers_for_the_cluster() -> None:
    corefile = network.cluster_names_only(COREFILE)

    assert "forward" not in corefile
    assert "loop" not in corefile
    assert "loadbalance" in corefile
    assert corefile.count("{") == corefile.count("}") == 2


def test_dns_that_forwards_nothing_is_left_as_it_is() -> None:
    corefile = network.cluster_names_only(COREFILE)

    assert network.cluster_names_only(corefile) == corefile


def test_nodes_are_read_once_each_has_a_range_and_an_address() -> None:
    assert network.nodes_of({"items": [item(podCIDR="10.244.0.0/24")]}) == [ONE]


def test_a_node_without_a_range_is_waited_for() -> None:
    assert network.nodes_of({"items": [item(podCIDR="10.244.0.0/24"), item()]}) is None
