"""The one list of tables, and of the columns that applications write, for all processes.

DDL (migrations), INSERT (library), SELECT (relay) and the observers all take names from here.
"""

from __future__ import annotations

from typing import Final

EVENTS: Final = "events"
CURSORS: Final = "cursors"
DEAD_LETTERS: Final = "dead_letters"
SCHEMA_VERSION: Final = "schema_version"
REPLAYS: Final = "replays"
FORMER_DEAD_LETTERS: Final = "former_dead_letters"
OUTBOX_TABLES: Final = (
    EVENTS,
    CURSORS,
    DEAD_LETTERS,
    SCHEMA_VERSION,
    REPLAYS,
    FORMER_DEAD_LETTERS,
)
POSITION_SEQUENCE: Final = "events_position_seq"
INBOX: Final = "consumer_inbox"
POSITIONS: Final = "consumer_positions"
INBOX_TABLES: Final = (INBOX, POSITIONS)

WRITABLE_COLUMNS: Final = (
    "event_id",
    "event_type",
    "partition_key",
    "routing_key",
    "payload",
    "headers",
)
"""Columns an application may set; the others have defaults that must not be overridden."""

NAME_COLUMNS: Final = ("event_type", "partition_key", "routing_key")
"""Texts that name an event or what it is about: they become parts of subjects and headers."""
MAX_NAME_BYTES: Final = 1024
"""Of each of them; what a subject may have as a whole."""
LONGEST_NAME_READ: Final = 3 * MAX_NAME_BYTES
"""Of each of them in rows from before the table refused them; these are read nevertheless."""

FIRST_SCHEMA_VERSION: Final = 1
CURRENT_SCHEMA_VERSION: Final = 5
"""1: the first. 2: `cursors.stream_sequence`, `.emission_gaps` and `.remark`, an index of dead
letters by key, function `emit_strict`. 3: `cursors.stream_created`, `.notice`, `.noticed_at`
and `.checkpoints`; both functions refuse what could never be published. 4: the index
of dead letters holds a hash of the key, which may be long; `cursors.position_notice` and
`.position_noticed_at`, `.resent_to` and `.resent_epoch`; checks of the bytes of names in
`events`. 5: `events.replay`, `dead_letters.replay`, and the tables `replays`
and `former_dead_letters`."""


def quoted(name: str) -> str:
    """A name as SQL text, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
