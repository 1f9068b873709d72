"""What this service tells others."""

from dataclasses import dataclass

from outbox_operator.client import event


@event("order.created", key="id")
@dataclass
class OrderCreated:
    """An order was taken."""

    id: int
    customer: str
    total: int
