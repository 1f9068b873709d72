"""How often dead letters are counted: when their stream changed, and while some are left over."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from outbox_operator.adapters.nats.letter_counts import LetterCounts, LettersSeen
from outbox_operator.plan.jetstream.streams import ObservedStream

SOURCE = cast(Any, SimpleNamespace(stream="S", dead_letter_stream="D", dead_letter_prefix="dlq.S"))
RESOURCE = cast(
    Any,
    SimpleNamespace(
        meta=SimpleNamespace(uid="u", name="mailer", paused=False),
        spec=SimpleNamespace(durableName="mailer"),
    ),
)


@dataclass
class Server:
    """What is asked of NATS, and whether something cannot be taken in."""

    left: bool
    stream: ObservedStream = field(default_factory=lambda: ObservedStream(name="D", messages=1))
    collected: int = 0

    async def stream_info(self, _name: str) -> ObservedStream:
        return self.stream

    async def subject_message_count(self, _name: str, _subject: str) -> int:
        return 1

    def dead_letters(self, _name: str) -> Server:
        return self

    async def collect(self, _source: str, _durable: str, _prefix: str) -> int:
        self.collected += 1
        return 0

    async def waiting(self, _source: str, _durable: str) -> bool:
        return self.left


@pytest.mark.parametrize(("left", "tries"), [(False, 1), (True, 3)])
async def test_what_could_not_be_taken_in_is_tried_again(left: bool, tries: int) -> None:
    server, counts = Server(left=left), LetterCounts()
    for _ in range(3):
        seen = await counts.look(RESOURCE, SOURCE, cast(Any, server))
        assert seen == LettersSeen(1, server.stream, whole=not left)
    assert server.collected == tries
    server.left = False
    await counts.look(RESOURCE, SOURCE, cast(Any, server))
    server.collected = 0
    await counts.look(RESOURCE, SOURCE, cast(Any, server))
    assert server.collected == 0


async def test_an_empty_stream_is_not_asked_for_letters() -> None:
    server, counts = Server(left=False, stream=ObservedStream(name="D")), LetterCounts()
    seen = await counts.look(RESOURCE, SOURCE, cast(Any, server))
    assert (seen, server.collected) == (LettersSeen(0, server.stream), 0)
    server.stream = ObservedStream(name="D", messages=1)
    seen = await counts.look(RESOURCE, SOURCE, cast(Any, server))
    assert (seen.count, server.collected) == (1, 1)
