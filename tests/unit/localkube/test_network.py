"""A node gets a network nobody else uses."""

from __future__ import annotations

import json

import pytest
from localkube import network
from localkube.errors import LocalkubeError


def routes(*destinations: str) -> str:
    return json.dumps([{"dst": one, "dev": "eth0"} for one in destinations])


@pytest.mark.parametrize(
    ("claimed", "destinations", "expected"),
    [
        (set(), ["default", "192.168.0.0/16"], 0),
        ({0, 1}, ["default"], 2),
        (set(), ["10.88.0.0/24"], 1),
        ({1}, ["10.88.0.0/23", "10.88.2.7"], 3),
    ],
)
def test_free_slot(claimed: set[int], destinations: list[str], expected: int) -> None:
    used = network.used_networks(routes(*destinations))
    assert network.free_slot(claimed, used) == expected


def test_no_free_slot_says_which_networks_are_taken() -> None:
    with pytest.raises(LocalkubeError, match=r"10\.88\.0\.0/24 to 10\.88\.63\.0/24"):
        network.free_slot(set(), network.used_networks(routes("10.0.0.0/8")))


def test_no_routes_at_all() -> None:
    assert network.used_networks("") == []
