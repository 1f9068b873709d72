"""How many messages are fetched ahead."""

from __future__ import annotations

from outbox_operator.consumer.pace import MOST_AHEAD, MOST_BYTES, Pace


def after(pace: Pace, rate: int, *, most: int = -1) -> int:
    """The window after a second at a rate."""
    pace.window(1000.0, most)
    for _ in range(rate):
        pace.settled()
    return pace.window(1001.0, most)


def test_slow_handlers_have_just_what_they_can_handle() -> None:
    assert after(Pace(16), 5) == 16


def test_fast_handlers_have_a_tenth_of_a_second_ahead_up_to_a_limit() -> None:
    assert after(Pace(16), 1000) == 116
    assert after(Pace(16), 100_000) == 16 + MOST_AHEAD


def test_the_server_has_the_last_word() -> None:
    assert after(Pace(16), 100_000, most=1000) == 1000
    assert Pace(16).window(0.0, 1) == 1


def test_large_messages_are_bounded_by_bytes() -> None:
    pace = Pace(4)
    pace.arrived(1024 * 1024)
    assert after(pace, 100_000) == MOST_BYTES // (1024 * 1024)


def test_a_message_larger_than_the_bound_is_still_handled() -> None:
    pace = Pace(1)
    pace.arrived(2 * MOST_BYTES)
    assert after(pace, 100) == 1


def test_it_slows_down_step_by_step() -> None:
    pace = Pace(16)
    fast = after(pace, 10_000)
    assert 16 < pace.window(1002.0, -1) < fast
