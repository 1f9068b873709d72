"""Names and folders: where state and cache live, which names are allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from localkube.errors import LocalkubeError
from localkube.layout import (
    Layout,
    NodeAddresses,
    check_name,
    check_network,
    command,
    node_endpoints,
    roots,
)

HOME = Path("/home/me")


@pytest.mark.parametrize(
    ("environ", "uid", "state", "cache"),
    [
        (
            {},
            1000,
            "/home/me/.local/state/outbox-operator/localkube",
            "/home/me/.cache/outbox-operator/localkube",
        ),
        (
            {},
            0,
            "/var/lib/outbox-operator/localkube",
            "/home/me/.cache/outbox-operator/localkube",
        ),
        (
            {"XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c"},
            1000,
            "/s/outbox-operator/localkube",
            "/c/outbox-operator/localkube",
        ),
        ({"LOCALKUBE_STATE": "/x", "LOCALKUBE_CACHE": "/y"}, 0, "/x", "/y"),
    ],
)
def test_roots(environ: dict[str, str], uid: int, state: str, cache: str) -> None:
    found = roots(environ, uid=uid, home=HOME)
    assert (str(found.state), str(found.cache)) == (state, cache)


@pytest.mark.parametrize("name", ["a", "demo", "test-12", "x" * 40])
def test_allowed_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "../x", "a b", "x" * 41])
def test_refused_names(name: str) -> None:
    with pytest.raises(LocalkubeError, match="cluster name"):
        check_name(name)


def test_every_slot_has_its_own_addresses_and_a_link_name_the_kernel_takes() -> None:
    networks = ("10.88", "172.30", "192.168")
    all_slots = [NodeAddresses(slot, network) for slot in range(64) for network in networks]
    assert len({one.subnet for one in all_slots}) == len(all_slots)
    assert len({one.link for one in all_slots}) == len(all_slots)
    assert max(len(one.link) for one in all_slots) <= 15


def test_server_of_a_node_is_its_own_address() -> None:
    assert node_endpoints(NodeAddresses(3)).server == "https://10.88.3.2:6443"


def test_clusters_share_no_path_and_no_kernel_object() -> None:
    one, two = Layout("a", Path("/s/a")), Layout("b", Path("/s/b"))
    elsewhere = Layout("a", Path("/other/a"))
    assert len({one.netns, two.netns, elsewhere.netns}) == 3
    assert len({one.cgroup, two.cgroup, elsewhere.cgroup}) == 3
    assert not one.containerd_socket.is_relative_to(two.root)
    assert one.volumes.is_relative_to(one.root), "what pods wrote goes with the cluster"


@pytest.mark.parametrize("text", ["10.88", "172.30", "192.168"])
def test_networks_that_nodes_may_have(text: str) -> None:
    assert check_network(text) == text


@pytest.mark.parametrize(
    "text", ["10", "10.88.0.0/16", "10.256", "0.1", "224.0", "10.244", "10.96"]
)
def test_networks_that_are_none_or_those_of_pods_and_services(text: str) -> None:
    with pytest.raises(LocalkubeError, match="LOCALKUBE_NETWORK: wanted"):
        check_network(text)


def test_commands_that_are_shown_can_be_pasted() -> None:
    assert command("down", "outbox-demo").endswith("hack/localkube/localkube down")
    assert command("up", "b", "--recreate").endswith("localkube up --name b --recreate")
