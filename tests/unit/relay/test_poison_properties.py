"""Whatever is in a row: it becomes a message that a stream can take, or poison that says why."""

from __future__ import annotations

import json
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from outbox_operator.adapters.nats.frame_reader import parse_headers
from outbox_operator.adapters.postgres.rows import Row
from outbox_operator.adapters.sink import Message, StreamFacts
from outbox_operator.relay.message import Renderer
from outbox_operator.relay.poison import Poison, inspect, plan_page
from outbox_operator.wire.headers import MAX_HEADER_BYTES
from outbox_operator.wire.subjects import MAX_SUBJECT_BYTES, SubjectTemplate, is_valid_filter

SETTINGS: Final = settings(database=None, deadline=None, derandomize=True)
FACTS: Final = StreamFacts(
    stream="S",
    subjects=("shop.>",),
    max_message_bytes=100_000,
    keeps_tail=True,
    duplicate_window_seconds=120,
    fences=True,
    republishes=False,
    unfit="",
    created="",
)

characters: Final = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
names: Final = st.text(characters, max_size=30) | st.builds(
    lambda text, times: text * times, st.text(characters, max_size=4), st.integers(0, 3000)
)
json_values: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(characters),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(characters), inner),
    max_leaves=6,
)
header_texts: Final = st.one_of(
    st.none(),
    json_values.map(json.dumps),
    st.dictionaries(st.text(characters, max_size=8), st.text(characters), max_size=4).map(
        json.dumps
    ),
    st.integers(1, 9000).map(lambda digits: f'{{"x": {"9" * digits}}}'),
    st.integers(1, 5000).map(lambda depth: '{"x": ' * depth + "1" + "}" * depth),
    st.text(characters),
)
rows: Final = st.builds(
    Row,
    position=st.integers(-(2**63), 2**63 - 1),
    event_id=st.uuids().map(str),
    event_type=names,
    partition_key=names,
    routing_key=st.none() | names,
    payload=st.none() | st.binary(max_size=40) | st.just(b"x" * 100_000),
    headers=header_texts,
    created_at=st.integers(-62_135_596_800_000_000, 253_402_300_799_000_000),
)
templates: Final = st.sampled_from(
    ["shop.{event_type}", "shop.{partition_key}.{routing_key}", "shop.{shard}.{partition_key}"]
).map(SubjectTemplate.parse)
marks: Final = st.sampled_from(["", f".{2**63 - 1}"])


def renderer(template: SubjectTemplate) -> Renderer:
    return Renderer(template, "outbox", 3, "/shop/orders", "jsonb")


@SETTINGS
@given(rows, templates, marks)
def test_a_row_is_a_message_or_poison(row: Row, template: SubjectTemplate, mark: str) -> None:
    by = renderer(template)
    found = inspect(row, by, FACTS, 2**62, mark)
    if isinstance(found, Poison):
        assert row.event_id in found.error
        assert len(found.error) < 2000
        return
    assert row.payload == found.payload
    assert is_valid_filter(found.subject)
    assert "*" not in found.subject
    assert ">" not in found.subject
    assert len(found.subject) <= MAX_SUBJECT_BYTES
    assert len(found.head) + by.reserve <= MAX_HEADER_BYTES
    assert len(found.head) + by.reserve + len(found.payload) <= FACTS.max_message_bytes
    parsed = parse_headers(found.head.encode("latin-1"))
    assert parsed["Nats-Msg-Id"] == row.event_id + mark
    assert parsed["Ce-Id"] == row.event_id
    assert parsed["Outbox-Position"] == str(row.position)
    # No row puts a second message, or a header of ours, into its lines.
    assert found.head.count("\r\n\r\n") == 1
    assert found.head.count("\r\nNats-") == 1


@SETTINGS
@given(
    st.lists(rows, max_size=6, unique_by=lambda row: row.position),
    templates,
    st.sampled_from(["BlockKey", "Skip", "Halt"]),
    st.sets(st.integers(0, 5)),
)
def test_every_row_of_a_page_is_dealt_with_once(
    page: list[Row], template: SubjectTemplate, policy: str, twins: set[int]
) -> None:
    page.sort(key=lambda row: row.position)
    repeated = {row.position for number, row in enumerate(page) if number in twins}
    plan = plan_page(
        page,
        renderer=renderer(template),
        facts=FACTS,
        policy=policy,  # type: ignore[arg-type]
        blocked_keys=set(),
        refused={},
        published={},
        repeated=repeated,
        emission=7,
    )
    dealt = sorted([*plan.positions, *(letter.position for letter in plan.dead_letters)])
    if plan.halted is None:
        assert dealt == [row.position for row in page]
    else:
        assert dealt == [row.position for row in page if row.position < plan.halted[0].position]
    assert all(isinstance(message, Message) for message in plan.messages)
    assert list(plan.positions) == sorted(plan.positions)
    own = {
        position
        for position, message in zip(plan.positions, plan.messages, strict=True)
        if f".{position}\r\n" in message.head.split("Nats-Msg-Id: ")[1][:64]
    }
    assert own == repeated.intersection(plan.positions)
