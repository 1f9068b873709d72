"""What can end a wait of a relay: a nudge, a lost connection, a request to stop.

One for the process (`relay.app`), and one for each shard it owns, shared by `relay.shard_session`
and `relay.loop`. Nudges that arrive while the relay works count as one.
"""

from __future__ import annotations

import asyncio

from outbox_operator.aio import wait


class Signals:
    """The events that waits listen to.

    Attributes:
        poll_ceiling: Longest pause between two polls of a quiet shard, in seconds.
        page_parts: A page of a shard is 1 of so many parts of a whole one.
    """

    def __init__(self, poll_ceiling: float = 1.0) -> None:
        self.poll_ceiling = poll_ceiling
        self.page_parts = 1
        self._wake = asyncio.Event()
        self._nudged = False
        self._urgent = asyncio.Event()
        self._stop = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """Whether to finish the page in flight and leave."""
        return self._stop.is_set()

    def request_stop(self) -> None:
        """Leave soon."""
        self._stop.set()
        self.wake()
        self.urge()

    async def stop_requested(self) -> None:
        """Wait for the request to stop."""
        await self._stop.wait()

    def wake(self) -> None:
        """There is a reason to poll now."""
        self._wake.set()

    def nudge(self) -> None:
        """A writer says that it has committed events, and will say so again."""
        self._nudged = True
        self.wake()

    def clear_wake(self) -> bool:
        """Call before a poll: what is committed from now on may be missed by it.

        Returns:
            Whether a writer has asked for this poll.
        """
        self._wake.clear()
        nudged, self._nudged = self._nudged, False
        return nudged

    def urge(self) -> None:
        """Something broke or changed: look at once. Also ends waits that a nudge must not end."""
        self._urgent.set()

    def clear_urge(self) -> None:
        """Call before a look: what happens from now on may be missed by it."""
        self._urgent.clear()

    async def pause(self, seconds: float) -> bool:
        """Wait for work; True when woken early."""
        return await wait(self._wake, seconds)

    async def rest(self, seconds: float) -> None:
        """Wait before trying again; only a loss or a request to stop ends it early."""
        if not self.stopping:
            self.clear_urge()
            await self.until_urged(seconds)

    async def until_urged(self, seconds: float) -> None:
        """Like `rest`, but over at once when urged since `clear_urge`."""
        await wait(self._urgent, seconds)
