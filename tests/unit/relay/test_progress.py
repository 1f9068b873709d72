"""The probes tell the truth about connections, role and progress."""

from __future__ import annotations

import time

import pytest
from prometheus_client import generate_latest

from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.progress import (
    ANSWER_SECONDS,
    NOT_ASKED,
    STALL_SECONDS,
    Progress,
    ShardProgress,
)

NOW = time.time()


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


@pytest.fixture
def shard(progress: Progress) -> ShardProgress:
    """The one shard, owned."""
    progress.postgres(ok=True, reason="connected")
    progress.sink(ok=True, reason="connected")
    progress.joined(1)
    only = progress.shard(0)
    only.active(1)
    return only


def failing(progress: Progress) -> list[str]:
    return [name for name, check in progress.checks().items() if not check()[0]]


def test_an_active_relay_says_whether_it_has_asked_its_stream(
    progress: Progress, shard: ShardProgress
) -> None:
    asks = progress.checks()["stream"]
    assert asks() == (True, NOT_ASKED)
    shard.stream(ok=True, reason="stream ORDERS takes our events")
    assert asks() == (True, "stream ORDERS takes our events")
    shard.released()
    assert asks() == (True, "left to the active relays")
    shard.active(2)
    assert asks() == (True, NOT_ASKED)


def test_a_relay_that_just_started_is_not_ready(progress: Progress) -> None:
    assert failing(progress) == ["postgres", "nats", "role"]


def test_active_and_standby_relays_are_ready(progress: Progress) -> None:
    progress.postgres(ok=True, reason="connected")
    progress.sink(ok=True, reason="connected")
    progress.joined(2)
    assert failing(progress) == []
    assert "standby" in progress.checks()["role"]()[1]
    progress.shard(0).starting()
    assert failing(progress) == ["role"]
    progress.shard(0).active(3)
    assert failing(progress) == []
    assert progress.checks()["role"]()[1] == "active: owns the shard"
    progress.left("leaving")
    assert failing(progress) == ["role"]


def test_one_of_several_shards_is_named_and_the_others_are_not_blamed(
    metrics: RelayMetrics, clock: Clock
) -> None:
    progress = Progress(metrics, shards=4, clock=clock)
    progress.joined(2)
    for number in (1, 3):
        progress.shard(number).active(1)
    assert progress.checks()["role"]()[1] == "active: owns 2 of 4 shards: 1, 3"
    progress.shard(3).backlog(50, NOW)
    progress.shard(3).trouble("maximum messages exceeded")
    clock.now += STALL_SECONDS + 1
    ok, reason = progress.checks()["progress"]()
    assert not ok
    assert reason.startswith("shard 3: 50 events wait")
    assert "shard 1" not in reason
    progress.shard(3).released("the cursor belongs to another server")
    assert progress.checks()["progress"]()[0]
    assert progress.checks()["role"]() == (False, "shard 3: the cursor belongs to another server")
    progress.elsewhere(3)
    assert progress.checks()["role"]()[1] == "active: owns 1 of 4 shards: 1"


def test_every_shard_has_its_own_series(metrics: RelayMetrics, clock: Clock) -> None:
    progress = Progress(metrics, shards=2, clock=clock)
    progress.shard(0).active(1)
    progress.shard(1).active(1)
    progress.shard(1).backlog(7, NOW)
    progress.shard(1).published(5)
    progress.shard(0).released()
    text = generate_latest(metrics.metrics.registry).decode()
    identity = 'namespace="shop",pipeline="orders",shard'
    for line in (
        f'outbox_relay_owner{{{identity}="0"}} 0.0',
        f'outbox_relay_owner{{{identity}="1"}} 1.0',
        f'outbox_relay_known_backlog_rows{{{identity}="1"}} 7.0',
        f'outbox_relay_published_total{{{identity}="1"}} 5.0',
    ):
        assert line in text


def test_backlog_without_movement_is_not_ready_and_says_why(
    shard: ShardProgress, clock: Clock
) -> None:
    shard.backlog(50, NOW)
    shard.trouble("maximum messages exceeded")
    clock.now += STALL_SECONDS - 1
    assert shard.progress()[0]
    clock.now += 2
    ok, reason = shard.progress()
    assert not ok
    assert "50 events" in reason
    assert "maximum messages exceeded" in reason


def test_movement_counts_however_slow(shard: ShardProgress, clock: Clock) -> None:
    shard.backlog(50, NOW)
    for _ in range(10):
        clock.now += STALL_SECONDS - 1
        shard.moved(1)
        assert shard.progress()[0]


def test_a_new_page_of_the_same_backlog_is_not_movement(shard: ShardProgress, clock: Clock) -> None:
    shard.backlog(50, NOW)
    clock.now += STALL_SECONDS + 1
    shard.backlog(50, NOW)
    assert not shard.progress()[0]


def test_an_empty_outbox_is_fine_for_ever(shard: ShardProgress, clock: Clock) -> None:
    shard.idle()
    clock.now += 1e6
    assert shard.progress() == (True, "nothing waits")


def test_a_halt_shows_at_once_and_ends_with_movement(shard: ShardProgress) -> None:
    shard.backlog(1, NOW)
    shard.halted("event 7 is too large")
    assert shard.progress() == (False, "halted: event 7 is too large")
    shard.moved(1)
    assert shard.progress()[0]


def known(metrics: RelayMetrics) -> list[str]:
    """What a scrape says of what waits."""
    text = generate_latest(metrics.metrics.registry).decode()
    return [line for line in text.splitlines() if line.startswith("outbox_relay_known_")]


def test_what_waits_is_told_while_it_is_known_and_absent_while_it_is_not(
    shard: ShardProgress, metrics: RelayMetrics
) -> None:
    rows = 'outbox_relay_known_backlog_rows{namespace="shop",pipeline="orders",shard="0"}'
    age = 'outbox_relay_known_oldest_age_seconds{namespace="shop",pipeline="orders",shard="0"}'
    assert known(metrics) == []  # it has not looked yet
    shard.backlog(3, time.time() - 95)
    found = known(metrics)
    assert found[0] == f"{rows} 3.0"
    assert found[1].startswith(f"{age} 9")
    assert 94 < (shard.oldest_age_seconds() or 0) < 105
    shard.moved(3)
    assert known(metrics) == [f"{rows} 0.0", f"{age} 0.0"]
    shard.idle()
    assert known(metrics) == [f"{rows} 0.0", f"{age} 0.0"]
    waited = ANSWER_SECONDS
    shard.watch_postgres(lambda: waited)
    assert len(known(metrics)) == 2
    waited += 1  # whatever was committed meanwhile, it has not heard of it
    assert known(metrics) == []
    waited = 0
    assert len(known(metrics)) == 2
    shard.released("the connection to NATS is lost")
    assert known(metrics) == []
    shard.active(2)
    assert known(metrics) == []  # the next owner, too, has to look first


def test_a_database_that_keeps_a_statement_waiting_is_not_there(progress: Progress) -> None:
    progress.postgres(ok=True, reason="connected to db:5432/shop")
    waited = ANSWER_SECONDS
    progress.watch_postgres(lambda: waited)
    assert "postgres" not in failing(progress)
    waited += 1
    late = (False, "connected to db:5432/shop, but no answer for 16 s")
    assert progress.checks()["postgres"]() == late
    progress.watch_postgres(lambda: 0.0)
    assert "postgres" not in failing(progress)
    progress.shard(2).watch_postgres(lambda: waited)
    assert progress.checks()["postgres"]() == late
