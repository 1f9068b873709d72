from __future__ import annotations

import datetime as dt

import pytest

from outbox_operator.wire.times import Precision, format_time, latest

MOMENT = dt.datetime(2026, 1, 31, 9, 30, 0, 123_987, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("precision", "text"),
    [
        ("auto", "2026-01-31T09:30:00.123987Z"),
        ("seconds", "2026-01-31T09:30:00Z"),
        ("milliseconds", "2026-01-31T09:30:00.123Z"),
        ("microseconds", "2026-01-31T09:30:00.123987Z"),
    ],
)
def test_precision(precision: Precision, text: str) -> None:
    assert format_time(MOMENT, precision) == text


def test_whole_seconds() -> None:
    whole = MOMENT.replace(microsecond=0)
    assert format_time(whole) == "2026-01-31T09:30:00Z"
    assert format_time(whole, "microseconds") == "2026-01-31T09:30:00.000000Z"


def test_another_zone_is_told_in_utc() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    assert format_time(MOMENT.astimezone(zone)) == format_time(MOMENT)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["2026-01-31T09:30:00.1Z", "2026-01-31T09:30:00.12Z"], "2026-01-31T09:30:00.12Z"),
        (["2026-01-31T09:30:00Z", "2026-01-31T09:30:00.5Z"], "2026-01-31T09:30:00.5Z"),
        (["2026-01-31T10:30:00+02:00", "2026-01-31T09:30:00Z"], "2026-01-31T09:30:00Z"),
        (["2026-01-31T09:30:00.123456789Z", None], "2026-01-31T09:30:00.123456789Z"),
        (["never", "9", "2026-01-31T09:30:00", "2026-01-31T09:30:00Z"], "2026-01-31T09:30:00Z"),
        (["never"], None),
        ([], None),
    ],
)
def test_the_latest(texts: list[str | None], found: str | None) -> None:
    assert latest(texts) == found
    assert latest(reversed(texts)) == found
