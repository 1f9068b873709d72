"""How far rows of a shard were sent."""

from __future__ import annotations

from outbox_operator.relay.reach import Reach
from outbox_operator.relay.recovery import LEAST


def test_what_is_sent_in_a_run_counts_in_it_and_behind_it_if_it_was_stored() -> None:
    reach = Reach()
    assert reach.before([3, 9]) == LEAST
    assert reach.before([5, 7]) == 9
    reach.passed([3])
    reach.ended()
    assert reach.before([4]) == 3, "9 was refused"
    reach.passed([])
    reach.passed([4, 8])
    reach.ended()
    assert reach.before([5]) == 8


def test_what_the_stream_shows_counts() -> None:
    reach = Reach()
    reach.seen(20)
    reach.seen(7)
    assert (reach.stored, reach.before([21]), reach.before([2])) == (20, 20, 21)
