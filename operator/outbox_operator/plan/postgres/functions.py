"""The functions that write an event from plain SQL: as values, and the SQL that creates them.

`emit` inserts; `emit_strict` takes the lock of the event's key first, for writers that do not
lock their aggregate themselves. Both make up the id: RETURNING would need the right to read. Both
refuse what `client.rows` refuses, with SQLSTATE 22023: it could never be published. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outbox_operator.client.rows import DEFAULT_MAX_BYTES
from outbox_operator.plan.postgres.state import DesiredDatabase
from outbox_operator.wire import tables
from outbox_operator.wire.advisory_locks import key_lock_sql
from outbox_operator.wire.headers import (
    MAX_HEADER_BYTES,
    RESERVED_NAMES,
    RESERVED_PREFIXES,
    ROOM_FOR_OURS,
)
from outbox_operator.wire.subjects import MAX_SUBJECT_BYTES
from outbox_operator.wire.tables import quoted

EMIT: Final = "emit"
EMIT_STRICT: Final = "emit_strict"
NAMES: Final = (EMIT, EMIT_STRICT)
_SINCE: Final = {EMIT: 1, EMIT_STRICT: 2}
_CHANGED: Final = 5
"""Schema version of the bodies below."""

_PLAIN: Final = "[]A-Za-z0-9_=@:/+!$#,;|~^()[&'\"?.-]"
"""What a subject holds as it is, `wire.subjects` says; of a key, dots do not count."""

# No backslashes: what they mean is the business of the session that calls.
_BODY: Final = """
DECLARE
  id uuid := gen_random_uuid();
  most bigint := coalesce(nullif(current_setting('outbox.max_bytes', true), ''), '{max_bytes}');
  size bigint;
  head bigint := 0;
  own text;
  ordinary boolean := true;
  wrong text;
  part bigint;
BEGIN
  IF (event_type ~ '^[^[:space:][:cntrl:]*>.]+([.][^[:space:][:cntrl:]*>.]+)*$') IS NOT TRUE THEN
    RAISE EXCEPTION 'event_type %: wanted a dotted name without spaces and wildcards',
      quote_literal(left(event_type, 100)) USING ERRCODE = '22023';
  END IF;
  IF greatest(octet_length(event_type), octet_length(key)) * 3 > {max_subject} THEN
    part := octet_length(event_type)
      + 2 * octet_length(regexp_replace(event_type, '{plain}', '', 'g'));
    IF part > {max_subject} THEN
      RAISE EXCEPTION 'event_type % takes % bytes of the subject, at most {max_subject} are '
        'allowed',
        quote_literal(left(event_type, 100)), part USING ERRCODE = '22023';
    END IF;
    part := octet_length(key) + 2 * octet_length(regexp_replace(key, '{plain}', '', 'g'))
      + 2 * (length(key) - length(replace(key, '.', '')));
    IF part > {max_subject} THEN
      RAISE EXCEPTION 'event %: key % takes % bytes of the subject, at most {max_subject} are '
        'allowed',
        left(event_type, 100), quote_literal(left(key, 100)), part USING ERRCODE = '22023';
    END IF;
  END IF;
  IF headers <> '{{}}' THEN
    own := headers::text;
    head := octet_length(own);
    -- Ordinary ones are told by their text, in a quarter of the time.
    ordinary := head <= 8192 AND strpos(own, chr(92)) = 0
      AND own ~ '^[{{]("[A-Za-z0-9_-]+": "[^"]*"(, |}}))+$'
      AND {none_reserved};
  END IF;
  IF NOT ordinary THEN
    IF jsonb_typeof(headers) <> 'object' THEN
      RAISE EXCEPTION 'event %: headers are a JSON %, wanted an object of texts',
        left(event_type, 100), jsonb_typeof(headers) USING ERRCODE = '22023';
    END IF;
    SELECT min(h.name) FILTER (WHERE jsonb_typeof(h.value) <> 'string'
        OR h.name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$'
        OR lower(h.name) ~ '^({reserved}|({reserved_names})$)'
        OR translate(h.value #>> '{{}}', chr(10) || chr(13), '') <> h.value #>> '{{}}'),
      coalesce(sum(octet_length(h.name) + octet_length(h.value #>> '{{}}') + 4), 0)
      INTO wrong, head FROM jsonb_each(headers) AS h (name, value);
    IF wrong IS NOT NULL THEN
      RAISE EXCEPTION 'event %: header %: wanted a text in one line, under a token that is none of '
        '{reserved_words}', left(event_type, 100), quote_literal(left(wrong, 100))
        USING ERRCODE = '22023';
    END IF;
    IF head > {max_headers} THEN
      RAISE EXCEPTION 'event %: headers are % bytes, at most {max_headers} are allowed',
        left(event_type, 100), head USING ERRCODE = '22023';
    END IF;
  END IF;
  size := octet_length({payload}) + head;
  IF (size <= most) IS NOT TRUE THEN
    IF payload IS NULL THEN
      RAISE EXCEPTION 'event %: payload is NULL, wanted {wanted_payload}', left(event_type, 100)
        USING ERRCODE = '22023';
    END IF;
    RAISE EXCEPTION 'event %: payload and headers are % bytes, at most % are allowed',
      left(event_type, 100), size, most USING ERRCODE = '22023',
      HINT = 'Store the data elsewhere and send a reference; or raise the setting outbox.max_bytes '
        'together with max_payload of the NATS servers.';
  END IF;{lock}
  INSERT INTO {events} (event_id, event_type, partition_key, payload, headers)
  VALUES (id, event_type, coalesce(key, ''), payload, coalesce(headers, '{{}}'));
  RETURN id;
END
"""
# A statement of its own: the lock must be held before the INSERT draws a position.
_LOCK: Final = """
  IF key <> '' THEN
    PERFORM {lock};
  END IF;"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as wanted.

    Attributes:
        since: Schema version that brought it.
        changed: Schema version that brought its body.
    """

    schema: str
    name: str
    payload_type: str
    body: str
    since: int
    changed: int

    @property
    def arguments(self) -> str:
        """Types of the arguments, as the catalog prints them."""
        return arguments(self.payload_type)

    @property
    def signature(self) -> str:
        """Name and types of the arguments."""
        return f"{self.name}({self.arguments})"

    def create_sql(self) -> str:
        """CREATE OR REPLACE FUNCTION."""
        # The argument names are part of the interface; columns of the same name are no conflict,
        # because an INSERT's column list and VALUES are told apart.
        return (
            f"CREATE OR REPLACE FUNCTION {quoted(self.schema)}.{self.name}("
            f"event_type text, key text, payload {self.payload_type}, "
            "headers jsonb DEFAULT '{}'::jsonb) RETURNS uuid LANGUAGE plpgsql AS "
            f"$emit${self.body}$emit$"
        )


def arguments(payload_type: str) -> str:
    """Types of the arguments of these functions, as the catalog prints them."""
    return f"text, text, {payload_type}, jsonb"


def outbox_functions(desired: DesiredDatabase) -> tuple[Function, ...]:
    """The functions of a pipeline."""
    return tuple(
        Function(
            schema=desired.schema,
            name=name,
            payload_type=desired.payload_type,
            body=_body(desired, strict=name == EMIT_STRICT),
            since=_SINCE[name],
            changed=_CHANGED,
        )
        for name in NAMES
    )


def _body(desired: DesiredDatabase, *, strict: bool) -> str:
    schema = desired.schema
    return _BODY.format(
        events=f"{quoted(schema)}.{quoted(tables.EVENTS)}",
        lock=_LOCK.format(lock=key_lock_sql(schema, "key")) if strict else "",
        payload="payload" if desired.payload_type == "bytea" else "payload::text",
        plain=_PLAIN.replace("'", "''"),
        wanted_payload="bytes" if desired.payload_type == "bytea" else "JSON",
        reserved="|".join(RESERVED_PREFIXES),
        reserved_names="|".join(RESERVED_NAMES),
        reserved_words=", ".join(
            (*(f"{one.title()}*" for one in RESERVED_PREFIXES), *map(str.title, RESERVED_NAMES))
        ),
        none_reserved=" AND ".join(
            f"strpos(lower(own), '\"{name}') = 0"
            for name in (*RESERVED_PREFIXES, *(f'{name}":' for name in RESERVED_NAMES))
        ),
        max_bytes=DEFAULT_MAX_BYTES,
        max_subject=MAX_SUBJECT_BYTES,
        # Type and key stand there too: three bytes for each of theirs at the most.
        max_headers=MAX_HEADER_BYTES - ROOM_FOR_OURS - 6 * MAX_SUBJECT_BYTES,
    )
