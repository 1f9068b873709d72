"""What can end a wait of a relay: a nudge, a lost connection, a request to stop.

One for the process (`relay.app`), and one for each shard it owns, shared by `relay.shard_session`
and `relay.loop`. Nudges that arrive while the relay works count as one.
"""

from __future__ import annotations

import asyncio

from outbox_operator.aio import wait


class Signals:
    """What ends the waits of a relay.

    Attributes:
        poll_ceiling: Longest pause between two polls of a quiet shard, in seconds.
        page_parts: A page of a shard is 1 of so many parts of a whole one.
        shards: Shards of this process, which all poll now and then.
    """

    def __init__(self, poll_ceiling: float = 1.0) -> None:
        self.poll_ceiling = poll_ceiling
        self.page_parts = 1
        self.shards = 1
        self._wake = asyncio.Event()
        self._nudged = False
        self._interrupted = asyncio.Event()
        self._stop = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """Whether to finish the page in flight and leave."""
        return self._stop.is_set()

    def request_stop(self) -> None:
        """Ask the relay to finish what is in flight and to leave."""
        self._stop.set()
        self.wake()
        self.interrupt()

    async def stop_requested(self) -> None:
        """Wait for the request to stop."""
        await self._stop.wait()

    def wake(self) -> None:
        """End a `pause`: there is a reason to poll now."""
        self._wake.set()

    def nudge(self) -> None:
        """Note that a writer has committed events; end a `pause`."""
        self._nudged = True
        self.wake()

    def clear_wake(self) -> bool:
        """Forget earlier wake-ups; call before a poll, which may miss what is committed after it.

        Returns:
            Whether a writer has asked for this poll.
        """
        self._wake.clear()
        nudged, self._nudged = self._nudged, False
        return nudged

    def interrupt(self) -> None:
        """End every wait: something broke or changed. A nudge must not end all of them."""
        self._interrupted.set()

    def clear_interrupt(self) -> None:
        """Forget earlier interrupts; call before looking at what may have changed."""
        self._interrupted.clear()

    async def pause(self, seconds: float) -> bool:
        """Wait for work; True when woken early."""
        return await wait(self._wake, seconds)

    async def rest(self, seconds: float) -> None:
        """Wait before trying again; only a loss or a request to stop ends it early."""
        if not self.stopping:
            self.clear_interrupt()
            await self.until_interrupted(seconds)

    async def until_interrupted(self, seconds: float) -> None:
        """Wait like `rest`, but not at all if there was an interrupt since `clear_interrupt`."""
        await wait(self._interrupted, seconds)
