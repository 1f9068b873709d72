"""Which sink a relay publishes to: the only place of the relay that knows drivers.

Called by `relay.app` for each connection. What a sink is, `adapters.sink` says.
"""

from __future__ import annotations

from functools import partial

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.publisher import Publisher
from outbox_operator.adapters.sink import Sink
from outbox_operator.errors import SpecError
from outbox_operator.relay.settings import Settings
from outbox_operator.wire.config import RedisConfig


async def open_sink(settings: Settings) -> Sink:
    """Connect to the sink of a configuration. The Secret is read each time.

    Raises:
        OutboxError: It cannot be reached, or does not let us in.
    """
    config = settings.config
    if config.redis is not None:
        return await open_redis(config.redis, settings.application_name)
    read_login = partial(NatsAuth.from_files, config.jetstream)
    return await Publisher.open(
        read_login(),
        name=settings.application_name,
        stream=config.stream,
        subjects=settings.template.filter(),
        window=config.publish_window,
        read_login=read_login,
    )


async def open_redis(config: RedisConfig, name: str) -> Sink:
    """As `open_sink`, for whoever has no relay's settings.

    Args:
        name: Shown in the server's list of clients.

    Raises:
        OutboxError: It cannot be reached, does not let us in, or there is no client for it.
    """
    try:
        from outbox_operator.adapters.redis.login import RedisLogin
        from outbox_operator.adapters.redis.sink import RedisSink
    except ImportError as error:
        raise SpecError(
            f"Redis at {config.url}: the client is not installed: "
            "pip install 'outbox-operator[relay,redis]'"
        ) from error
    return await RedisSink.open(partial(RedisLogin.from_files, config), name=name)
