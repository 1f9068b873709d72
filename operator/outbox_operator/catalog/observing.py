"""Look at the events of a stream on its server; nothing there changes."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from outbox_operator.adapters.nats import connection as nats
from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.payloads import PayloadReader
from outbox_operator.adapters.nats.pull_requests import PulledMessage
from outbox_operator.catalog.observed import Misfit, Observations
from outbox_operator.documents import problems
from outbox_operator.wire.config import NatsConfig
from outbox_operator.wire.headers import EVENT_TYPE, decode_value

_NAME = "outbox-catalog"


async def observe(
    config: NatsConfig,
    stream: str,
    *,
    subjects: str,
    most: int,
    kinds: Mapping[str, type] | None,
) -> Observations:
    """Return what is in the last messages of a stream.

    Args:
        config: Where NATS is.
        stream: Name of the stream.
        subjects: Filter.
        most: How many of its last messages to look at.
        kinds: Declared classes by type; None: nothing is compared.

    Raises:
        OutboxError: It cannot be read.
    """
    checks = None if kinds is None else {name: _misfit(kind) for name, kind in kinds.items()}
    found = Observations(checks)

    def take(message: PulledMessage) -> None:
        event_type = decode_value(message.headers.get(EVENT_TYPE, "")) or message.subject
        found.add(event_type, message.data, message.when_stored())

    auth = NatsAuth.from_files(config)
    client = await nats.connect(auth, name=_NAME)
    try:
        await PayloadReader(JetStreamApi(client, auth), stream, take).read(subjects, most)
    finally:
        await nats.finish(client)
    return found


def _misfit(kind: type) -> Misfit:
    adapter: TypeAdapter[object] = TypeAdapter(kind)

    def wrong(data: bytes) -> str:
        try:
            adapter.validate_json(data)
        except ValidationError as error:
            return problems(error)
        return ""

    return wrong
