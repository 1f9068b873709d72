"""Whether to trust the fence."""

from __future__ import annotations

from outbox_operator.relay.fencing import FENCE_PATIENCE, FENCE_PAUSE_SECONDS, FenceGuard


def test_a_fence_that_others_keep_moving_is_laid_aside_for_a_while() -> None:
    guard = FenceGuard()
    for _ in range(FENCE_PATIENCE - 1):
        assert not guard.refused(0.0, by_others=True)
        assert guard.up(0.0)
    assert guard.refused(0.0, by_others=True)
    assert not guard.up(FENCE_PAUSE_SECONDS - 1)
    assert guard.up(FENCE_PAUSE_SECONDS)
    # One attempt is enough to see that nothing has changed.
    assert guard.refused(FENCE_PAUSE_SECONDS, by_others=True)


def test_an_occasional_stranger_does_not_cost_the_fence() -> None:
    guard = FenceGuard()
    for _ in range(10):
        assert not guard.refused(0.0, by_others=True)
        guard.held()
    assert guard.up(0.0)


def test_messages_that_expired_are_nobodys_fault() -> None:
    guard = FenceGuard()
    for _ in range(10):
        assert not guard.refused(0.0, by_others=False)
    assert guard.up(0.0)
