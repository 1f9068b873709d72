"""Many streams of an account at once, for who looks after many: a page holds 256 of them.

Not every login may ask that, and of an account with thousands of streams that are not ours the
pages cost more than the few that are wanted. Then each is asked for by itself, some at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from outbox_operator.adapters.nats import answers
from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.errors import AccessDeniedError, OutboxError
from outbox_operator.plan.jetstream.streams import ObservedStream

log = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Questions under way beside each other, so that those of passes are not far behind them."""
_WORTH: Final = 4
"""Streams wanted for each page that is left: fewer are asked for by themselves."""
_AGAIN_SECONDS: Final = 600.0
"""Where a list was refused, or not worth it, none is asked for within this time."""


class StreamList:
    """Asks for streams in the way that costs least.

    Args:
        api: Of the account.
        one: Asks for one stream; None: it does not exist.
    """

    def __init__(
        self, api: JetStreamApi, one: Callable[[str], Awaitable[ObservedStream | None]]
    ) -> None:
        self._api = api
        self._one = one
        self._not_before = 0.0
        """By the clock of the loop, when the list may be asked for again."""

    async def find(self, names: Collection[str]) -> dict[str, ObservedStream]:
        """Those of some streams that exist, by name. Raises as `JetStreamAdmin.stream_info`."""
        found: dict[str, ObservedStream] = {}
        clock = asyncio.get_running_loop().time
        if clock() >= self._not_before:
            try:
                found = await self._listed(set(names))
            except OutboxError as error:
                # Without the right; or servers of a cluster are away, and those that are there say
                # more when they are asked by name.
                if isinstance(error, AccessDeniedError):
                    log.info("streams are asked for one by one: %s", error)
                self._not_before = clock() + _AGAIN_SECONDS
        room = asyncio.Semaphore(AT_ONCE)

        async def ask(name: str) -> None:
            async with room:
                stream = await self._one(name)
            if stream is not None:
                found[name] = stream

        await asyncio.gather(*(ask(name) for name in set(names) - found.keys()))
        return found

    async def _listed(self, names: set[str]) -> dict[str, ObservedStream]:
        """Those of the streams that are on pages, as far as those are worth it."""
        found: dict[str, ObservedStream] = {}
        offset, asked, pages = 0, 0, 1
        while pages * _WORTH <= len(names) - len(found):
            answer = await self._api.request("STREAM.LIST", {"offset": offset}, "streams")
            page, total = self._api.understood(answers.stream_page, answer, "streams")
            found |= {one.name: one for one in page if one.name in names}
            offset, asked = offset + len(page), asked + 1
            if not page or offset >= total:
                break
            pages = -(-(total - offset) // len(page))
        if len(found) < asked * _WORTH:  # an account of others, with a few of ours
            self._not_before = asyncio.get_running_loop().time() + _AGAIN_SECONDS
        return found
