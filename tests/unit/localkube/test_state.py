"""The record of a cluster survives a round trip and is replaced in one step."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
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


@pytest.mark.parametrize(
    "text",
    ["", '{"mode": "no', "[]", '{"mode": "node"}', state.to_json(STATE).replace("slot", "place")],
    ids=["empty", "cut", "another document", "fields are missing", "of another version"],
)
def test_what_cannot_be_read_is_said_with_the_cure_and_keeps_nobody_else_away(
    tmp_path: Path, text: str
) -> None:
    damaged, whole = Layout("damaged", tmp_path / "damaged"), Layout("whole", tmp_path / "whole")
    state.save(whole, STATE)
    damaged.root.mkdir()
    damaged.state_file.write_text(text)
    with pytest.raises(state.UnreadableStateError, match=r"localkube down --name damaged` removes"):
        state.load(damaged)
    assert list(state.load_all(tmp_path)) == [(damaged, None), (whole, STATE)]


def test_a_record_from_before_nodes_could_have_other_networks() -> None:
    older = state.to_json(STATE).replace(' "network": "10.88",\n', "")
    assert "network" not in older
    assert state.from_json(older) == STATE


def test_record_is_private_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    layout = Layout("one", tmp_path)
    state.save(layout, STATE)
    state.save(layout, STATE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    assert layout.state_file.stat().st_mode & 0o077 == 0


def test_lock_excludes_others_even_when_its_file_was_removed(tmp_path: Path) -> None:
    """Whoever waited for the removed file and whoever made a new one exclude each other too."""
    path = tmp_path / "lock"
    inside: list[str] = []
    overlaps: list[list[str]] = []
    may_leave = threading.Event()

    def other(name: str) -> None:
        with state.locked(path):
            inside.append(name)
            if name == "new":
                assert may_leave.wait(10)
            overlaps.append(list(inside))
            inside.remove(name)

    early, late, new = (
        threading.Thread(target=other, args=(name,)) for name in ("early", "late", "new")
    )
    with state.locked(path):
        early.start()
        late.start()
        assert wait_until(lambda: waiting(path) == 2, 10)
        assert inside == []
        # Removed by its holder as the last thing: whoever comes now makes another.
        path.unlink()
        new.start()
        assert wait_until(lambda: inside == ["new"], 10)
    assert wait_until(lambda: waiting(path) == 2, 10)
    may_leave.set()
    for thread in (early, late, new):
        thread.join(10)
    assert sorted(overlaps) == [["early"], ["late"], ["new"]]


def waiting(path: Path) -> int:
    """How many wait for the lock on a file."""
    inode = str(path.stat().st_ino)
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return sum("->" in line and line[-3].rpartition(":")[2] == inode for line in lines)
