"""A daemon that ended says why, and not where in its code."""

from __future__ import annotations

import pytest
from localkube.starter import cause

STACK = "\n".join(["goroutine 1 [running]:", *(f"\tserver.go:{line}" for line in range(40))])


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (
            '{"level":"info","msg":"starting"}\n'
            '{"level":"fatal","msg":"failed to create WAL","error":"no space left on device"}\n'
            + STACK,
            '{"level":"fatal","msg":"failed to create WAL","error":"no space left on device"}',
        ),
        (
            "I1129 13:00:00 1 a.go:1] starting\nE1129 13:00:01 1 a.go:2] etcd does not answer\n"
            "I1129 13:00:02 1 a.go:1] stopping",
            "E1129 13:00:01 1 a.go:2] etcd does not answer",
        ),
        (
            "panic: assignment to entry in nil map\n" + STACK,
            "panic: assignment to entry in nil map",
        ),
        ("one\ntwo", "one\ntwo"),
        ("", ""),
    ],
    ids=["etcd", "klog", "go", "nothing fatal", "nothing"],
)
def test_cause(log: str, expected: str) -> None:
    assert cause(log) == expected
