"""How many events at once a handler is given that says "not now"."""

from __future__ import annotations

from outbox_operator.consumer.pace import LONGEST_PAUSE_SECONDS, Pace


def slowed(most: int = 16) -> Pace:
    pace = Pace(most)
    assert [pace.refused(1.0, 0.0) for _ in range(3)] == [False, False, True]
    return pace


def test_single_refusals_among_successes_slow_nothing() -> None:
    pace = Pace(16)
    for _ in range(100):
        assert not pace.refused(60.0, 0.0)
        assert not pace.refused(60.0, 0.0)
        assert not pace.succeeded()
    assert pace.allows(15, 0.0)


def test_several_in_a_row_mean_a_pause_and_half_as_many() -> None:
    pace = slowed()
    assert pace.slowed
    assert pace.limit == 8
    assert not pace.allows(0, 0.5), "a pause"
    assert pace.wait(0.5) == 0.5
    assert pace.allows(7, 1.0)
    assert not pace.allows(8, 1.0)
    for _ in range(20):
        pace.refused(1.0, 1.0)
    assert pace.limit == 1, "never none"


def test_a_long_delay_holds_the_event_and_not_the_pod() -> None:
    pace = Pace(1)
    for _ in range(3):
        pace.refused(3600.0, 0.0)
    assert pace.wait(0.0) == LONGEST_PAUSE_SECONDS


def test_grows_again_as_the_handler_copes() -> None:
    pace = slowed()
    handled = 1
    while not pace.succeeded():
        handled += 1
        assert handled < 1000
    assert not pace.slowed
    assert pace.limit == 16
    assert pace.allows(15, 0.0)


def test_a_single_place_is_paused_and_free_again() -> None:
    pace = slowed(1)
    assert pace.slowed
    assert not pace.allows(0, 0.0)
    assert pace.allows(0, 1.0)
