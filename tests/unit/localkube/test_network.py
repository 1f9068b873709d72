"""A node gets a network nobody else uses."""

from __future__ import annotations

import json

import pytest
from localkube import network
from localkube.errors import LocalkubeError


def routes(*destinations: str) -> str:
    return json.dumps([{"dst": one, "dev": "eth0"} for one in destinations])


@pytest.mark.parametrize(
    ("claimed", "destinations", "within", "expected"),
    [
        (set(), ["default", "192.168.0.0/16"], "10.88", 0),
        ({"10.88.0.0/24", "10.88.1.0/24"}, ["default"], "10.88", 2),
        (set(), ["10.88.0.0/24"], "10.88", 1),
        ({"10.88.1.0/24"}, ["10.88.0.0/23", "10.88.2.7"], "10.88", 3),
        ({"10.88.0.0/24"}, ["10.0.0.0/8"], "172.30", 0),
    ],
)
def test_free_slot(claimed: set[str], destinations: list[str], within: str, expected: int) -> None:
    used = network.used_networks(routes(*destinations))
    assert network.free_slot(claimed, used, within) == expected


def test_no_free_slot_says_what_is_in_the_way_and_what_helps() -> None:
    wanted = r"10\.88\.63\.0/24 are in use, by the route to 10\.0\.0\.0/8; LOCALKUBE_NETWORK="
    with pytest.raises(LocalkubeError, match=wanted):
        network.free_slot(set(), network.used_networks(routes("10.0.0.0/8")))


def test_no_routes_at_all() -> None:
    assert network.used_networks("") == []
