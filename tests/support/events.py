"""Events and their circumstances as handlers get them, for tests without servers."""

from __future__ import annotations

import datetime as dt
from typing import Any

from outbox_operator.consumer import Context, ReceivedEvent


def received(**changes: Any) -> ReceivedEvent:
    """An event as it arrives."""
    return ReceivedEvent(
        **{
            "id": "e-1", "type": "order.created", "source": "/shop/orders", "key": "k",
            "subject": "orders.order.created", "content_type": "application/json", "headers": {},
            "time": dt.datetime(2026, 11, 21, tzinfo=dt.UTC), "data": b"{}", **changes,
        }
    )  # fmt: skip


def context(**changes: Any) -> Context:
    """The circumstances of a first delivery."""
    return Context(
        **{"consumer": "billing", "deliveries": 1, "stream": "ORDERS", "sequence": 7, **changes}
    )
