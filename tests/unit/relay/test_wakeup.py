"""When a relay announces that it sleeps, and that it does not."""

from __future__ import annotations

from outbox_operator.relay.wakeup import Wakeup


class Announcements:
    """Takes note of what is announced."""

    def __init__(self, *, possible: bool = True) -> None:
        self.possible = possible
        self.made: list[str] = []

    async def announce_sleep(self) -> bool:
        self.made.append("sleep")
        return self.possible

    async def announce_awake(self) -> None:
        self.made.append("awake")


async def test_one_look_more_after_falling_asleep_and_no_second_announcement() -> None:
    announced = Announcements()
    wakeup = Wakeup(announced)
    await wakeup.awake()
    assert await wakeup.fall_asleep()
    assert not await wakeup.fall_asleep()
    await wakeup.awake()
    await wakeup.awake()
    assert announced.made == ["sleep", "awake"]


async def test_tries_again_while_a_writer_is_under_way() -> None:
    announced = Announcements(possible=False)
    wakeup = Wakeup(announced)
    assert not await wakeup.fall_asleep()
    announced.possible = True
    assert await wakeup.fall_asleep()


async def test_never_sleeps_when_nobody_would_wake_it() -> None:
    assert not await Wakeup(None).fall_asleep()
    await Wakeup(None).awake()
