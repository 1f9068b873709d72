"""What a JetStream server tells of streams and durable consumers that somebody changed or deleted.

A courtesy: who may not hear it looks now and then. Of each kind of advisory there may be many that
concern nobody here, so what was heard is gathered for a moment and told at once; and a server that
goes on and on, or somebody who may publish there, is heard now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

import nats.errors

from outbox_operator.adapters.nats.driver import Denial, WireClient

log = logging.getLogger(__name__)

Heard = frozenset[tuple[str, str | None]]
"""Streams, and durable consumers of them; None stands for the stream itself."""

SUBJECTS: Final = (
    "$JS.EVENT.ADVISORY.STREAM.DELETED.*",
    "$JS.EVENT.ADVISORY.STREAM.UPDATED.*",
    "$JS.EVENT.ADVISORY.CONSUMER.DELETED.*.*",
)
"""The server has none for a durable consumer that was edited. What it says of a stream that it
deletes goes to a loop that it ends at the same time: two of 4,000 were lost on a busy machine
(2.15.1)."""
GATHER_SECONDS: Final = 0.1
REST_SECONDS: Final = 1.0
"""After something was told: each time, all that care make a pass."""
_MOST_HEARD: Final = 1000
"""A server may say anything; what is left out is seen at the next look."""


async def listen_for_changes(client: WireClient, tell: Callable[[Heard], None]) -> None:
    """Call `tell` with what was changed or deleted, as long as the connection lives."""
    loop = asyncio.get_running_loop()
    heard: set[tuple[str, str | None]] = set()
    rested = loop.time()

    def hand_over() -> None:
        nonlocal rested
        names = frozenset(heard)
        heard.clear()
        rested = loop.time() + REST_SECONDS
        tell(names)

    def hear(subject: bytes, _reply: bytes, _headers: bytes, _payload: bytes) -> None:
        tokens = subject.decode(errors="replace").split(".")
        if len(tokens) not in (6, 7) or len(heard) >= _MOST_HEARD:
            return
        if not heard:
            loop.call_at(max(loop.time() + GATHER_SECONDS, rested), hand_over)
        heard.add((tokens[5], tokens[6] if len(tokens) == 7 else None))

    def denied(denial: Denial) -> None:
        log.info("changes of streams are seen at the next look only: %s", denial.text)

    with contextlib.suppress(nats.errors.Error, OSError):  # lost; the next request says so
        for subject in SUBJECTS:
            client.on_denied("subscribe", subject, denied)
            await client.listen(subject, hear)
