"""What an archive is to keep, and the configuration document of the process that writes it.

As with the other roles: secrets never appear in it, each `*_file` is the path of a file that a
Secret volume provides. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from outbox_operator.wire.config import HEALTH_PORT, DatabaseConfig, NatsConfig
from outbox_operator.wire.json_paths import JsonPath
from outbox_operator.wire.subjects import covers, is_valid_filter

_STRICT: Final[dict[str, Any]] = {"extra": "forbid"}

BATCH_EVENTS: Final = 2000
"""That one transaction stores, unless the configuration says otherwise."""
SHORTEST_KEEP_SECONDS: Final = 3600.0
SEAL_EVERY_SECONDS: Final = 900.0
SEAL_AFTER_SECONDS: Final = 60.0
LOG_KEEP_SECONDS: Final = 365 * 86_400.0
SHORTEST_LOG_KEEP_SECONDS: Final = 86_400.0
MOST_CLASSES: Final = 32
MOST_TYPES: Final = 64
"""Filters of event types of one class."""
MOST_EXTRACTED: Final = 16
"""Each is a column with an index."""
MOST_REDACTED: Final = 64
HEADER_PREFIX: Final = "ce:"
"""Before the name of a CloudEvents attribute that a column is extracted from."""

COLUMNS: Final = {
    "class": "text",
    "stored_at": "timestamp with time zone",
    "id": "uuid",
    "type": "text",
    "key": "text",
    "source": "text",
    "subject": "text",
    "sequence": "bigint",
    "shard": "integer",
    "emission": "bigint",
    "position": "bigint",
    "occurred_at": "timestamp with time zone",
    "archived_at": "timestamp with time zone",
    "headers": "jsonb",
    "payload": "jsonb",
    "raw": "bytea",
    "payload_bytes": "integer",
    "payload_sha256": "bytea",
    "note": "text",
}
"""Of the table of events, with their types, in order; extracted columns follow."""
EXTRACTED_TYPE: Final = "text"

_RESERVED: Final = frozenset({*COLUMNS, "stream", "tags", "hash", "segment", "oid", "ctid"})
_CLASS_NAME: Final = re.compile(r"[a-z]([a-z0-9_]{0,28}[a-z0-9])?")
_COLUMN_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ATTRIBUTE: Final = re.compile(r"ce:[a-z0-9]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionClass:
    """Events that are kept for the same time.

    Attributes:
        name: Of the class; part of the names of its tables.
        keep_seconds: Its events are kept for at least so long after the stream took them.
        event_types: Filters with the wildcards of NATS, one of which the type of an event has to
            match; empty: every event is of this class, unless an earlier one takes it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    name: str
    keep_seconds: float
    event_types: tuple[str, ...] = ()

    def takes(self, event_type: str) -> bool:
        """Whether events of a type are of this class, as far as it is asked."""
        return not self.event_types or any(covers(one, event_type) for one in self.event_types)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRules:
    """What is kept of events, for how long, and by what they are found. Valid once it is made.

    Attributes:
        retention: The classes; the first that takes an event has it. The last takes every event.
        extract: Columns by name: a JSON path into the payload, or `ce:<attribute>`, a header.
        redact: JSON paths into the payload; what is there is never stored. A payload that cannot be
            parsed is then not stored either, only its size and hash.

    Raises:
        ValueError: It cannot be carried out; names field, wanted and found.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    retention: tuple[RetentionClass, ...]
    extract: dict[str, str] = field(default_factory=dict)
    redact: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for fault in (*_class_faults(self.retention), *_path_faults(self.extract, self.redact)):
            raise ValueError(fault)

    def class_of(self, event_type: str) -> str:
        """Name of the class that events of a type are of."""
        return next(one.name for one in self.retention if one.takes(event_type))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveDatabase(DatabaseConfig):
    """Where the archive is. One of `url_file`, `login_directory`."""

    schema: str = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveBackfill(DatabaseConfig):
    """An outbox whose kept rows are archived, too. One of `url_file`, `login_directory`."""

    schema: str = "outbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSealing:
    """How what is archived is sealed, by `upkeep`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    key_file: str | None = None
    """Private Ed25519 key in PEM that signs the seals. None: they are not signed."""
    every_seconds: float = SEAL_EVERY_SECONDS
    """Seals are made so often at most, and by each `upkeep` that comes later."""
    after_seconds: float = SEAL_AFTER_SECONDS
    """What is as fresh waits for the next seals: so far the server's clock may go back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveConfig:
    """Everything the process needs to know that writes an archive."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    namespace: str
    consumer: str
    """Name of the EventConsumer, or what else the archive is called."""
    database: ArchiveDatabase
    nats: NatsConfig
    stream: str
    durable: str
    """Its ackPolicy is Explicit, its maxDeliver -1, and maxAckPending twice `batch_events` or
    more."""
    rules: ArchiveRules
    migration: ArchiveDatabase | None = None
    """Login of the role that owns the tables, for `migrate` and `upkeep`, with the same schema.
    None: that of `database`."""
    sealing: ArchiveSealing | None = None
    """None: nothing is sealed."""
    backfill: ArchiveBackfill | None = None
    """None: nothing but what the durable consumer is given."""
    readers: tuple[str, ...] = ()
    """Roles that may read the archive."""
    api_role: str | None = None
    """Role that the process logs in as which answers questions over HTTP."""
    tenant_column: str | None = None
    """An extracted column that says whose an event is: the API shows a caller those of one tenant.
    None: it shows all of them."""
    log_keep_seconds: float = LOG_KEEP_SECONDS
    """What the API notes of questions and exports is kept for so long, by `upkeep`."""
    text_search: bool = False
    """Whether the API finds events by words of their payloads: an index that takes room, and time
    of whoever stores an event."""
    duplicate_window_seconds: float = 86_400.0
    """An event that comes again within so long is known by its id, and not stored twice."""
    batch_events: int = BATCH_EVENTS
    batch_bytes: int = 8 * 1024 * 1024
    """Of payloads and headers that one transaction stores, and that are held for the next one."""
    batch_seconds: float = 0.1
    """How long the first message of a batch waits for others at most."""
    drain_seconds: float = 25.0
    health_port: int = HEALTH_PORT
    owner_uid: str | None = None
    """UID of the resource: a schema with the mark of another one is left alone. None: the archive
    is kept by hand, and marked with namespace and name."""


def owner_uid(config: ArchiveConfig) -> str:
    """UID in the mark of a schema that is this archive's."""
    return config.owner_uid or f"archive/{config.namespace}/{config.consumer}"


def _class_faults(classes: tuple[RetentionClass, ...]) -> Iterator[str]:
    names = [one.name for one in classes]
    if not 1 <= len(classes) <= MOST_CLASSES:
        yield f"retention: wanted 1 to {MOST_CLASSES} classes, found {len(classes)}"
    for number, one in enumerate(classes):
        where = f"retention[{number}]"
        if not _CLASS_NAME.fullmatch(one.name):
            yield (
                f"{where}.name: wanted at most 30 lower-case letters, digits and underscores that "
                f"begin with a letter, found {one.name[:80]!r}"
            )
        if one.name in names[:number]:
            yield f"{where}.name: {one.name!r} is there twice"
        if not SHORTEST_KEEP_SECONDS <= one.keep_seconds <= 100 * 366 * 86_400:
            yield (
                f"{where}.keep_seconds: wanted {SHORTEST_KEEP_SECONDS:g} or more, up to a hundred "
                f"years, found {one.keep_seconds:g}"
            )
        if len(one.event_types) > MOST_TYPES:
            yield f"{where}.event_types: wanted {MOST_TYPES} or less, found {len(one.event_types)}"
        for wide in one.event_types:
            if not is_valid_filter(wide):
                yield (
                    f"{where}.event_types: wanted a type or a filter such as order.*, "
                    f"found {wide[:80]!r}"
                )
    last = classes[-1:]
    if any(one.event_types and ">" not in one.event_types for one in last):
        yield (
            f"retention: wanted a last class without event_types, which takes every event that no "
            f"other takes; found {last[0].name!r}"
        )


def _path_faults(extract: Mapping[str, str], redact: tuple[str, ...]) -> Iterator[str]:
    if len(extract) > MOST_EXTRACTED:
        yield f"extract: wanted {MOST_EXTRACTED} columns or less, found {len(extract)}"
    if len(redact) > MOST_REDACTED:
        yield f"redact: wanted {MOST_REDACTED} paths or less, found {len(redact)}"
    hidden = []
    for number, text in enumerate(redact):
        try:
            hidden.append(JsonPath.parse(text))
        except ValueError as error:
            yield f"redact[{number}]: {error}"
    for name, text in extract.items():
        if not _COLUMN_NAME.fullmatch(name) or name in _RESERVED:
            yield (
                "extract: wanted as name of a column at most 40 lower-case letters, digits and "
                "underscores that begin with a letter, and none of "
                f"{', '.join(sorted(_RESERVED))}; found {name[:80]!r}"
            )
        if text.startswith(HEADER_PREFIX):
            if not _ATTRIBUTE.fullmatch(text):
                yield (
                    f"extract.{name}: wanted ce:<attribute> as ce:correlationid, "
                    f"found {text[:80]!r}"
                )
            continue
        try:
            path = JsonPath.parse(text)
        except ValueError as error:
            yield f"extract.{name}: {error}"
            continue
        if not path.names_one:
            yield f"extract.{name}: wanted a path to one place, found {text!r}"
        for other in hidden:
            if path.is_within(other) or other.is_within(path):
                yield f"extract.{name}: {text} is, or holds, what redact {other.text} keeps out"
