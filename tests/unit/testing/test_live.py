"""What a test is told when an event did not come."""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox_operator.testing.live import not_begun

STARTS = '{"logger": "outbox_operator.dev.processes", "message": "outbox relay starts"}\n'
BEGUN = '{"logger": "outbox_operator.relay.app", "message": "relay started"}\n'


@pytest.mark.parametrize(
    ("text", "begun"),
    [("", False), (STARTS, False), (STARTS + BEGUN, True), (STARTS + "Traceback\n", True)],
)
def test_a_relay_that_has_not_begun_is_said(tmp_path: Path, text: str, begun: bool) -> None:
    (tmp_path / "relay-orders.log").write_text(text)
    (tmp_path / "consumer-billing.log").write_text(BEGUN)
    said = not_begun(tmp_path)
    assert (said == "") == begun
    assert begun or "wait_for(…, timeout=60)" in said
