"""What is made of the rows that an outbox's table has kept."""

from __future__ import annotations

import json
import uuid

from outbox_operator.adapters.postgres.archive_backfill import KeptRow
from outbox_operator.archive.backfill import message_of


def test_headers_of_a_row_do_not_say_whose_event_it_is() -> None:
    """A relay refuses such a row; until then it is in the table as others are."""
    own = {
        "Ce-Source": "/bank/payments", "ce-id": str(uuid.UUID(int=7)), "Ce-Time": "2001-01-01",
        "Outbox-Position": "9", "outbox-replay-to": "nobody", "Nats-Msg-Id": "x", "X-Own": "a",
        "Content-Type": "text/plain",
    }  # fmt: skip
    row = KeptRow(
        position=3, event_id=str(uuid.UUID(int=1)), event_type="order.placed", partition_key="k",
        routing_key=None, headers=json.dumps(own), created_at=0, written_at=0, payload=b"1",
    )  # fmt: skip
    found = {
        name.lower(): value
        for name, value in message_of(row, "/shop/orders", "application/json").headers.items()
    }
    assert (found["ce-source"], found["ce-id"]) == ("/shop/orders", row.event_id)
    assert (found["outbox-position"], found["content-type"]) == ("3", "text/plain")
    assert found["x-own"] == "a"
    assert "outbox-replay-to" not in found
    assert found["nats-msg-id"] == row.event_id
