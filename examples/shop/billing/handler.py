"""Billing: writes an invoice for every order, once, however often the event is delivered."""

from __future__ import annotations

import uuid

from outbox_operator.consumer import Ack, Context, Outcome, ReceivedEvent


async def handle(event: ReceivedEvent, context: Context) -> Outcome:
    """Called by the consumer runtime for each event.

    The invoice is written in the transaction that also notes the event in the inbox: both are
    committed, or neither. An exception rolls back, and the event is delivered again.
    """
    order = event.json()
    await context.connection.execute(
        "INSERT INTO public.invoices (order_id, amount_cents) VALUES ($1, $2)",
        uuid.UUID(order["id"]),
        order["amount_cents"],
    )
    return Ack()
