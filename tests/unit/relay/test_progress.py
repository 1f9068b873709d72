"""The probes tell the truth about connections, role and progress."""

from __future__ import annotations

import datetime as dt

import pytest
from prometheus_client import generate_latest

from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.progress import ANSWER_SECONDS, STALL_SECONDS, Progress

NOW = dt.datetime.now(dt.UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> RelayMetrics:
    return RelayMetrics("shop", "orders")


@pytest.fixture
def progress(metrics: RelayMetrics, clock: Clock) -> Progress:
    return Progress(metrics, clock=clock)


def failing(progress: Progress) -> list[str]:
    return [name for name, check in progress.checks().items() if not check()[0]]


def test_a_relay_that_just_started_is_not_ready(progress: Progress) -> None:
    assert failing(progress) == ["postgres", "nats", "role"]


def test_active_and_standby_relays_are_ready(progress: Progress) -> None:
    progress.postgres(ok=True, reason="connected")
    progress.nats(ok=True, reason="connected")
    progress.standby()
    assert failing(progress) == []
    assert "standby" in progress.checks()["role"]()[1]
    progress.active(3)
    assert failing(progress) == []


def test_backlog_without_movement_is_not_ready_and_says_why(
    progress: Progress, clock: Clock
) -> None:
    progress.backlog(50, NOW)
    progress.trouble("maximum messages exceeded")
    clock.now += STALL_SECONDS - 1
    assert progress.progress()[0]
    clock.now += 2
    ok, reason = progress.progress()
    assert not ok
    assert "50 events" in reason
    assert "maximum messages exceeded" in reason


def test_movement_counts_however_slow(progress: Progress, clock: Clock) -> None:
    progress.backlog(50, NOW)
    for _ in range(10):
        clock.now += STALL_SECONDS - 1
        progress.moved(1)
        assert progress.progress()[0]


def test_a_new_page_of_the_same_backlog_is_not_movement(progress: Progress, clock: Clock) -> None:
    progress.backlog(50, NOW)
    clock.now += STALL_SECONDS + 1
    progress.backlog(50, NOW)
    assert not progress.progress()[0]


def test_an_empty_outbox_is_fine_for_ever(progress: Progress, clock: Clock) -> None:
    progress.idle()
    clock.now += 1e6
    assert progress.progress() == (True, "nothing waits")


def test_a_halt_shows_at_once_and_ends_with_movement(progress: Progress) -> None:
    progress.backlog(1, NOW)
    progress.halted("event 7 is too large")
    assert progress.progress() == (False, "halted: event 7 is too large")
    progress.moved(1)
    assert progress.progress()[0]


def test_lag_is_the_age_of_the_oldest_waiting_event(
    progress: Progress, metrics: RelayMetrics
) -> None:
    progress.backlog(3, dt.datetime.now(dt.UTC) - dt.timedelta(seconds=90))
    assert 89 < progress.lag_seconds() < 95
    text = generate_latest(metrics.metrics.registry).decode()
    assert 'outbox_relay_lag_rows{namespace="shop",pipeline="orders"} 3.0' in text
    assert 'outbox_relay_lag_seconds{namespace="shop",pipeline="orders"} 9' in text
    progress.idle()
    assert progress.lag_seconds() == 0


def test_a_database_that_keeps_a_statement_waiting_is_not_there(progress: Progress) -> None:
    progress.postgres(ok=True, reason="connected to db:5432/shop")
    waited = ANSWER_SECONDS
    progress.watch_postgres(lambda: waited)
    assert "postgres" not in failing(progress)
    waited += 1
    assert progress.checks()["postgres"]() == (
        False,
        "connected to db:5432/shop, but no answer for 16 s",
    )
