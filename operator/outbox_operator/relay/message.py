"""From a row to a message: subject, headers, payload. Pure.

Called by `relay.poison`. CloudEvents attributes travel as headers (binary mode), so that any
consumer can read an event without knowing us.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from outbox_operator.adapters.jetstream import EXPECTED_LAST_MSG_ID
from outbox_operator.adapters.outbox_store import Row
from outbox_operator.errors import EventError
from outbox_operator.wire import headers as names
from outbox_operator.wire.event import check_header
from outbox_operator.wire.subjects import SubjectTemplate

_CONTENT_TYPES: Final = {"jsonb": "application/json", "bytea": "application/octet-stream"}
_HEADER_FRAME: Final = len("NATS/1.0\r\n\r\n")
_ADDED_LATER: Final = len(f"{names.EMISSION}: {2**63}\r\n") + len(
    f"{EXPECTED_LAST_MSG_ID}: 00000000-0000-0000-0000-000000000000\r\n"
)


@dataclass(slots=True)
class Message:
    """What is sent for a row.

    Attributes:
        headers: Complete but for the emission number, which `number` adds when it is known.
        header_bytes: Size of the encoded headers, with those that are added at sending.
    """

    row: Row
    subject: str
    payload: bytes
    headers: dict[str, str]
    header_bytes: int

    @property
    def size(self) -> int:
        """Bytes that count against the limits of server and stream."""
        return self.header_bytes + len(self.payload)

    def number(self, emission: int) -> None:
        """Set the event's place in the shard's order of emission."""
        self.headers[names.EMISSION] = str(emission)


@dataclass(frozen=True, slots=True)
class Renderer:
    """Makes messages of rows.

    Attributes:
        schema: For templates that name it.
        source: Value of `Ce-Source`, encoded as `wire.headers.encode_value` does.
    """

    template: SubjectTemplate
    schema: str
    shard: int
    source: str
    payload_type: Literal["jsonb", "bytea"]

    def render(self, row: Row, payload: bytes, own_headers: str) -> Message:
        """The message of a row.

        Args:
            payload: Of the row.
            own_headers: JSON text of the headers the application gave.

        Raises:
            EventError: These headers are malformed (reason InvalidHeaders).
        """
        subject = self.template.render(
            {
                # A routing key stands in for the type wherever the template uses it.
                "event_type": row.routing_key or row.event_type,
                "partition_key": row.partition_key,
                "routing_key": row.routing_key or row.event_type,
                "shard": str(self.shard),
                "schema": self.schema,
            }
        )
        headers = {
            names.MSG_ID: row.event_id,
            names.EVENT_SPEC_VERSION: "1.0",
            names.EVENT_ID: row.event_id,
            names.EVENT_TYPE: names.encode_value(row.event_type),
            names.EVENT_SOURCE: self.source,
            names.EVENT_TIME: row.created_at.isoformat().replace("+00:00", "Z"),
            names.CONTENT_TYPE: _CONTENT_TYPES[self.payload_type],
            names.SHARD: str(self.shard),
            names.POSITION: str(row.position),
        }
        if row.partition_key:
            headers[names.EVENT_KEY] = names.encode_value(row.partition_key)
        if own_headers != "{}":
            _add_own(headers, row, own_headers)
        return Message(row, subject, payload, headers, _encoded_size(headers))


def _add_own(headers: dict[str, str], row: Row, own_headers: str) -> None:
    """Headers the application gave; only the content type may replace one of ours."""
    where = f"event {row.event_id} (position {row.position})"
    own = json.loads(own_headers)
    if not isinstance(own, Mapping):
        raise EventError(
            f"{where}: headers must be a JSON object of texts, found {type(own).__name__}",
            reason="InvalidHeaders",
        )
    for name, value in own.items():
        try:
            check_header(where, name, value)
        except EventError as error:
            raise EventError(error.message, reason="InvalidHeaders") from error
        if name.lower() == names.CONTENT_TYPE.lower():
            headers[names.CONTENT_TYPE] = value
        else:
            headers[name] = value


def _encoded_size(headers: Mapping[str, str]) -> int:
    """Bytes of the header block: `Name: value` lines, those added at sending at their longest."""
    # Without a generator: this runs for every event. Names are ASCII, most values are.
    text = "".join(headers.values())
    values = len(text) if text.isascii() else len(text.encode())
    return _HEADER_FRAME + len("".join(headers)) + values + 4 * len(headers) + _ADDED_LATER
