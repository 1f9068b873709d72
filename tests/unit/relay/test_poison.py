"""Poison is found before sending; the policy decides what becomes of it and of its key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox_operator.adapters.nats.frame_reader import parse_headers
from outbox_operator.adapters.postgres.rows import Row
from outbox_operator.adapters.sink import Message, Refusal, RefusalKind, StreamFacts
from outbox_operator.errors import SpecError
from outbox_operator.reasons import Reason
from outbox_operator.relay.chain import Naming
from outbox_operator.relay.message import Renderer
from outbox_operator.relay.poison import (
    PagePlan,
    Poison,
    Policy,
    Treatment,
    check_stream,
    inspect,
    plan_page,
    treat,
)
from outbox_operator.wire.headers import fence_lines
from outbox_operator.wire.subjects import SubjectTemplate

RENDERER = Renderer(
    SubjectTemplate.parse("shop.{event_type}"), "outbox", 0, "/shop/orders", "jsonb"
)

WITHOUT_IDS = Renderer(
    SubjectTemplate.parse("shop.{event_type}"), "outbox", 0, "/shop/orders", "jsonb", mark=None
)


def facts(*subjects: str, size: int = 1000) -> StreamFacts:
    return StreamFacts(
        stream="ORDERS", subjects=subjects, max_message_bytes=size, keeps_tail=True,
        duplicate_window_seconds=120.0, fences=True, republishes=False, unfit="",
        created="2026-11-21",
    )  # fmt: skip


FENCE = fence_lines(RENDERER.subjects, 2**63)
LIMITS = facts("shop.order.>")


def row(position: int, key: str = "", **changes: Any) -> Row:
    base = Row(
        position=position,
        event_id=f"00000000-0000-0000-0000-{position:012}",
        event_type="order.created",
        partition_key=key,
        routing_key=None,
        payload=b"{}",
        headers=None,
        created_at=1_795_219_200_000_000,
    )
    return base._replace(**changes)


def made_of(row: Row) -> Message:
    return RENDERER.render(row, row.payload or b"", 11)


def emission(message: Message) -> str:
    return parse_headers(message.head.encode("latin-1"))["Outbox-Emission"]


def bad(position: int, key: str = "") -> Row:
    return row(position, key, event_type="user.created")


def plan(rows: list[Row], policy: Policy = "BlockKey", **changes: Any) -> PagePlan:
    arguments: dict[str, Any] = {
        "renderer": RENDERER,
        "facts": LIMITS,
        "policy": policy,
        "blocked_keys": frozenset(),
        "refused": {},
        "published": {},
        "emission": 10,
    }
    return plan_page(rows, **{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"event_type": "user.created"}, "SubjectNotInStream"),
        ({"event_type": "order"}, "SubjectNotInStream"),
        ({"event_type": "order." + "x" * 2000}, "InvalidSubject"),
        ({"payload": b"x" * 1000}, "MessageTooLarge"),
        ({"headers": '{"a": 1}'}, "InvalidHeaders"),
    ],
)
def test_what_can_never_be_published(changes: dict[str, Any], reason: str) -> None:
    found = inspect(row(7, **changes), RENDERER, LIMITS, 1)
    assert isinstance(found, Poison)
    assert found.reason == reason
    assert "position 7" in found.error
    assert len(found.error) < 1000


@pytest.mark.parametrize(
    ("said", "reason", "error"),
    [
        ("payload 1179639000", "MessageTooLarge", "found at least 1179639000"),
        ("headers 2000000", "HeadersTooLarge", "may take 65535 bytes, found at least 2000000"),
        ("partition_key 1000000", "ColumnTooLong", "partition_key may have 1024 bytes, found 1"),
        ("PostgreSQL at db: out of memory (SQLSTATE 54000)", "Unreadable", "out of memory"),
        (None, "Unreadable", "cannot be read"),
        ("x" * 100_000, "Unreadable", "cannot be read"),
    ],
)
def test_a_row_that_was_not_read_whole_says_why(said: str | None, reason: str, error: str) -> None:
    found = inspect(row(7, payload=None, headers=said), RENDERER, LIMITS, 1)
    assert isinstance(found, Poison)
    assert found.reason == reason
    assert error in found.error
    assert len(found.error) < 1000


def test_headers_have_a_limit_of_their_own() -> None:
    wide = facts("shop.>", size=10_000_000)
    found = inspect(row(7, headers='{"a": "' + "x" * 70_000 + '"}'), RENDERER, wide, 1)
    assert isinstance(found, Poison)
    assert found.reason == "HeadersTooLarge"


def test_the_largest_message_allowed_passes() -> None:
    small = inspect(row(7), RENDERER, LIMITS, 1)
    assert isinstance(small, Message)
    room = LIMITS.max_message_bytes - len(small.head) - RENDERER.reserve
    assert isinstance(inspect(row(7, payload=b"x" * room), RENDERER, LIMITS, 1), Message)
    assert isinstance(inspect(row(7, payload=b"x" * (room + 1)), RENDERER, LIMITS, 1), Poison)


def test_good_events_are_numbered_densely_in_order() -> None:
    made = plan([row(1), bad(2), row(3)], policy="Skip")
    assert [
        (position, emission(m)) for position, m in zip(made.positions, made.messages, strict=True)
    ] == [
        (1, "11"),
        (3, "12"),
    ]


@pytest.mark.parametrize(
    ("policy", "published", "dead", "halted"),
    [
        ("BlockKey", [1, 4, 6, 7], [(2, False), (3, True), (5, False)], None),
        ("Skip", [1, 3, 4, 6, 7], [(2, False), (5, False)], None),
        ("Halt", [1], [], 2),
    ],
)
def test_policies(
    policy: Policy, published: list[int], dead: list[tuple[int, bool]], halted: int | None
) -> None:
    rows = [row(1, "a"), bad(2, "a"), row(3, "a"), row(4, "b"), bad(5, ""), row(6, ""), row(7, "c")]
    made = plan(rows, policy)
    assert made.positions == published
    assert [(letter.position, letter.blocked) for letter in made.dead_letters] == dead
    assert (made.halted[0].position if made.halted else None) == halted
    assert made.found_poison


def test_keys_blocked_before_stay_blocked() -> None:
    made = plan([row(1, "a"), row(2, "b")], blocked_keys=frozenset({"a"}))
    assert made.positions == [2]
    assert [(letter.position, letter.reason, letter.blocked) for letter in made.dead_letters] == [
        (1, "KeyBlocked", True)
    ]
    assert not made.found_poison, "nothing new to ask the server about"


def test_other_policies_ignore_blocked_keys() -> None:
    made = plan([row(1, "a")], policy="Skip", blocked_keys=frozenset({"a"}))
    assert made.positions == [1]


def test_what_the_server_refused_is_poison_though_it_looks_fine() -> None:
    made = plan([row(1, "a"), row(2, "a")], refused={1: Poison(Reason.REFUSED_BY_STREAM, "no")})
    assert [(letter.position, letter.blocked) for letter in made.dead_letters] == [
        (1, False),
        (2, True),
    ]


def test_what_is_in_the_stream_already_is_skipped_and_nothing_else() -> None:
    made = plan([row(1, "a"), row(2, "a"), row(3, "a")], published={1: row(1).event_id, 3: "other"})
    assert made.positions == [2, 3]
    assert [emission(message) for message in made.messages] == ["11", "12"]
    assert not made.dead_letters


def test_ordinary_pages_and_odd_ones_are_treated_alike() -> None:
    wide = facts("shop.>", size=10_000)
    rows = [row(n, f"k{n}") for n in range(1, 6)]
    quick = plan(rows, facts=wide)
    slow = plan([*rows, row(6, "odd key")], facts=wide)
    assert quick.messages == slow.messages[:5]
    assert quick.positions == slow.positions[:5]


@pytest.mark.parametrize("size", [100, 400, 500])
def test_the_limit_holds_in_ordinary_pages_too(size: int) -> None:
    rows = [row(1), row(2, payload=b"x" * size), row(3)]
    tight = facts("shop.>", size=len(made_of(row(1)).head) + RENDERER.reserve + 400)
    made = plan(rows, policy="Skip", facts=tight)
    assert made.positions == ([1, 2, 3] if size <= 400 else [1, 3])


@pytest.mark.parametrize(
    ("kind", "treatment"),
    [
        (RefusalKind.TOO_LARGE, Treatment.POISON),
        (RefusalKind.INTERLEAVED, Treatment.RESEND),
        (RefusalKind.FENCE_BROKEN, Treatment.FENCE),
        (RefusalKind.OTHER, Treatment.RETRY),
    ],
)
def test_refusals(kind: RefusalKind, treatment: Treatment) -> None:
    assert treat(Refusal(Reason.STREAM_REFUSED, "text", kind)) is treatment


def test_a_template_that_cannot_match_the_stream_is_not_blamed_on_the_events() -> None:
    check_stream(SubjectTemplate.parse("shop.{event_type}"), LIMITS)
    with pytest.raises(SpecError, match="ORDERS"):
        check_stream(SubjectTemplate.parse("other.{event_type}"), LIMITS)
    with pytest.raises(SpecError, match="no subjects"):
        check_stream(SubjectTemplate.parse("a.{event_type}"), facts())


def copied(row: Row, **changes: Any) -> Row:
    """As a copy of a replay is read."""
    replay = {"name": "again.1", "of": 3, "time": 1_600_000_000_000_001, **changes}
    return row._replace(headers=f"replay {replay['name']} {json.dumps([replay, {}])}")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"}, {"name": "x" * 73}, {"name": "a\r\nNats-Msg-Id: b"}, {"to": "b\r\nc: d"},
        {"to": 1}, {"time": "soon"}, {"time": 10**30}, {"time": True}, {"time": None},
    ],
)  # fmt: skip
def test_what_no_replay_writes_is_poison(wrong: dict[str, Any]) -> None:
    found = inspect(copied(row(1), **wrong), RENDERER, LIMITS, 0)
    assert isinstance(found, Poison)


@pytest.mark.parametrize("policy", ["BlockKey", "Skip", "Halt"])
def test_a_copy_that_is_poison_hurts_neither_key_nor_shard(policy: Policy) -> None:
    rows = [copied(row(1, "a", event_type="no.order")), row(2, "a"), copied(row(3, "b"))]
    planned = plan_page(
        rows, renderer=RENDERER, facts=LIMITS, policy=policy, blocked_keys={"b"}, refused={},
        published={}, emission=0,
    )  # fmt: skip
    assert planned.halted is None
    assert list(planned.positions) == [2, 3]
    assert [letter.position for letter in planned.dead_letters] == [1]


@pytest.mark.parametrize("replayed", [False, True], ids=["event", "copy"])
def test_what_is_too_large_does_not_depend_on_ids(replayed: bool) -> None:
    """They come and go with doubt, and a dead letter is for ever (FD-U1)."""
    small = copied(row(7)) if replayed else row(7)
    head = len(RENDERER.render(small, b"", 11).head) + RENDERER.reserve
    room = LIMITS.max_message_bytes - head
    for size, fits in ((room - 200, True), (room, True), (room + 1, False), (room + 60, False)):
        for renderer in (RENDERER, WITHOUT_IDS):
            made = plan([small._replace(payload=b"x" * size)], renderer=renderer)
            assert len(made.messages) == fits
            for message in made.messages:
                assert ("Nats-Msg-Id" in message.head) == (renderer is RENDERER)
                assert message.head.startswith("NATS/1.0\r\n")
                assert "\r\nCe-Id: " in message.head


@pytest.mark.parametrize(
    ("reached", "said"),
    [(-(2**63), []), (4, []), (5, [4]), (6, [4, 5]), (9, [4, 5, 6]), (10**6, [4, 5, 6])],
)
def test_messages_of_rows_below_one_that_was_sent_say_so(reached: int, said: list[int]) -> None:
    messages, positions = [made_of(row(number)) for number in (4, 5, 6)], [4, 5, 6]
    plan = PagePlan(messages, positions).reaching(reached)
    assert plan.positions == positions
    for message, plain, position in zip(plan.messages, messages, positions, strict=True):
        found, wanted = (parse_headers(each.head.encode("latin-1")) for each in (message, plain))
        if position in said:
            wanted["Outbox-Reached"] = str(reached)
        assert found == wanted
        assert (message.subject, message.payload) == (plain.subject, plain.payload)


def test_a_plan_without_messages_has_none_that_say_how_far_rows_were_sent() -> None:
    assert PagePlan([], []).reaching(9) == PagePlan([], [])


def test_there_is_room_for_what_is_added_when_it_is_sent() -> None:
    plain = made_of(row(1))
    plan = PagePlan([plain], [1]).reaching(2**63 - 1).naming(Naming(2**63, every=True))
    assert len(plan.messages[0].head) <= len(plain.head) + RENDERER.reserve - len(FENCE)
