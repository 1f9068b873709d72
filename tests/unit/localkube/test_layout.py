"""Names and folders: where state and cache live, which names are allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from localkube.errors import LocalkubeError
from localkube.layout import Layout, NodeAddresses, check_name, node_endpoints, roots

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
    all_slots = [NodeAddresses(slot) for slot in range(64)]
    assert len({one.subnet for one in all_slots}) == 64
    assert len({one.link for one in all_slots}) == 64
    assert max(len(one.link) for one in all_slots) <= 15


def test_server_of_a_node_is_its_own_address() -> None:
    assert node_endpoints(NodeAddresses(3)).server == "https://10.88.3.2:6443"


def test_clusters_share_no_path_and_no_kernel_object() -> None:
    one, two = Layout("a", Path("/s/a")), Layout("b", Path("/s/b"))
    assert one.netns != two.netns
    assert one.cgroup != two.cgroup
    assert not one.containerd_socket.is_relative_to(two.root)
