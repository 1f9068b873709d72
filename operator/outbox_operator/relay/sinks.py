"""Which sink a relay publishes to: the only place of the relay that knows drivers.

Called by `relay.app` for each connection. What a sink is, `adapters.sink` says.
"""

from __future__ import annotations

from functools import partial

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.publisher import Publisher
from outbox_operator.adapters.sink import Sink
from outbox_operator.relay.settings import Settings


async def open_sink(settings: Settings) -> Sink:
    """Connect to the sink of a configuration. The Secret is read each time.

    Raises:
        OutboxError: It cannot be reached, or does not let us in.
    """
    config = settings.config
    read_login = partial(NatsAuth.from_files, config.nats)
    return await Publisher.open(
        read_login(),
        name=settings.application_name,
        stream=config.stream,
        subjects=settings.template.filter(),
        window=config.publish_window,
        read_login=read_login,
    )
