"""What every source keeps, whatever it is: docs/explanation/add-a-sink.md says why."""

from __future__ import annotations

import asyncio

import pytest

from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason
from support.sources import Place, reading
from support.waiting import eventually


async def test_as_many_come_as_are_requested_in_their_order(place: Place) -> None:
    ids = await place.publish(20)
    async with reading(place) as reader:
        await reader.source.open()
        assert reader.source.requested == 0
        first = await reader.take(3)
        assert (await reader.source.unanswered()).count == 3
        rest = await reader.take(17)
    assert [each.headers["Ce-Id"] for each in [*first, *rest]] == ids
    numbers = [each.sequence for each in [*first, *rest]]
    assert numbers == sorted(set(numbers))


async def test_a_delivery_says_what_it_is(place: Place) -> None:
    await place.publish(2)
    async with reading(place) as reader:
        await reader.source.open()
        _, second = await reader.take(2)
        assert (second.data, second.number, second.deliveries) == (b"2", 2, 1)
        assert second.stream == place.config.stream
        assert second.headers["own"].encode("utf-8", "surrogateescape") == "b: \u00e4r".encode()
        assert second.headers["Outbox-Emission"] == "2"
        assert second.epoch == reader.source.epoch
        assert second.when_stored().year >= 2026
        assert second.durable.stream == place.config.stream
        assert not second.replaces(second)


async def test_what_is_acknowledged_is_over(hasty: Place) -> None:
    await hasty.publish(4)
    async with reading(hasty) as reader:
        await reader.source.open()
        for each in await reader.take(4):
            each.ack()
        await reader.source.confirm()
        assert (await reader.source.unanswered()).count == 0
    await hasty.publish(1)
    async with reading(hasty) as other:
        await other.source.open()
        assert other.source.unanswered_before == 0
        (fifth,) = await other.take(1)
        assert fifth.number == 5


async def test_what_is_to_come_again_comes_again_and_others_meanwhile(place: Place) -> None:
    await place.publish(2)
    async with reading(place) as reader:
        await reader.source.open()
        (first,) = await reader.take(1)
        first.nak(0.2)
        (second,) = await reader.take(1)
        assert second.number == 2
        second.term("no use")
        (again,) = await reader.take(1)
        assert (again.sequence, again.deliveries) == (first.sequence, 2)
        again.nak()
        (third,) = await reader.take(1)
        assert (third.sequence, third.deliveries) == (first.sequence, 3)
        third.ack()
        await reader.source.confirm()
        assert (await reader.source.unanswered()).count == 0


async def test_what_nobody_speaks_of_others_are_given(hasty: Place) -> None:
    await hasty.publish(2)
    async with reading(hasty) as gone, reading(hasty) as other:
        await gone.source.open()
        await gone.take(2)
        await other.source.open()
        assert other.source.unanswered_before == 2
        found = await other.take(2)
        assert [(each.number, each.deliveries) for each in found] == [(1, 2), (2, 2)]
        for each in found:
            each.ack()
        await other.source.confirm()
        assert (await other.source.unanswered()).count == 0


async def test_what_is_in_progress_stays(hasty: Place) -> None:
    await hasty.publish(2)
    async with reading(hasty) as reader, reading(hasty) as other:
        await reader.source.open()
        kept, left = await reader.take(2)
        await other.source.open()

        async def keep() -> None:
            while True:
                kept.in_progress()
                await asyncio.sleep(0.1)

        keeping = asyncio.create_task(keep())
        await other.source.request(5)
        await eventually(lambda: other.arrived, "what was left alone")
        keeping.cancel()
        assert other.arrived[0].sequence == left.sequence
        assert [each.deliveries for each in other.arrived] == [2]


async def test_what_is_given_back_at_the_end_others_are_given_at_once(place: Place) -> None:
    """ackWait is ten minutes, so nobody waits for that."""
    await place.publish(1)
    async with reading(place) as other:
        await other.source.open()
        async with reading(place) as reader:
            await reader.source.open()
            (first,) = await reader.take(1)
            await reader.source.close()
            first.nak()
            reader.source.flush()
            await reader.source.confirm()
        (again,) = await other.take(1)
        assert (again.sequence, again.deliveries) == (first.sequence, 2)


async def test_closed_it_takes_nothing_and_still_answers(place: Place) -> None:
    await place.publish(2)
    async with reading(place) as reader:
        await reader.source.open()
        (first,) = await reader.take(1)
        await reader.source.close()
        await reader.source.request(1)
        first.ack()
        await reader.source.confirm()
        assert len(reader.arrived) == 1
        await reader.open()
        assert (await reader.source.unanswered()).count == 0
        (second,) = await reader.take(1)
        assert second.number == 2


async def test_one_that_does_not_exist_is_missing_and_one_deleted_too(place: Place) -> None:
    await place.remove_reader()
    async with reading(place) as reader:
        with pytest.raises(OutboxError) as caught:
            await reader.source.open()
        assert caught.value.reason is Reason.CONSUMER_MISSING
        assert "billing" in caught.value.message
        assert (await reader.source.others()).names == ()
        await place.make_reader()
        assert (await reader.source.others()).names == ("billing",)
        await reader.source.open()
        assert reader.source.failure is None
        await reader.source.request(1)
        await place.remove_reader()
        found = await eventually(lambda: reader.source.failure, "it is missed")
        assert found.reason is Reason.CONSUMER_MISSING
        await place.make_reader()
        await place.publish(1)
        await reader.open()
        await reader.take(1)


async def test_an_answer_given_while_the_connection_is_down_counts(place: Place) -> None:
    await place.publish(2)
    async with reading(place) as reader:
        await reader.source.open()
        first, second = await reader.take(2)
        epoch = reader.source.epoch
        first.ack()
        await reader.source.confirm()
        await place.cut()
        await eventually(lambda: reader.source.failure or not reader.source.connected, "cut off")
        second.ack()
        if reader.source.failure is not None:
            await reader.open()
        await eventually(lambda: reader.source.connected, "there again")

        async def answered() -> bool:
            return (await reader.source.unanswered()).count == 0

        await eventually(answered, "the answer counts")
        assert reader.source.epoch != epoch
        assert not reader.session.is_over()


async def test_a_dead_letter_has_the_payload_and_its_headers(place: Place) -> None:
    await place.publish(1)
    async with reading(place) as reader:
        await reader.source.open()
        (first,) = await reader.take(1)
        await first.store_copy(place.letters, {"Ce-Id": "id-1", "Outbox-Dead-Letter-Error": "why"})
        first.ack()
        await reader.source.confirm()
    (letter,) = await place.stored_letters()
    assert letter["Ce-Id"] == "id-1"
    assert letter["Outbox-Dead-Letter-Error"] == "why"
