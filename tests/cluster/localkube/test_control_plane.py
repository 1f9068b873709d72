"""A control plane of its own: started, found again, repaired, and removed without a trace."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from localkube import cluster, processes, starter, state
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


@pytest.mark.thorough
def test_life_of_a_control_plane(places: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
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

    # A server that is too slow loses nothing, and the next try goes on.
    monkeypatch.setattr(starter, "_READY_SECONDS", 1)
    frozen = repaired["pids"]["kube-apiserver"]
    os.kill(frozen, signal.SIGSTOP)
    try:
        with pytest.raises(LocalkubeError, match="did not recover and stays as it is"):
            cluster.up(places, NAME, state.CONTROL_PLANE)
    finally:
        os.kill(frozen, signal.SIGCONT)
    monkeypatch.undo()
    monkeypatch.setenv("LOCALKUBE_STATE", str(places.state))
    again, _ = up()
    assert again == repaired
    assert client.get("/api/v1/namespaces/kept") is not None

    assert localkube("down").returncode == 0
    left = {pid for pid, argv in processes.command_lines().items() if any(NAME in a for a in argv)}
    assert not left & {*facts["pids"].values(), *repaired["pids"].values()}
    assert not [path for path in places.state.rglob("*") if path.is_file()]
    assert localkube("status").returncode == 3


@pytest.mark.thorough
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
    refused = localkube("up", "--control-plane-only")
    assert refused.returncode == 1
    assert "machine was restarted" in refused.stderr
    recreating = refused.stderr.partition("`")[2].partition("`")[0]
    assert recreating.endswith(f"up --name {NAME} --control-plane-only --recreate")
    done = subprocess.run(
        shlex.split(recreating), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert localkube("status").returncode == 0

    # Without the record it is still found by what runs of it.
    recorded = state.load(layout)
    assert recorded is not None
    layout.state_file.write_text("")
    assert localkube("down").returncode == 0
    assert not any(map(processes.is_alive, recorded.processes.values()))
    assert not layout.root.exists()


@pytest.mark.thorough
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
