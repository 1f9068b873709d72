"""Dead letters of a stream: what the server gave up on is kept, and can be released."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

import pytest
from nats.aio.client import Client

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.dead_letters import DeadLetters, Letter
from outbox_operator.errors import NatsError
from outbox_operator.reasons import Reason
from outbox_operator.wire import dead_letters
from outbox_operator.wire.dead_letters import advisory_subjects
from support.nats import NatsServer, connected
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

NOW = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)


async def given_up(client: Client, prefix: str) -> None:
    """Three messages for a program that reads by itself: one it ends, one it never answers.

    Their time is cut when those that it answers are answered.
    """
    js = client.jetstream()
    await js.add_stream(name=prefix, subjects=[f"{prefix}.evt.>"])
    await js.add_stream(
        name=f"{prefix}-dead",
        subjects=[f"{prefix}.dead.>", *advisory_subjects(prefix)],
    )
    config = {
        "durable_name": "search", "ack_policy": "explicit", "max_deliver": 1,
    }  # fmt: skip

    async def ack_wait(seconds: float) -> None:
        request = {"stream_name": prefix, "config": {**config, "ack_wait": int(seconds * 1e9)}}
        answer = await client.request(
            f"$JS.API.CONSUMER.CREATE.{prefix}.search", json.dumps(request).encode()
        )
        assert "error" not in json.loads(answer.data), answer.data

    await ack_wait(60)
    for number in range(3):
        await js.publish(
            f"{prefix}.evt.order", b"%d" % number,
            headers={
                "Ce-Id": f"e{number}", "Ce-Type": "order", "tenant": "a", "Outbox-Emission": "1",
            },
        )  # fmt: skip
    reader = await js.pull_subscribe_bind("search", prefix)
    fine, ended, _ = await reader.fetch(3, timeout=SECONDS)
    await fine.ack_sync(timeout=SECONDS)
    await client.request(ended.reply, b"+TERM no such product")
    await ack_wait(0.2)

    async def told() -> bool:
        # The server looks for the next message to deliver, and finds that one is beyond its limit.
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{prefix}.search", b"1", client.new_inbox())
        return bool((await js.stream_info(f"{prefix}-dead")).state.messages == 2)

    await eventually(told, "both advisories are stored")


async def listed(letters: DeadLetters, subject: str = ">") -> list[Letter]:
    return [letter async for _, letter in letters.letters(subject) if letter is not None]


async def test_what_the_server_gave_up_on_is_collected_once(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    async with connected(nats_server) as client:
        await given_up(client, stream_prefix)
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")
        assert await listed(letters) == []
        assert await letters.waiting(stream_prefix, "search")
        assert await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead") == 2
        assert not await letters.waiting(stream_prefix, "search")
        assert await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead") == 0
        found = {letter.event_id: letter for letter in await listed(letters)}
        assert {(one.event_id, one.reason, one.error) for one in found.values()} == {
            ("e1", "Terminated", "no such product"),
            ("e2", "MaxDeliver", "not acknowledged"),
        }
        letter = found["e1"]
        assert (letter.consumer, letter.stream, letter.deliveries) == ("search", stream_prefix, 1)
        assert (letter.data, letter.headers["tenant"]) == (b"1", "a")
        assert await letters.show(letter.sequence) == letter
        state = (await client.jetstream().stream_info(f"{stream_prefix}-dead")).state
        assert state.messages == 2, "the advisories are gone"


FORGED = [
    b"", b"x", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"stream_seq": "a"}', b'{"stream_seq": 0}',
    b'{"stream_seq": -1}', b'{"stream_seq": true}', b'{"stream_seq": null}',
    b'{"stream_seq": 1, "deliveries": "x"}', b'{"stream_seq": 1, "deliveries": null}',
    b'{"stream_seq": %d}' % 2**64,
]  # fmt: skip


async def test_what_is_no_advisory_holds_up_none(
    nats_server: NatsServer, stream_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In an account without permissions anybody may publish there."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await given_up(client, stream_prefix)
        on = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream_prefix}.search"
        for body in FORGED:
            await js.publish(on, body)
        said = {
            "stream_seq": 1,
            "type": "terminated",
            "reason": "a\r\nOutbox-X: b \ud800",
            "n": [1],
        }
        await js.publish(on, json.dumps(said).encode())
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")
        assert await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead") == 3
        assert {letter.event_id for letter in await listed(letters)} == {"e0", "e1", "e2"}
        told = {letter.event_id: letter.error for letter in await listed(letters)}
        assert told["e0"] == r"a Outbox-X: b \ud800"
        state = (await js.stream_info(f"{stream_prefix}-dead")).state
        assert state.messages == 3
    assert caplog.text.count("is no advisory, and removed") == len(FORGED)


async def test_letters_are_filtered_replayed_and_purged(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    async with connected(nats_server) as client:
        js = client.jetstream()
        await given_up(client, stream_prefix)
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")
        await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead")
        assert await listed(letters, f"{stream_prefix}.dead.other") == []
        first, second = await listed(letters, f"{stream_prefix}.dead.search")
        await letters.replay(first, first.subject, stream_prefix)
        again = await js.get_msg(stream_prefix, 4)
        assert (again.subject, again.data) == (f"{stream_prefix}.evt.order", first.data)
        assert (again.headers or {})["Ce-Id"] == first.event_id
        assert not any(name.startswith("Outbox-") for name in again.headers or {})
        with pytest.raises(NatsError, match="no dead letter"):
            await letters.show(first.sequence)
        await letters.purge(second.sequence)
        assert await listed(letters) == []
        assert (await js.stream_info(stream_prefix)).state.messages == 4


async def test_whether_a_letter_was_sent_is_seen_in_its_stream(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    """Also when the stream forgot the id: the operator may have been away for long."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await given_up(client, stream_prefix)
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")
        await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead")
        first, second = await listed(letters)
        last = (await js.stream_info(stream_prefix)).state.last_seq

        async def sent(after: int, seconds: float = SECONDS) -> tuple[set[int], bool]:
            return await letters.replayed([first, second], stream_prefix, after, seconds=seconds)

        assert await sent(last) == (set(), True)
        await letters.replay(first, first.subject, stream_prefix)
        await js.publish(f"{stream_prefix}.evt.order", b"of somebody else")
        assert await sent(last) == ({first.sequence}, True)
        assert await sent(last + 1) == (set(), True)
        # A busy subject, or a server far away: it does not look for ever.
        assert await sent(last, seconds=0) == (set(), False)
        with pytest.raises(NatsError, match="stream"):
            await letters.replay(
                second, second.subject, f"{stream_prefix}-dead"
            )  # another one takes it
        assert await letters.get(second.sequence) == second


async def test_what_a_forged_letter_says_can_be_read_and_sent(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    """Names and values that the driver does not send, and numbers that are none."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await js.add_stream(name=stream_prefix, subjects=[f"{stream_prefix}.evt.>"])
        await js.add_stream(name=f"{stream_prefix}-dead", subjects=[f"{stream_prefix}.dead.>"])
        block = (
            b"NATS/1.0\r\nOutbox-Dead-Letter-Reason: Refused\r\n"
            b"Outbox-Dead-Letter-Deliveries: many\r\nOutbox-Dead-Letter-Time: \xff\r\n"
            b"Outbox-Dead-Letter-Subject: %b.evt.order\r\nCe-Id: \xff\r\n"
            b"a name: \xff\r\n\r\n" % stream_prefix.encode()
        )
        subject = f"{stream_prefix}.dead.search".encode()
        frame = b"HPUB %b %d %d\r\n%b{}\r\n" % (subject, len(block), len(block) + 2, block)
        client._transport.write(frame)  # type: ignore[union-attr]
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")

        async def forged() -> list[Letter]:
            return await listed(letters)

        (letter,) = await eventually(forged, "the letter")
        assert (letter.deliveries, letter.event_id) == (0, "\ufffd")
        await letters.replay(letter, letter.subject, stream_prefix)
        assert (await js.stream_info(stream_prefix)).state.messages == 1
        found = await letters.replayed([letter], stream_prefix, 0, seconds=SECONDS)
        assert found == ({letter.sequence}, True)
        assert await listed(letters) == []


async def test_a_letter_stays_if_nobody_takes_it(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    async with connected(nats_server) as client:
        await given_up(client, stream_prefix)
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")
        await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead")
        await client.jetstream().delete_stream(stream_prefix)
        [first, _] = await listed(letters)
        with pytest.raises(NatsError):
            await letters.replay(first, first.subject, stream_prefix)
        assert await letters.show(first.sequence) == first


async def test_a_stream_that_does_not_exist_is_named(nats_server: NatsServer) -> None:
    async with connected(nats_server) as client:
        auth: NatsAuth = nats_server.auth
        with pytest.raises(NatsError, match="stream nowhere: the stream does not exist"):
            await asyncio.wait_for(listed(DeadLetters(client, auth, "nowhere")), SECONDS)


async def test_many_are_read_past_those_of_others_and_past_holes(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    stream = f"{stream_prefix}-dead"
    async with connected(nats_server) as client:
        js = client.jetstream()
        await js.add_stream(name=stream, subjects=[f"{stream}.>"])
        # Runs of one consumer's, of both in turn, of the other's alone; the 50th is large.
        of = ["mailer"] * 40 + ["billing", "mailer"] * 20 + ["billing"] * 30 + ["mailer"]
        for number, durable in enumerate(of, 1):
            said = dead_letters.headers(
                {"Ce-Id": f"e{number}"}, reason=Reason.MAX_DELIVER, error="no", deliveries=3,
                stream="ORDERS", sequence=number, stored=NOW, subject="orders.placed",
                consumer=durable, now=NOW,
            )  # fmt: skip
            data = b"x" * (500_000 if number == 50 else 1)
            await js.publish(f"{stream}.{durable}", data, headers=said)
        letters = DeadLetters(client, nats_server.auth, stream)
        gone = {1, 7, 8, 9, 60, 61}
        for number in gone:
            await letters.purge(number)
        for durable in ("mailer", "billing"):
            wanted = [n for n, who in enumerate(of, 1) if who == durable and n not in gone]
            found = [number async for number, _ in letters.letters(f"{stream}.{durable}")]
            assert found == wanted
        assert [letter.sequence for letter in await listed(letters)] == sorted(
            set(range(1, len(of) + 1)) - gone
        )
