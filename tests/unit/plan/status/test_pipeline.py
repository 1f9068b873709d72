"""Numbers of an outbox become status fields and conditions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.v1alpha1.pipeline import RelayStatus
from outbox_operator.api.v1alpha1.stream import StreamState
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.status.conditions import ok
from outbox_operator.plan.status.pipeline import (
    foreign_publisher_part,
    lagging_part,
    lost_events_part,
    progress_part,
    relay_status,
)
from outbox_operator.plan.status.workload import Replicas
from outbox_operator.reasons import Reason

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
IDLE = OutboxNumbers(
    backlog_rows=0, backlog_is_estimate=False, oldest_age_seconds=0, dead_letters=0,
    published_total=1000, last_published_at=NOW - timedelta(hours=1), last_position=1000,
    remark=None, notice=None, position_notice=None, stream_created=None, taken_at=NOW,
)  # fmt: skip
READY = ok(ConditionType.RELAY_AVAILABLE, Reason.MINIMUM_REPLICAS)
PODS = Replicas(wanted=1, existing=1, ready=1, updated=1)


@pytest.mark.parametrize(
    ("backlog", "age", "published_before", "status"),
    [
        (0, 0.0, 3600, "True"),  # idle for an hour is fine
        (5, 3.0, 3600, "True"),  # just arrived
        (5, 25.0, 5, "True"),  # behind, but moving
        (5, 25.0, 25, "False"),
        (5, 25.0, None, "False"),
    ],
)
def test_a_relay_with_backlog_must_publish(
    backlog: int, age: float, published_before: float | None, status: str
) -> None:
    last = None if published_before is None else NOW - timedelta(seconds=published_before)
    numbers = replace(IDLE, backlog_rows=backlog, oldest_age_seconds=age, last_published_at=last)
    part = progress_part(READY, numbers)
    assert part.status == status
    if status == "False":
        assert part.reason == "RelayNotProgressing"
        assert "5 rows wait" in part.message


KNOWN = "2026-01-01T00:00:00.123456789Z"


@pytest.mark.parametrize(
    ("created", "known", "notice", "reason"),
    [
        (KNOWN, KNOWN, None, Reason.NOTHING_LOST),
        ("2026-01-01T00:00:01Z", KNOWN, None, Reason.STREAM_RECREATED),  # no relay knows it yet
        (KNOWN, "2026-01-01T00:00:01Z", None, Reason.NOTHING_LOST),  # what is read is of before
        ("2026-01-01T00:00:01Z", None, None, Reason.NOTHING_LOST),  # nothing was published yet
        (None, KNOWN, None, Reason.NOTHING_LOST),
        ("soon", KNOWN, None, Reason.NOTHING_LOST),
        ("2026-01-01T00:00:01", KNOWN, None, Reason.NOTHING_LOST),
        (KNOWN, KNOWN, "StreamRolledBack: 3 of them", Reason.STREAM_ROLLED_BACK),
    ],
)
def test_a_stream_that_was_made_anew_lost_events_before_a_relay_notices(
    created: str | None, known: str | None, notice: str | None, reason: Reason
) -> None:
    numbers = replace(IDLE, stream_created=known, notice=notice)
    part = lost_events_part(numbers, StreamState(name="ORDERS", created=created))
    assert (part.reason, part.status) == (reason, str(reason != Reason.NOTHING_LOST))
    assert lost_events_part(replace(numbers, notice=None), None).status == "False"


@pytest.mark.parametrize(
    ("backlog", "age", "lagging"),
    [(4999, 59.0, "False"), (5000, 0.0, "True"), (1, 60.0, "True")],
)
def test_lagging_informs_only(backlog: int, age: float, lagging: str) -> None:
    part = lagging_part(replace(IDLE, backlog_rows=backlog, oldest_age_seconds=age))
    assert part.status == lagging
    assert not part.blocks


@pytest.mark.parametrize(("remark", "status"), [(None, "False"), ("somebody else", "True")])
def test_other_publishers_are_told_and_stop_nothing(remark: str | None, status: str) -> None:
    part = foreign_publisher_part(replace(IDLE, remark=remark))
    assert part.status == status
    assert part.message == (remark or "")
    assert not part.blocks


def test_the_rate_is_over_the_time_between_samples() -> None:
    earlier = replace(IDLE, published_total=400, taken_at=NOW - timedelta(seconds=20))
    status = relay_status(RelayStatus(publishedTotal=10), earlier, IDLE, PODS, 2)
    assert status.publishedPerSecond == 30.0
    assert status.restarts == 2


def test_the_first_sample_has_no_rate() -> None:
    before = RelayStatus(publishedTotal=400, publishedPerSecond=12.0)
    assert relay_status(before, None, IDLE, PODS, 0).publishedPerSecond == 0.0


def test_without_a_sample_totals_stay_and_the_rate_is_not_made_up() -> None:
    before = RelayStatus(publishedTotal=400, publishedPerSecond=12.0)
    status = relay_status(before, IDLE, None, PODS, 0)
    assert (status.publishedTotal, status.publishedPerSecond) == (400, 0.0)


def test_restarts_that_nobody_counted_are_what_they_were() -> None:
    """Pods are listed only while something is not well; that does not undo what happened."""
    assert relay_status(RelayStatus(restarts=3), None, IDLE, PODS, None).restarts == 3
    assert relay_status(RelayStatus(restarts=3), None, IDLE, PODS, 0).restarts == 0
