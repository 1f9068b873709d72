"""The record of a cluster survives a round trip and is replaced in one step."""

from __future__ import annotations

import threading
from pathlib import Path

from localkube import state
from localkube.layout import Endpoints, Layout
from localkube.processes import ProcessRecord, wait_until
from localkube.state import State

STATE = State(
    mode=state.NODE,
    boot_id="boot",
    binaries="kubernetes-1",
    endpoints=Endpoints("10.88.0.2", 6443, 2379, 2380),
    slot=0,
    processes={"etcd": ProcessRecord(1, 2, "boot")},
    sysctls={"kernel/panic": "0"},
    created_folders=["/var/lib/kubelet"],
)


def test_round_trip(tmp_path: Path) -> None:
    layout = Layout("one", tmp_path / "one")
    assert state.load(layout) is None
    state.save(layout, STATE)
    assert state.load(layout) == STATE


def test_record_is_private_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    layout = Layout("one", tmp_path)
    state.save(layout, STATE)
    state.save(layout, STATE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    assert layout.state_file.stat().st_mode & 0o077 == 0


def test_lock_excludes_others_even_when_its_file_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    inside: list[str] = []
    overlaps: list[list[str]] = []
    second_waits = threading.Event()

    def other(name: str) -> None:
        second_waits.set()
        with state.locked(path):
            inside.append(name)
            overlaps.append(list(inside))
            inside.remove(name)

    with state.locked(path):
        inside.append("first")
        threads = [threading.Thread(target=other, args=(name,)) for name in ("b", "c")]
        for thread in threads:
            thread.start()
        assert second_waits.wait(10)
        path.unlink()
        inside.remove("first")
    for thread in threads:
        thread.join(10)
    assert wait_until(lambda: len(overlaps) == 2, 10)
    assert all(len(seen) == 1 for seen in overlaps)
