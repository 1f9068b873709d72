"""How many messages are fetched ahead."""

from __future__ import annotations

from outbox_operator.consumer.prefetch_window import MOST_AHEAD, MOST_BYTES, PrefetchWindow


def after(window: PrefetchWindow, rate: int, *, most: int = -1) -> int:
    """The window after a second at a rate."""
    window.size(1000.0, most)
    for _ in range(rate):
        window.settled()
    return window.size(1001.0, most)


def test_slow_handlers_have_just_what_they_can_handle() -> None:
    assert after(PrefetchWindow(16), 5) == 16


def test_fast_handlers_have_a_tenth_of_a_second_ahead_up_to_a_limit() -> None:
    assert after(PrefetchWindow(16), 1000) == 116
    assert after(PrefetchWindow(16), 100_000) == 16 + MOST_AHEAD


def test_the_server_has_the_last_word() -> None:
    assert after(PrefetchWindow(16), 100_000, most=1000) == 1000
    assert PrefetchWindow(16).size(0.0, 1) == 1


def test_large_messages_are_bounded_by_bytes() -> None:
    window = PrefetchWindow(4)
    window.arrived(1024 * 1024)
    assert after(window, 100_000) == MOST_BYTES // (1024 * 1024)


def test_a_message_larger_than_the_bound_is_still_handled() -> None:
    window = PrefetchWindow(1)
    window.arrived(2 * MOST_BYTES)
    assert after(window, 100) == 1


def test_it_slows_down_step_by_step() -> None:
    window = PrefetchWindow(16)
    fast = after(window, 10_000)
    assert 16 < window.size(1002.0, -1) < fast
