"""Dead letters of a durable consumer within a pass: taken in from the server, and counted."""

from __future__ import annotations

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api.resource import Consumer
from outbox_operator.errors import OutboxError
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.passes.source import Source


async def dead_letters(
    resource: Consumer, source: Source, admin: JetStreamAdmin
) -> int | OutboxError | None:
    """Take in what the server gave up on, and count the letters; None: not known where they are."""
    stream, prefix, durable = (
        source.dead_letter_stream,
        source.dead_letter_prefix,
        durable_name(resource),
    )
    if stream is None or prefix is None:
        return None
    try:
        if not resource.meta.paused:
            await admin.dead_letters(stream).collect(source.stream, durable, prefix)
        return await admin.subject_message_count(stream, f"{prefix}.{durable}")
    except OutboxError as error:
        return error
