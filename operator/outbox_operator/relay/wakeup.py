"""When a relay sleeps: after a quiet moment, once nobody can commit unnoticed.

Called by `relay.loop`. Falling asleep takes three steps in this order: announce it, poll once
more, pause. What is committed before the announcement is found by the poll, what comes after it
notifies. While an open transaction keeps us from announcing, polls go on as without all this.
"""

from __future__ import annotations

from typing import Protocol


class Sleep(Protocol):
    """The announcements, as `adapters.postgres.wakeup` makes them."""

    async def announce_sleep(self) -> bool: ...

    async def announce_awake(self) -> None: ...


class Wakeup:
    """Whether the relay of a shard sleeps.

    Args:
        sleep: None: nobody wakes us (`spec.outbox.wakeup: Never`), so we never sleep.
    """

    def __init__(self, sleep: Sleep | None) -> None:
        self._sleep = sleep
        self._asleep = False

    async def fall_asleep(self) -> bool:
        """Announce sleep; True when that is news and the outbox must be looked at once more."""
        if self._sleep is None or self._asleep:
            return False
        self._asleep = await self._sleep.announce_sleep()
        return self._asleep

    async def awake(self) -> None:
        """Announce that there is work, if we were asleep."""
        if self._asleep and self._sleep is not None:
            self._asleep = False
            await self._sleep.announce_awake()
