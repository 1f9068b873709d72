"""What can end a wait of the relay: a nudge, a lost connection, a request to stop.

Shared by `relay.app` and `relay.loop`. Nudges that arrive while the relay works count as one.
"""

from __future__ import annotations

import asyncio


class Signals:
    """The events that the relay's waits listen to."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
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
        """Events were committed: poll now."""
        self._wake.set()

    def clear_wake(self) -> None:
        """Call before a poll: what is committed from now on may be missed by it."""
        self._wake.clear()

    def urge(self) -> None:
        """Something broke: look at once. Also ends waits that a nudge must not end."""
        self._urgent.set()

    async def pause(self, seconds: float) -> bool:
        """Wait for work; True when woken early."""
        return await _wait(self._wake, seconds)

    async def rest(self, seconds: float) -> None:
        """Wait before trying again; only a loss or a request to stop ends it early."""
        if not self.stopping:
            self._urgent.clear()
            await _wait(self._urgent, seconds)


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
