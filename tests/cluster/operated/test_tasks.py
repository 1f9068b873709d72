"""One-shot tasks: whose turn it is, what they say, and that they end. On a real control plane."""

from __future__ import annotations

from typing import Any

import pytest

from support.tasks import (
    PIPELINE,
    TASK,
    bury,
    copied,
    ended,
    fetch,
    letters_of,
    send_letters,
    stored,
    task,
)
from support.world import World

RELAY = {"pipelineRef": {"name": "orders"}}
BILLING = {"consumerRef": {"name": "orders-billing"}}


@pytest.fixture
def orders(world: World) -> World:
    world.apply(*world.whole())
    world.wait_ready(*PIPELINE)
    return world


async def test_dead_letters_of_a_relay_go_back_and_are_given_up(orders: World) -> None:
    ids = await bury(
        orders,
        ("a", "InvalidHeaders", "1"), ("a", "KeyBlocked", "2"), ("", "MessageTooLarge", "3"),
        ("b", "InvalidHeaders", "4"),
    )  # fmt: skip
    unknown = [f"00000000-0000-4000-8000-{number:012}" for number in range(30)]
    orders.apply(
        task(orders, "counted", **RELAY, dryRun=True, purgeDeadLetters={}),
        # More than the operator remembers of a task.
        task(orders, "many", **RELAY, dryRun=True, purgeDeadLetters={"ids": [*unknown, *ids]}),
        task(orders, "one-key", **RELAY, replayDeadLetters={"filter": {"reasons": ["KeyBlocked"]}}),
    )
    assert ended(orders, "counted", reason="DryRun")["selected"] == 4
    assert ended(orders, "many", reason="DryRun")["selected"] == 34
    status = ended(orders, "one-key")
    # Both of the key, or one would overtake the other.
    assert (status["selected"], status["done"], status["failed"]) == (2, 2, 0)
    assert await fetch(
        orders, "SELECT event_id::text, payload FROM outbox.events ORDER BY position"
    ) == [(ids[0], "1"), (ids[1], "2")]
    gone = {"ids": [ids[3], ids[0]], "confirm": True}
    orders.apply(task(orders, "given-up", **RELAY, purgeDeadLetters=gone))
    status = ended(orders, "given-up", "Failed", "SomeFailed")
    assert (status["selected"], status["done"], status["failed"]) == (2, 1, 1)
    assert [(one["id"], one["reason"]) for one in status["failures"]] == [(ids[0], "NotFound")]
    assert await fetch(orders, "SELECT event_id::text FROM outbox.dead_letters") == [(ids[2],)]


async def test_they_stay_in_the_database_where_they_began(orders: World) -> None:
    """A Secret leads to a copy, which has the same mark, before anybody has decided to move."""
    await bury(orders, *(("", "InvalidHeaders", str(number)) for number in range(200)))
    slow = {"replayDeadLetters": {}, "eventsPerSecond": 4}

    def done() -> int:
        return int((orders.get(TASK, "slow") or {}).get("status", {}).get("done", 0))

    orders.apply(task(orders, "slow", **RELAY, **slow))
    orders.wait(lambda: done() > 1, "it works")
    copy = await copied(orders.database)
    orders.apply(orders.secret("database", url=copy))
    said = orders.wait_condition(TASK, "slow", "Complete", "False", "ApprovalPending")
    assert "leads to another database" in said["message"]
    before = done()
    orders.apply(orders.secret("database", url=orders.database))
    orders.wait(lambda: done() > before, "it goes on")
    orders.kubectl("delete", "obt", "slow", "-n", orders.namespace)
    orders.apply(task(orders, "rest", **RELAY, replayDeadLetters={}))
    ended(orders, "rest")
    assert await fetch(orders, "SELECT count(DISTINCT event_id), count(*) FROM outbox.events") == [
        (200, 200)
    ]


async def test_dead_letters_of_a_consumer_go_where_they_came_from(orders: World) -> None:
    await send_letters(
        orders,
        ("e1", "a", "MaxDeliver"), ("e2", "b", "Refused"), ("e3", "a", "MaxDeliver"),
        ("e4", "b", "MaxDeliver"), ("e5", "", "Refused"),
    )  # fmt: skip
    # Whoever may write dead letters says where they came from.
    await send_letters(orders, ("evil", "k", "Refused"), subject="$JS.API.STREAM.PURGE.X")
    await send_letters(orders, ("after", "k", "Refused"))
    orders.apply(
        task(
            orders, "counted", **BILLING, dryRun=True,
            replayDeadLetters={"filter": {"reasons": ["MaxDeliver"], "keys": ["a"]}},
        ),
        task(
            orders, "some", **BILLING,
            replayDeadLetters={"filter": {"reasons": ["MaxDeliver"]}, "limit": 2},
        ),
    )  # fmt: skip
    assert ended(orders, "counted", reason="DryRun")["selected"] == 2
    assert ended(orders, "some")["done"] == 2
    assert await stored(orders) == ["e1", "e3"]
    orders.apply(task(orders, "rest", **BILLING, replayDeadLetters={}))
    status = ended(orders, "rest", "Failed", "SomeFailed")
    assert (status["selected"], status["done"], status["failed"]) == (5, 3, 2)
    assert [(one["id"], one["reason"]) for one in status["failures"]] == [
        ("evil", "SubjectNotInStream"),
        ("after", "KeyStopped"),
    ]
    assert "PURGE" not in str(status)
    assert await stored(orders) == ["e1", "e3", "e2", "e4", "e5"]
    orders.apply(task(orders, "purge", **BILLING, purgeDeadLetters={"confirm": True}))
    assert ended(orders, "purge")["done"] == 2
    assert await letters_of(orders) == []


@pytest.mark.thorough
async def test_they_take_turns_and_can_be_stopped(orders: World) -> None:
    """A slow one is suspended, lets the next go by, goes on, and is deleted in the middle."""
    await bury(orders, *(("", "MessageTooLarge", str(number)) for number in range(200)))
    slow = {"filter": {"reasons": ["MessageTooLarge"]}}
    orders.apply(task(orders, "slow", **RELAY, replayDeadLetters=slow, eventsPerSecond=2))

    def status(name: str) -> dict[str, Any]:
        return dict((orders.get(TASK, name) or {}).get("status") or {})

    orders.wait(lambda: status("slow").get("done", 0) > 1, "it is at work", detail=orders.log)
    orders.apply(task(orders, "next", **RELAY, purgeDeadLetters={"limit": 1, "confirm": True}))
    said = orders.wait_condition(TASK, "next", "Complete", "False", "WaitsForTask")
    assert "task slow" in said["message"]
    assert status("next")["waitsFor"] == "slow"
    orders.kubectl(
        "patch", "obt", "slow", "-n", orders.namespace, "--type=merge", "-p",
        '{"spec":{"suspend":true}}',
    )  # fmt: skip
    ended(orders, "next")
    orders.wait_condition(TASK, "slow", "Suspended", "True")
    before = status("slow")["done"]
    orders.kubectl(
        "patch", "obt", "slow", "-n", orders.namespace, "--type=merge", "-p",
        '{"spec":{"suspend":false}}',
    )  # fmt: skip
    orders.wait(lambda: status("slow").get("done", 0) > before, "it goes on", detail=orders.log)
    orders.kubectl("delete", "obt", "slow", "-n", orders.namespace)
    (left,) = await fetch(orders, "SELECT count(*) FROM outbox.dead_letters")
    assert 0 < left[0] < 199
    # The next takes what it left, and goes by itself.
    orders.apply(task(orders, "last", **RELAY, replayDeadLetters={}, ttlSecondsAfterFinished=0))
    orders.wait_gone(TASK, "last")
    assert await fetch(orders, "SELECT count(DISTINCT event_id), count(*) FROM outbox.events") == [
        (199, 199)
    ]
    for reason in ("Running", "Suspended"):
        orders.wait_event("slow", reason)


async def test_what_is_in_its_way_is_said(orders: World) -> None:
    """A target that is not there, is paused, or is another one under the same name."""
    purge = {"purgeDeadLetters": {"confirm": True}}
    orders.apply(task(orders, "early", pipelineRef={"name": "later"}, **purge))
    said = orders.wait_condition(TASK, "early", "Complete", "False", "TargetNotFound")
    assert "OutboxPipeline later does not exist" in said["message"]
    orders.annotate(*PIPELINE, "outbox.dev/paused=true")
    orders.wait_condition(*PIPELINE, "Paused", "True")
    orders.apply(
        task(orders, "paused", **BILLING, **purge),
        task(orders, "reads", **BILLING, dryRun=True, purgeDeadLetters={}),
    )
    said = orders.wait_condition(TASK, "paused", "Complete", "False", "Paused")
    assert "OutboxPipeline orders is paused" in said["message"]
    ended(orders, "reads", reason="DryRun")
    orders.annotate(*PIPELINE, "outbox.dev/paused-")
    ended(orders, "paused")
    # Those at their end are records, of any number.
    orders.wait_exported(
        None, "condition", kind=TASK, name="paused", type="Complete", status="True"
    )
    assert orders.condition(TASK, "early", "Failed")["status"] == "False"
    orders.wait_exported(1, "condition", kind=TASK, name="early", type="Complete", status="False")
    orders.kubectl("delete", "obt", "early", "-n", orders.namespace)
    await bury(orders, *(("", "InvalidHeaders", "1") for _ in range(200)))
    orders.apply(
        task(
            orders, "slow", **RELAY, replayDeadLetters={}, eventsPerSecond=1, requestedBy="ann",
        )
    )  # fmt: skip
    orders.wait_condition(TASK, "slow", "Complete", "False", "Running")
    pipeline = orders.get(*PIPELINE)
    assert pipeline is not None
    orders.kubectl("delete", "obp", "orders", "-n", orders.namespace)
    orders.apply(orders.pipeline())
    status = ended(orders, "slow", "Failed", "TargetGone")
    assert status["target"]["uid"] == pipeline["metadata"]["uid"]
    assert status["requestedByVerified"] is False  # nothing compares it here
