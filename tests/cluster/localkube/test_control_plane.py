"""A control plane of its own: started, found again, repaired, and removed without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from localkube import cluster, processes, state
from localkube.api import ApiClient
from localkube.errors import LocalkubeError
from localkube.layout import REPOSITORY, Endpoints, Roots, current_roots

pytestmark = pytest.mark.cluster

NAME = f"localkube-test-{os.getpid()}"
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kept"}}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Roots]:
    """Folders of this test; whatever runs in them at its end is removed."""
    cache = current_roots().cache
    monkeypatch.setenv("LOCALKUBE_STATE", str(tmp_path))
    yield Roots(state=tmp_path, cache=cache)
    cluster.down(current_roots(), NAME)


def localkube(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as people do."""
    script = REPOSITORY / "hack" / "localkube" / "localkube"
    command = [str(script), *arguments, "--name", NAME]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def up() -> tuple[dict[str, Any], str]:
    """Bring the control plane up; its facts, and what was said on the screen."""
    done = localkube("up", "--control-plane-only", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_life_of_a_control_plane(places: Roots) -> None:
    facts, _ = up()
    client = ApiClient(facts["server"], Path(facts["kubeconfig"]).parent)
    client.create("/api/v1/namespaces", NAMESPACE)
    assert localkube("status").returncode == 0

    again, said = up()
    assert again == facts
    assert "already running" in said

    # The other kind of cluster under the same name is a mistake, not a reason to remove this one.
    with pytest.raises(LocalkubeError, match="exists as control-plane, wanted node"):
        cluster.up(places, NAME, state.NODE)

    for pid in facts["pids"].values():
        os.kill(pid, signal.SIGKILL)
    assert localkube("status").returncode == 1
    repaired, said = up()
    assert "starting what is missing" in said
    assert repaired["server"] == facts["server"]
    assert client.get("/api/v1/namespaces/kept") is not None

    assert localkube("down").returncode == 0
    left = {pid for pid, argv in processes.command_lines().items() if any(NAME in a for a in argv)}
    assert not left & {*facts["pids"].values(), *repaired["pids"].values()}
    assert not [path for path in places.state.rglob("*") if path.is_file()]
    assert localkube("status").returncode == 3


def test_rest_of_another_boot_or_of_an_unfinished_start_is_replaced(places: Roots) -> None:
    layout = cluster.cluster_layout(places, NAME)
    (layout.root / "etcd").mkdir(parents=True)
    (layout.root / "etcd" / "rest").touch()
    facts, said = up()
    assert "unfinished start" in said

    for pid in facts["pids"].values():
        os.kill(pid, signal.SIGKILL)
    recorded = state.load(layout)
    assert recorded is not None
    recorded.boot_id = "another boot"
    state.save(layout, recorded)
    _, said = up()
    assert "machine was restarted" in said


def test_port_taken_between_looking_and_listening(
    places: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = cluster._free_endpoints
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = find()
        offers = [Endpoints("127.0.0.1", first.apiserver, taken.getsockname()[1], first.etcd_peer)]
        monkeypatch.setattr(cluster, "_free_endpoints", lambda: offers.pop() if offers else find())
        current = cluster.up(places, NAME, state.CONTROL_PLANE)
        assert not offers
        assert current.endpoints.etcd_client != taken.getsockname()[1]
