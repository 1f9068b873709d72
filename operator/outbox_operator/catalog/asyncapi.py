"""The catalogue as an AsyncAPI 3 document: channels, messages, schemas. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from outbox_operator.catalog.entries import Entry
from outbox_operator.errors import SpecError
from outbox_operator.wire import headers
from outbox_operator.wire.subjects import SubjectTemplate, escape_tokens

VERSION: Final = "3.0.0"
_NO_KEY: Final = re.compile(r"[^A-Za-z0-9._-]")
_OTHERWISE: Final = ("$ref", "discriminator")
_ROOM: Final = "#/components/schemas/"
_PARAMETERS: Final = {
    "partition_key": "The event's ordering key, percent-encoded.",
    "routing_key": "What the event says instead of its type.",
    "shard": "Number of the outbox's shard.",
    "schema": "The outbox's schema in PostgreSQL.",
}
_HEADERS: Final = {
    headers.EVENT_ID: "The event's id: the key for doing things once.",
    headers.EVENT_TYPE: "The event's type.",
    headers.EVENT_SOURCE: "CloudEvents source.",
    headers.EVENT_TIME: "When it was written, as RFC 3339.",
    headers.EVENT_KEY: "The ordering key, percent-encoded; missing without one.",
    headers.CONTENT_TYPE: "application/json",
}


def document(
    entries: Sequence[Entry], *, title: str, version: str, subject: str, url: str | None = None
) -> dict[str, Any]:
    """Return the document.

    Args:
        entries: What is written.
        title: Of the application.
        version: Of the application.
        subject: The pipeline's subject template, such as `orders.{event_type}`.
        url: A server of NATS; None: the document names none.

    Raises:
        SpecError: Malformed template; two classes of one name with different schemas.
    """
    template = SubjectTemplate.parse(subject)
    schemas: dict[str, Any] = {"OutboxHeaders": _headers()}
    messages, channels, operations = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for entry in entries:
        name = _NO_KEY.sub("-", entry.type)
        payload = _moved(entry, schemas)
        messages[name] = {
            "name": entry.type,
            "title": entry.title,
            **({"summary": entry.summary} if entry.summary else {}),
            **({"tags": [{"name": "deprecated"}]} if entry.told.deprecated else {}),
            "contentType": "application/json",
            "headers": {"$ref": f"{_ROOM}OutboxHeaders"},
            "payload": payload,
        }
        channels[name] = {
            **_address(template, entry.type),
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        operations[f"write.{name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        }
    return {
        "asyncapi": VERSION,
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        **({} if url is None else {"servers": {"nats": _server(url)}}),
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _address(template: SubjectTemplate, event_type: str) -> dict[str, Any]:
    """Subject of an event's type; what else of a row is in it stays a parameter."""
    parts = list(template.pieces)
    names = [name for name in parts[1::2] if name != "event_type"]
    for index in range(1, len(parts), 2):
        whole = parts[index] == "event_type"
        parts[index] = escape_tokens(event_type) if whole else f"{{{parts[index]}}}"
    parameters = {name: {"description": _PARAMETERS[name]} for name in names}
    return {"address": "".join(parts), **({"parameters": parameters} if parameters else {})}


def _server(url: str) -> dict[str, str]:
    protocol, found, host = url.partition("://")
    if not found or not host or "@" in host:
        raise SpecError("server: wanted a URL without login, such as nats://nats.example:4222")
    return {"host": host, "protocol": "nats" if protocol in ("nats", "tls") else protocol}


def _headers() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": text} for name, text in _HEADERS.items()
        },
        "required": [headers.EVENT_ID, headers.EVENT_TYPE, headers.EVENT_SOURCE],
    }


def _moved(entry: Entry, room: dict[str, Any]) -> Any:
    """A schema whose definitions are put among those of all. In an AsyncAPI document a reference
    starts at the document, not at the schema."""
    schema = dict(entry.schema)
    for name, inner in schema.pop("$defs", {}).items():
        place = _NO_KEY.sub("-", name)
        moved = _redirected(inner)
        if room.setdefault(place, moved) != moved:
            raise SpecError(
                f"event {entry.type!r}: another event has another class {name}; in one AsyncAPI "
                "document each needs a name of its own"
            )
    return _redirected(schema)


def _redirected(part: Any) -> Any:
    """The same in AsyncAPI's dialect: a reference stands alone, and a discriminator is a name."""
    if isinstance(part, list):
        return [_redirected(one) for one in part]
    if not isinstance(part, Mapping):
        return part
    beside = {key: _redirected(one) for key, one in part.items() if key not in _OTHERWISE}
    if not isinstance(part.get("$ref"), str):
        return beside
    reference = {"$ref": f"{_ROOM}{_NO_KEY.sub('-', part['$ref'].rpartition('/')[2])}"}
    return {"allOf": [reference], **beside} if beside else reference
