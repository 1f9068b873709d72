"""Our own writes count until the watch has brought them back, and not longer."""

from __future__ import annotations

from typing import Any

from outbox_operator.controller.runtime.own_writes import OwnWrites


def body(version: int, **status: Any) -> dict[str, Any]:
    return {"metadata": {"uid": "u", "resourceVersion": str(version)}, "status": status}


def test_a_status_that_the_watch_has_not_brought_back_counts() -> None:
    own = OwnWrites()
    own.wrote_status(body(7), {"driftCorrectedCount": 1})
    assert own.status(body(6, driftCorrectedCount=0)) == {"driftCorrectedCount": 1}


def test_what_others_wrote_since_is_seen() -> None:
    """For example a backup that was restored without statuses."""
    own = OwnWrites()
    own.wrote_status(body(7), {"driftCorrectedCount": 1})
    assert own.status(body(8)) == {}
    assert own.status(body(7, driftCorrectedCount=1)) == {"driftCorrectedCount": 1}


def test_metadata_older_than_our_write_is_stale() -> None:
    own = OwnWrites()
    assert not own.is_stale(body(6))
    own.wrote_metadata(body(7))
    assert own.is_stale(body(6))
    assert not own.is_stale(body(7))
    own.forget("u")
    assert not own.is_stale(body(6))
