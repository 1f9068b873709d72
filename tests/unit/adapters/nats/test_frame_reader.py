"""Frames of the NATS protocol, in whatever pieces they arrive."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from nats.errors import ProtocolError

from outbox_operator.adapters.nats.frame_reader import AnswerRoom, FrameReader, parse_headers

HEADERS = b"NATS/1.0\r\nCe-Id: 1\r\n\r\n"
HMSG = b"HMSG a.b 7 reply.1 %d %d\r\n%bpayload\r\n" % (len(HEADERS), len(HEADERS) + 7, HEADERS)
MSG = b"MSG a.b 7 5\r\nh\r\nlo\r\n"
OTHER = b"MSG x 8 r 2\r\nhi\r\n"


class Driver:
    """What the reader wants of the driver, and what it is told."""

    def __init__(self) -> None:
        self.stats = {"in_msgs": 0, "in_bytes": 0}
        self.told: list[Any] = []
        self.errors: list[bytes] = []
        self.reader: FrameReader | None = None

    async def _process_msg(self, *message: Any) -> None:
        self.told.append(message)

    async def _process_info(self, info: Any) -> None:
        self.told.append(info["version"])

    async def _process_ping(self) -> None:
        self.told.append("ping")

    async def _process_err(self, text: str) -> None:
        self.told.append(text)
        assert self.reader is not None
        self.reader.reset()


def reader(room: AnswerRoom | None = None) -> tuple[FrameReader, Driver, list[Any]]:
    driver, messages = Driver(), []
    made = driver.reader = FrameReader(driver, driver.errors.append, room)  # type: ignore[arg-type]
    made.route(7, lambda *message: messages.append(message))
    return made, driver, messages


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
async def test_messages_arrive_whole_however_they_are_cut(size: int) -> None:
    made, driver, messages = reader()
    stream = (HMSG + MSG + b"PING\r\n" + OTHER) * 3
    for start in range(0, len(stream), size):
        await made.parse(stream[start : start + size])
    assert (
        messages
        == [
            (b"a.b", b"reply.1", HEADERS, b"payload"),
            (b"a.b", b"", b"", b"h\r\nlo"),
        ]
        * 3
    )
    assert driver.told == ["ping", (8, b"x", b"r", b"hi", None)] * 3
    assert driver.stats["in_msgs"] == 6


async def test_nothing_of_an_ended_connection_is_left() -> None:
    made, driver, messages = reader()
    await made.parse(b"-ERR 'Stale Connection'\r\nHMSG a.b 7 re")
    await made.parse(MSG)
    assert driver.told == ["'stale connection'"]
    assert driver.errors == [b" 'Stale Connection'"]
    assert messages == [(b"a.b", b"", b"", b"h\r\nlo")]


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a b c\r\n",
        b"HMSG a 7 x y\r\n",
        b"x" * 70_000,
        # Read again and again, without end.
        b"MSG x 8 -15\r\n",
        b"MSG a.b 7 -17\r\n",
        b"HMSG a.b 7 -5 10\r\n0123456789\r\n",
        b"HMSG a.b 7 20 10\r\n0123456789\r\n",
        b"MSG a.b 7 2000000000\r\n",
        b"INFO [1]\r\n",
        b"INFO {\r\n",
        b"INFO " + b"[" * 50_000 + b"\r\n",
    ],
    ids=lambda line: str(line[:20]),
)
async def test_something_else_than_nats_is_refused(line: bytes) -> None:
    made, _, _ = reader()
    with pytest.raises(ProtocolError):
        await made.parse(line)


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (b"NATS/1.0\r\n\r\n", {}),
        (b"NATS/1.0\r\nA: 1\r\nB: x: y\r\n\r\n", {"A": "1", "B": "x: y"}),
        (b"NATS/1.0\r\nA:1\r\nB:  2 \r\nC:\r\n\r\n", {"A": "1", "B": "2", "C": ""}),
        (b"NATS/1.0\r\nA: 1 \r\nB:2\r\n\r\n", {"A": "1", "B": "2"}),
        (b"NATS/1.0\r\nA: 1\r\nB: 2 3\r\nC:  4\r\n\r\n", {"A": "1", "B": "2 3", "C": "4"}),
        (b"NATS/1.0 404\r\n\r\n", {"Status": "404"}),
        (
            b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 5\r\n\r\n",
            {"Status": "409", "Description": "Consumer Deleted", "Nats-Pending-Messages": "5"},
        ),
    ],
)
def test_parse_headerss(block: bytes, found: dict[str, str]) -> None:
    assert parse_headers(block) == found


LARGE = 12 * 1024 * 1024


async def begun(made: FrameReader, size: int, sent: int) -> None:
    """A message of which a part has come."""
    await made.parse(b"MSG x 8 r %d\r\n" % size)
    for _ in range(sent // 65536):
        await made.parse(bytes(65536))


async def test_large_messages_that_do_not_come_whole_take_the_room_of_one() -> None:
    room = AnswerRoom()
    made = [reader(room) for _ in range(8)]
    tracemalloc.start()
    try:
        for each, _, _ in made:
            await begun(each, LARGE, LARGE // 2)
        assert tracemalloc.get_traced_memory()[0] < LARGE
    finally:
        tracemalloc.stop()
    # The others come without what is in them, and so at once.
    assert [len(driver.told) for _, driver, _ in made] == [0] + [1] * 7
    for each, driver, _ in made:
        await each.parse(bytes(LARGE // 2) + b"\r\n" + MSG + OTHER)
        assert driver.told[-1] == (8, b"x", b"r", b"hi", None)
    assert [len(driver.told[0][3]) for _, driver, _ in made] == [LARGE] + [0] * 7


async def test_there_is_room_again_once_a_message_is_whole_or_its_connection_ended() -> None:
    room = AnswerRoom()
    (first, told, _), (second, others, _) = reader(room), reader(room)
    await begun(first, LARGE, 0)
    await first.parse(bytes(LARGE) + b"\r\n")
    await begun(second, LARGE, 0)
    await second.parse(b"")
    second.reset()
    await begun(first, LARGE, 0)
    await first.parse(bytes(LARGE) + b"\r\n")
    assert [len(one[3]) for one in told.told] == [LARGE, LARGE]
    assert others.told == []


async def test_what_has_no_room_and_headers_or_a_sink() -> None:
    room = AnswerRoom()
    (first, _, _), (second, driver, messages) = reader(room), reader(room)
    await begun(first, LARGE, 0)
    for head in (b"HMSG x 8 r 100 %d\r\n", b"HMSG x 8 100 %d\r\n", b"MSG a.b 7 %d\r\n"):
        await second.parse(head % LARGE + bytes(1000))
        await second.parse(bytes(LARGE - 1000) + b"\r\n" + MSG)
    assert driver.told == [(8, b"x", b"r", b"", None), (8, b"x", b"", b"", None)]
    assert messages == [(b"a.b", b"", b"", b"h\r\nlo")] * 3
