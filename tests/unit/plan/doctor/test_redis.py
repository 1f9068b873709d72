"""What the doctor finds in a server of Redis."""

from __future__ import annotations

import pytest

from outbox_operator.plan.doctor.redis import check_keys, check_server
from outbox_operator.plan.redis.observed import ObservedGroup, ObservedKey, ObservedServer

WELL = ObservedServer(appends=True, fsync="always")


@pytest.mark.parametrize(
    ("server", "found"),
    [
        (WELL, []),
        (ObservedServer(), [("CommitsNotDurable", "Warning")]),
        (ObservedServer(appends=True, fsync="everysec"), [("CommitsNotDurable", "Info")]),
        (ObservedServer(appends=True), []),
        (ObservedServer(appends=True, used_memory=85, max_memory=100), [("Storage", "Warning")]),
        (ObservedServer(appends=True, used_memory=99, max_memory=100), [("Storage", "Error")]),
        (ObservedServer(appends=True, used_memory=99), []),
    ],
)
def test_servers(server: ObservedServer, found: list[tuple[str, str]]) -> None:
    assert [(one.check, one.severity) for one in check_server("Redis", server)] == found


def test_a_group_that_does_not_read_is_named() -> None:
    groups = (ObservedGroup(name="idle", lag=8, pending=4), ObservedGroup(name="busy", lag=None))
    key = ObservedKey(name="k", bytes=4096, groups=groups)
    (finding,) = check_keys([key], 10)
    assert finding.check == "NobodyReads"
    assert "12 entries wait for group idle" in finding.message
    (unlimited,) = check_keys([key], -1)
    assert unlimited.check == "StreamUnlimited"
