"""What every sink keeps, whatever it is: docs/explanation/add-a-sink.md says why."""

from __future__ import annotations

import asyncio

import pytest

from outbox_operator.adapters.sink import Fence, Owner, RefusalKind, Sent
from support.sinks import LARGEST, SOURCE, Place, closed_run, messages, numbers
from support.waiting import SECONDS, eventually

FIRST, SECOND = Owner("a1", 1), Owner("a1", 2)


async def test_facts(place: Place) -> None:
    sink = await place.connect()
    facts = await sink.facts(place.subjects)
    assert facts.created
    assert facts.max_message_bytes == LARGEST
    assert facts.keeps_tail
    assert facts.fences
    assert not facts.unfit
    assert await sink.facts(place.subjects) == facts


async def test_nothing_is_there_at_first(place: Place) -> None:
    sink = await place.connect()
    await sink.facts(place.subjects)
    assert await sink.last_of(place.subjects) is None
    assert await sink.last_sequence(place.subjects) == 0
    assert await numbers(place, sink) == []
    run = sink.open_run(owner=FIRST, fence=None, ordered=True, subjects=place.subjects)
    assert await run.finish() == Sent(0, None, None)


@pytest.mark.parametrize("count", [1, 2, 1500])
async def test_a_run_is_stored_in_its_order_and_found_again(place: Place, count: int) -> None:
    sink = await place.connect()
    await sink.facts(place.subjects)
    told: list[int] = []
    run = sink.open_run(
        owner=FIRST, fence=Fence(place.subjects, 0), ordered=True, subjects=place.subjects,
        on_ack=lambda more, seconds: told.append(more),
    )  # fmt: skip
    sent = messages(place, count)
    await run.send(sent[: count // 2])
    await run.send(sent[count // 2 :], last=True)
    ended = await run.finish()
    assert (ended.count, ended.refusal) == (count, None)
    assert sum(told) == run.acked == count
    last = await sink.last_of(place.subjects)
    assert last is not None
    assert last.sequence == ended.last_sequence == await sink.last_sequence(place.subjects)
    assert await numbers(place, sink) == list(range(1, count + 1))
    assert await numbers(place, sink, last.sequence) == []
    assert await sink.message_at(place.subjects, last.sequence) == last
    assert await sink.message_at(place.subjects, last.sequence + 1) is None
    wanted = {
        "Ce-Source": SOURCE, "Outbox-Shard": "0", "Outbox-Position": str(1000 + count),
        "Outbox-Emission": str(count), "Ce-Partitionkey": f"k{count % 7}", "own": "b: ar",
    }  # fmt: skip
    assert wanted.items() <= last.headers.items()


async def test_the_tail_begins_behind_a_sequence(place: Place) -> None:
    sink = await place.connect()
    await sink.facts(place.subjects)
    first = await closed_run(sink, place, messages(place, 10))
    assert first.last_sequence is not None
    await closed_run(sink, place, messages(place, 5, first=11))
    assert await numbers(place, sink, first.last_sequence) == [11, 12, 13, 14, 15]


async def test_a_fence_that_has_moved_keeps_everything_out(place: Place) -> None:
    sink, zombie = await place.connect(), await place.connect()
    await sink.facts(place.subjects)
    await zombie.facts(place.subjects)
    fence = Fence(place.subjects, 0)
    first = await closed_run(sink, place, messages(place, 3), fence=fence)
    assert first.last_sequence is not None
    stale = await closed_run(zombie, place, messages(place, 100, first=4), fence=fence)
    assert stale.count == 0
    assert stale.refusal is not None
    assert stale.refusal.kind is RefusalKind.FENCE_BROKEN
    behind = Fence(place.subjects, first.last_sequence)
    again = await closed_run(sink, place, messages(place, 3, first=4), fence=behind)
    assert (again.count, again.refusal) == (3, None)
    assert await numbers(place, sink) == [1, 2, 3, 4, 5, 6]


async def test_somebody_else_moves_the_fence(place: Place) -> None:
    sink = await place.connect()
    await sink.facts(place.subjects)
    first = await closed_run(sink, place, messages(place, 3))
    assert first.last_sequence is not None
    await place.foreign(above=3)
    refused = await closed_run(
        sink, place, messages(place, 3, first=4), fence=Fence(place.subjects, first.last_sequence)
    )
    assert refused.count == 0
    assert refused.refusal is not None
    assert refused.refusal.kind is RefusalKind.FENCE_BROKEN
    found = [each async for each in sink.tail(place.subjects, first.last_sequence)]
    assert len(found) == 1
    assert found[0].headers.get("Ce-Source") is None


@pytest.mark.parametrize("at", [0, 1, 700])
async def test_nothing_is_stored_behind_what_is_refused(place: Place, at: int) -> None:
    sink = await place.connect()
    await sink.facts(place.subjects)
    sent = messages(place, 1000)
    sent[at : at + 1] = messages(place, 1, first=at + 1, size=LARGEST)
    ended = await closed_run(sink, place, sent)
    assert ended.count == at
    assert ended.refusal is not None
    assert ended.refusal.kind is RefusalKind.TOO_LARGE
    assert await numbers(place, sink) == list(range(1, at + 1))
    # The run behind it begins with what was refused.
    await sink.facts(place.subjects)
    assert (await closed_run(sink, place, messages(place, 5, first=at + 1))).count == 5


async def test_an_owner_that_is_shut_out_gets_nothing_more_stored(place: Place) -> None:
    before, after = await place.connect(), await place.connect()
    await before.facts(place.subjects)
    await after.facts(place.subjects)
    run = before.open_run(
        owner=FIRST, fence=Fence(place.subjects, 0), ordered=True, subjects=place.subjects
    )
    await run.send(messages(place, 10))

    async def stored() -> bool:
        return await numbers(place, after) == list(range(1, 11))

    await eventually(stored, "ten messages of a run that is open")
    last = await after.last_of(place.subjects)
    assert last is not None
    await after.shut_out(SECOND, place.subjects, last)
    theirs = await closed_run(
        after, place, messages(place, 5, first=11), owner=SECOND,
        fence=Fence(place.subjects, last.sequence),
    )  # fmt: skip
    assert (theirs.count, theirs.refusal) == (5, None)
    fenced = await closed_run(
        before, place, messages(place, 5, first=16), fence=Fence(place.subjects, last.sequence)
    )
    assert fenced.count == 0
    assert fenced.refusal is not None
    assert await numbers(place, after) == list(range(1, 16))


async def test_an_abandoned_run_is_stored_up_to_somewhere(place: Place) -> None:
    sink = await place.connect()
    await sink.facts(place.subjects)
    run = sink.open_run(owner=FIRST, fence=None, ordered=True, subjects=place.subjects)
    await run.send(messages(place, 300))
    run.abandon()
    await sink.close()
    other = await place.connect()
    await other.facts(place.subjects)
    last = await other.last_of(place.subjects)
    await other.shut_out(SECOND, place.subjects, last)
    found = await numbers(place, other)
    assert found == list(range(1, len(found) + 1))


async def test_a_lost_connection_ends_runs_and_says_so(place: Place) -> None:
    sink = await place.connect()
    await sink.facts(place.subjects)
    lost = asyncio.Event()
    sink.on_lost(lost.set)
    run = sink.open_run(owner=FIRST, fence=None, ordered=True, subjects=place.subjects)
    await run.send(messages(place, 50))
    await place.cut()
    async with asyncio.timeout(SECONDS):
        await lost.wait()
    assert sink.lost
    assert sink.address in sink.lost_error().message
    await run.send(messages(place, 50, first=51), last=True)
    ended = await run.finish()
    assert ended.count < 100
    assert ended.refusal is not None
    other = await place.connect()
    await other.facts(place.subjects)
    found = await numbers(place, other)
    assert found[: ended.count] == list(range(1, ended.count + 1))
    assert found == list(range(1, len(found) + 1))


async def test_what_was_made_anew_is_known_by_its_creation(place: Place) -> None:
    sink = await place.connect()
    before = await sink.facts(place.subjects)
    await closed_run(sink, place, messages(place, 3))
    await place.make_anew()
    after = await sink.facts(place.subjects)
    assert after.created != before.created
    assert await sink.last_sequence(place.subjects) == 0
    assert await sink.last_of(place.subjects) is None


async def test_nudges_are_heard(place: Place) -> None:
    sink = await place.connect()
    accepted, heard = asyncio.Event(), asyncio.Event()
    listening = asyncio.create_task(sink.listen(place.nudge, heard.set, accepted.set))
    try:
        async with asyncio.timeout(SECONDS):
            await accepted.wait()
            await place.call()
            await heard.wait()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_login_that_is_the_same_ends_nothing(place: Place) -> None:
    sink = await place.connect()
    sink.end_if_outdated()
    assert not sink.lost


async def test_numbers_may_be_larger_than_a_number_of_every_language_holds(place: Place) -> None:
    """After 2^53 a script of Lua took the next number for the same, and refused it for ever."""
    sink = await place.connect()
    await sink.facts(place.subjects)
    for first in (2**53, 2**53 + 1, 2**53 + 2, 10**18 - 1, 10**18):
        sent = await closed_run(sink, place, messages(place, 1, first=first))
        assert (sent.count, sent.refusal) == (1, None), first
    assert (await numbers(place, sink))[1:3] == [2**53 + 1, 2**53 + 2]
