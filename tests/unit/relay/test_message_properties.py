"""The ways to render an event agree, whatever is in its row.

A page of ordinary rows is rendered fast, with header names written out; a single row by
`wire.message`; what the library publishes by itself, from the same functions.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from outbox_operator.adapters.nats.frame_reader import parse_headers
from outbox_operator.adapters.postgres.rows import Row
from outbox_operator.adapters.sink import Message
from outbox_operator.relay.message import Renderer
from outbox_operator.wire import headers
from outbox_operator.wire.message import CONTENT_TYPES, event_headers, event_subject, event_time
from outbox_operator.wire.subjects import SubjectTemplate

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SOURCE: Final = "/shop/orders"
PLACE: Final = {headers.SHARD, headers.POSITION, headers.EMISSION}

SETTINGS: Final = settings(database=None, deadline=None, derandomize=True)

plain: Final = st.text(st.sampled_from("abz09-._~!"), max_size=12)
texts: Final = plain | st.text(
    st.sampled_from('abz09-._~ %"\\/*>üß日🙂\x7f\x85\u2028'), max_size=12
)
one_line: Final = st.text(st.sampled_from("aZ9 ;=:/%üß日🙂"), min_size=1, max_size=12).map(
    lambda text: text.strip() or "x"
)
names: Final = st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True).filter(
    lambda name: not name.startswith(headers.RESERVED_PREFIXES)
)
own_headers: Final = st.dictionaries(
    st.one_of(names, st.sampled_from(["traceparent", "Content-Type", "content-type"])),
    one_line,
    max_size=3,
).filter(lambda own: sum(name.lower() == "content-type" for name in own) < 2)
rows: Final = st.builds(
    Row,
    position=st.integers(1, 2**63 - 1),
    event_id=st.uuids().map(str),
    event_type=texts.filter(bool),
    partition_key=texts,
    routing_key=st.none() | texts,
    payload=st.binary(max_size=8),
    headers=st.none() | own_headers.map(json.dumps),
    created_at=st.integers(-62_135_596_800_000_000, 253_402_300_799_000_000),
)
templates: Final = st.sampled_from(
    ["shop.{event_type}", "shop.{partition_key}.{routing_key}", "{schema}.x.{event_type}"]
).map(SubjectTemplate.parse)
payload_types: Final = st.sampled_from(["jsonb", "bytea"])


def renderer(template: SubjectTemplate, payload_type: str) -> Renderer:
    return Renderer(template, "outbox", 3, SOURCE, payload_type)  # type: ignore[arg-type]


def rendered(by: Renderer, row: Row, number: int) -> Message:
    return by.render(row, row.payload or b"", number)


@SETTINGS
@given(st.lists(rows, max_size=4), templates, payload_types, st.integers(0, 2**40))
def test_a_page_is_what_its_rows_are(
    page: list[Row], template: SubjectTemplate, payload_type: str, emission: int
) -> None:
    by = renderer(template, payload_type)
    fast = by.page(page, emission)
    if fast is not None:
        assert fast == [rendered(by, row, number) for number, row in enumerate(page, emission + 1)]


@SETTINGS
@given(rows.map(lambda row: row._replace(headers=None, event_type="a.b", partition_key="k-1")))
def test_ordinary_rows_take_the_fast_way(row: Row) -> None:
    assert renderer(SubjectTemplate.parse("shop.{event_type}"), "jsonb").page([row], 0) is not None


@SETTINGS
@given(rows, templates, payload_types)
def test_the_relay_writes_what_the_library_would(
    row: Row, template: SubjectTemplate, payload_type: str
) -> None:
    message = rendered(renderer(template, payload_type), row, 7)
    found = dict(parse_headers(message.head.encode("latin-1")))
    wanted = event_headers(
        event_id=row.event_id,
        event_type=row.event_type,
        partition_key=row.partition_key,
        source=SOURCE,
        time=event_time(EPOCH + dt.timedelta(microseconds=row.created_at)),
        content_type=CONTENT_TYPES[payload_type],
        own=json.loads(row.headers or "{}"),
    )
    assert {name: value for name, value in found.items() if name not in PLACE} == wanted
    assert {name: found[name] for name in PLACE} == {
        headers.SHARD: "3",
        headers.POSITION: str(row.position),
        headers.EMISSION: "7",
    }
    assert message.subject.encode("latin-1").decode() == event_subject(
        template,
        event_type=row.event_type,
        partition_key=row.partition_key,
        routing_key=row.routing_key,
        schema="outbox",
    )
