"""Runs of messages: order, fences, duplicates, refusals, on every generation of servers.

What the modules `publish_fast` and `jetstream_window` say of the server is tried here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from outbox_operator.adapters.nats import ack_router, publish_fast
from outbox_operator.adapters.sink import Fence, Owner, RefusalKind, Sent
from outbox_operator.errors import NatsError
from support.nats import NatsServer, connected, remove_streams
from support.runs import PublishedStream, an_owner, generation, message, published_stream
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="session")
def fast_ingest_server() -> Iterator[NatsServer]:
    """The first generation with fast-ingest batches."""
    with NatsServer(version="2.14.6") as server:
        yield server


@pytest.fixture(scope="session")
def fence_server() -> Iterator[NatsServer]:
    """The first generation with fences over several subjects."""
    with NatsServer(version="2.11.11") as server:
        yield server


@pytest.fixture(
    params=["nats_server", "fast_ingest_server", "middle_server", "fence_server", "old_server"]
)
async def server(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[NatsServer]:
    """Each generation in turn."""
    found: NatsServer = request.getfixturevalue(request.param)
    yield found
    async with connected(found) as client:
        await remove_streams(client, prefix)


@pytest.fixture
async def stream(server: NatsServer, prefix: str) -> AsyncIterator[PublishedStream]:
    """As the operator makes streams: fast ingest where the server has it."""
    fast = generation(server) >= (2, 14)
    async with published_stream(
        server, prefix, **({"allow_batched": True} if fast else {})
    ) as stream:
        yield stream


async def test_facts_tell_what_the_server_can_do(stream: PublishedStream) -> None:
    assert stream.facts is not None
    assert stream.facts.fast is (generation(stream.server) >= (2, 14))
    assert stream.facts.fences is (generation(stream.server) >= (2, 11))
    assert stream.facts.subjects == (f"{stream.prefix}.>",)
    assert stream.facts.duplicate_window_seconds == 120
    assert stream.facts.keeps_tail


async def test_a_work_queue_keeps_nothing_that_a_fence_could_speak_of(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    async with published_stream(nats_server, stream_prefix, retention="workqueue") as stream:
        assert stream.facts is not None
        assert not stream.facts.fences
        assert not stream.facts.keeps_tail
        assert not stream.facts.fast  # nobody allowed it


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 5000])
async def test_messages_are_stored_in_order(stream: PublishedStream, count: int) -> None:
    sent = await stream.publish(stream.messages(count))
    assert sent == Sent(count, None, count)
    assert await stream.stored() == list(range(count))


async def test_a_run_spans_pages_and_may_end_without_knowing_its_last(
    stream: PublishedStream,
) -> None:
    sent = await stream.publish(stream.messages(3000), pages=7, last=False)
    assert sent == Sent(3000, None, 3000)
    assert await stream.stored() == list(range(3000))


async def test_a_run_without_messages_is_nothing(stream: PublishedStream) -> None:
    run = stream.publisher.open_run(owner=an_owner(), fence=None, ordered=True)
    assert await run.finish() == Sent(0, None, None)


async def test_acknowledgements_are_counted_and_timed(stream: PublishedStream) -> None:
    told: list[tuple[int, float]] = []
    run = stream.publisher.open_run(
        owner=an_owner(),
        fence=None,
        ordered=True,
        on_ack=lambda count, seconds: told.append((count, seconds)),
    )
    await run.send(stream.messages(2000), last=True)
    await run.finish()
    assert sum(count for count, _ in told) == run.acked == 2000
    assert all(0 < seconds < SECONDS for _, seconds in told)


@pytest.mark.parametrize("size", [100_000, 900_000])
async def test_large_messages_pass_in_a_bounded_window(
    stream: PublishedStream, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small ones first: what is acknowledged at a time is then far more than the window holds."""
    monkeypatch.setattr(ack_router, "WINDOW_BYTES", 4_000_000)
    messages = stream.messages(100) + stream.messages(30, size=size, first=100)
    sent = await stream.publish(messages)
    assert sent == Sent(130, None, 130)


async def test_a_fence_with_a_wildcard_holds(stream: PublishedStream) -> None:
    if not stream.facts or not stream.facts.fences:
        assert generation(stream.server) < (2, 11)
        return
    fence = f"{stream.prefix}.a.>"
    assert await stream.publish(stream.messages(10), fence=Fence(fence, 0)) == Sent(10, None, 10)
    other = stream.messages(5, subject="b", first=500)
    assert (await stream.publish(other, fence=Fence(f"{stream.prefix}.b.>", 0))).count == 5
    more = stream.messages(300, first=10)
    assert await stream.publish(more, fence=Fence(fence, 10)) == Sent(300, None, 315)
    stale = await stream.publish(stream.messages(300, first=1000), fence=Fence(fence, 10))
    assert stale.count == 0
    assert stale.refusal is not None
    assert stale.refusal.reason == "FenceRefused"
    assert stale.refusal.kind is RefusalKind.FENCE_BROKEN
    if stream.facts.fast:
        assert max(await stream.stored()) < 1000


async def test_duplicates_are_acknowledged_and_not_stored(stream: PublishedStream) -> None:
    messages = stream.messages(200)
    await stream.publish(messages)
    again = await stream.publish(messages, ordered=False)
    assert again == Sent(200, None, None)
    one = await stream.publish(messages[:1])
    assert one == Sent(1, None, None)
    mixed = await stream.publish([*messages[-50:], *stream.messages(50, first=200)], ordered=False)
    assert (mixed.count, mixed.refusal) == (100, None)
    assert await stream.stored() == list(range(250))


@pytest.mark.parametrize("place", [0, 1, 5, 63, 700, 999])
@pytest.mark.parametrize("kind", ["large", "uncovered", "expired"])
async def test_nothing_behind_a_refused_message_is_stored(
    server: NatsServer, prefix: str, place: int, kind: str
) -> None:
    fast = {"allow_batched": True} if generation(server) >= (2, 14) else {}
    async with published_stream(server, prefix, max_msg_size=1000, **fast) as stream:
        messages = stream.messages(1000)
        subject = messages[place].subject
        if kind == "large":
            messages[place] = message(subject, place, 2000)
        elif kind == "uncovered":
            messages[place] = message(f"elsewhere.{prefix}", place)
        else:
            messages[place] = message(
                subject, place, 20, **{"Nats-Expected-Last-Sequence": "99999"}
            )
        sent = await stream.publish(messages)
        assert sent.count == place
        assert sent.last_sequence == (place or None)
        assert sent.refusal is not None
        found = (sent.refusal.reason, sent.refusal.kind)
        assert (
            found
            == {
                "large": ("StreamRefused", RefusalKind.TOO_LARGE),
                "uncovered": ("NoStreamResponse", RefusalKind.OTHER),
                "expired": ("StreamRefused", RefusalKind.OTHER),
            }[kind]
        )
        assert await stream.stored() == list(range(place))
        rest = await stream.publish([*messages[place + 1 :], *stream.messages(1, first=1000)])
        assert rest.refusal is None


async def test_a_full_stream_takes_what_fits(server: NatsServer, prefix: str) -> None:
    fast = {"allow_batched": True} if generation(server) >= (2, 14) else {}
    async with published_stream(server, prefix, max_msgs=300, discard="new", **fast) as stream:
        sent = await stream.publish(stream.messages(1000))
        assert (sent.count, sent.last_sequence) == (300, 300)
        assert sent.refusal is not None
        assert "maximum messages exceeded" in sent.refusal.text
        assert await stream.stored() == list(range(300))


async def test_another_publisher_in_between_slows_a_window_down_but_never_stops_it(
    stream: PublishedStream,
) -> None:
    if stream.facts and stream.facts.fast:
        return  # a batch does not mind
    messages, done = stream.messages(400), 0
    noisy = True

    async def noise() -> None:
        async with connected(stream.server) as client:
            while noisy:
                await client.publish(f"{stream.prefix}.noise", b"")
                await client.flush()

    other = asyncio.create_task(noise())
    try:
        while done < len(messages):
            sent = await stream.publish(messages[done:])
            assert sent.count, sent
            done += sent.count
    finally:
        noisy = False
        await other
    stored = [
        int(found.headers["Outbox-Position"])
        async for found in stream.publisher.tail(f"{stream.prefix}.a.>", 0)
    ]
    assert stored == list(range(400))


async def test_many_batches_of_one_stream_share_it(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    async with published_stream(nats_server, stream_prefix, allow_batched=True) as stream:
        runs = [
            stream.publish(
                stream.messages(1000, subject=f"l{number}", first=1000 * number), pages=4
            )
            for number in range(20)
        ]
        for sent in await asyncio.gather(*runs):
            assert (sent.count, sent.refusal) == (1000, None)


async def test_batches_not_allowed_is_said_and_asked_for_anew(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    async with published_stream(nats_server, stream_prefix, allow_batched=True) as stream:
        await stream.request("UPDATE", allow_batched=False)
        sent = await stream.publish(stream.messages(10))
        assert sent.count == 0
        assert sent.refusal is not None
        assert "error 10205" in sent.refusal.text
        assert not (await stream.publisher.facts()).fast
        assert await stream.publish(stream.messages(10)) == Sent(10, None, 10)


async def test_an_idle_batch_is_kept_alive(
    nats_server: NatsServer, stream_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_fast, "_KEEPALIVE_SECONDS", 0.1)
    async with published_stream(nats_server, stream_prefix, allow_batched=True) as stream:
        run = stream.publisher.open_run(owner=an_owner(), fence=None, ordered=True)
        await run.send(stream.messages(10))
        await asyncio.sleep(0.5)
        await run.send(stream.messages(10, first=10), last=True)
        assert await run.finish() == Sent(20, None, 20)


async def test_the_last_message_of_subjects(stream: PublishedStream) -> None:
    assert await stream.publisher.last_of(f"{stream.prefix}.a.>") is None
    await stream.publish(stream.messages(10))
    await stream.publish(stream.messages(5, subject="b", first=50))
    last = await stream.publisher.last_of(f"{stream.prefix}.a.>")
    assert last is not None
    assert (last.sequence, last.headers["Outbox-Position"]) == (10, "9")
    await stream.request("PURGE", filter=f"{stream.prefix}.a.>")
    assert await stream.publisher.last_of(f"{stream.prefix}.a.>") is None


@pytest.mark.parametrize("behind", [0, 1200, 2498, 2499, 5000])
async def test_the_tail_is_exact(stream: PublishedStream, behind: int) -> None:
    await stream.publish(stream.messages(2500))
    tail = [found async for found in stream.publisher.tail(f"{stream.prefix}.a.>", behind)]
    assert [found.sequence for found in tail] == list(range(behind + 1, 2501))
    assert all(int(found.headers["Outbox-Position"]) == found.sequence - 1 for found in tail)


async def test_the_tail_of_an_empty_or_purged_stream_is_empty(stream: PublishedStream) -> None:
    assert await stream.stored() == []
    await stream.publish(stream.messages(100))
    await stream.request("PURGE")
    assert await stream.stored() == []
    assert (await stream.publish(stream.messages(1, first=100))).last_sequence == 101
    assert await stream.stored() == [100]


async def test_the_tail_skips_what_is_not_asked_for(stream: PublishedStream) -> None:
    for number in range(5):
        await stream.publish(stream.messages(100, subject="a", first=1000 * number))
        await stream.publish(stream.messages(100, subject="b", first=1000 * number + 500))
    tail = [found.sequence async for found in stream.publisher.tail(f"{stream.prefix}.b.>", 350)]
    assert tail == [*range(351, 401), *range(501, 601), *range(701, 801), *range(901, 1001)]


async def test_a_missing_stream_is_named(nats_server: NatsServer, stream_prefix: str) -> None:
    async with published_stream(nats_server, stream_prefix) as stream:
        await stream.request("DELETE")
        with pytest.raises(NatsError) as caught:
            await stream.publisher.last_of("a.>")
        assert caught.value.reason == "StreamNotFound"


@pytest.mark.parametrize("purged", [False, True])
async def test_a_batch_that_was_ended_from_elsewhere_takes_nothing_more(
    nats_server: NatsServer, stream_prefix: str, purged: bool
) -> None:
    """Nor when what it had brought is gone: a purge leaves the batch open (FD-U2)."""
    async with (
        published_stream(nats_server, stream_prefix, allow_batched=True) as stream,
        published_stream(nats_server, stream_prefix, allow_batched=True) as other,
    ):
        run = stream.publisher.open_run(owner=Owner("frozen", 1), fence=None, ordered=True)
        await run.send(stream.messages(10))

        async def begun() -> bool:
            return await stream.stored() == list(range(10))

        await eventually(begun, "ten messages of an open batch")
        if purged:
            await stream.request("PURGE")
        last = await other.publisher.last_of(f"{stream_prefix}.>")
        assert (last is None) == purged
        await other.publisher.shut_out(Owner("frozen", 2), f"{stream_prefix}.>", last)
        await run.send(stream.messages(10, first=10))
        sent = await run.finish()
        assert sent.refusal is not None
        assert await stream.stored() == ([] if purged else list(range(10)))
        # Its name is free for the next owner of it.
        run = stream.publisher.open_run(owner=Owner("frozen", 1), fence=None, ordered=True)
        await run.send(stream.messages(5, first=20), last=True)
        assert (await run.finish()).count == 5
