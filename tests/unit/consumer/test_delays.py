"""When an event is due, and what is no such time."""

from __future__ import annotations

import datetime as dt

import pytest

from outbox_operator.client import Event, EventError
from outbox_operator.consumer.delays import asked, wait_of

NOW = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        (None, 0.0),
        ("2026-11-29T11:59:59Z", 0.0),
        ("2026-11-29T12:00:00Z", 0.0),
        ("2026-11-29T12:00:01.5Z", 1.5),
        ("2026-11-29T13:00:30+01:00", 30.0),
        ("2026-11-29T12:00:30", 30.0),
        ("2026-11-30T12:00:00Z", 3600.0),
        ("2026-12-05T12:00:01Z", 3600.0),  # the database is a second behind its writer
        ("tomorrow", "wanted a time as of RFC 3339, found 'tomorrow'"),
        ("9999-12-31T23:59:59-23:00", "wanted a time as of RFC 3339"),
        ("9999-12-31T23:59:59Z", "wanted no later than 7 days after the event"),
        ("", "wanted a time as of RFC 3339, found ''"),
    ],
)
def test_how_long_an_event_rests(text: str | None, wait: float | str) -> None:
    headers = {} if text is None else {"Deliver-After": text}
    found = wait_of(headers, NOW - dt.timedelta(days=1), NOW)
    if isinstance(wait, str):
        assert isinstance(found, str)
        assert wait in found
    else:
        assert found == wait


def test_no_event_was_written_later_than_now() -> None:
    written = NOW + dt.timedelta(days=36500)
    later = {"Deliver-After": (written + dt.timedelta(days=1)).isoformat()}
    assert "wanted no later than 7 days after the event" in str(wait_of(later, written, NOW))
    behind = NOW + dt.timedelta(minutes=1)
    later = {"Deliver-After": (behind + dt.timedelta(days=7)).isoformat()}
    assert wait_of(later, behind, NOW) == 3600.0


@pytest.mark.parametrize("name", ["deliver-after", "Deliver-after", "DELIVER-AFTER"])
def test_its_name_has_any_case(name: str) -> None:
    headers = {"Ce-Type": "a", name: "2026-11-29T12:00:01.5Z", "Content-Types": "x"}
    assert asked(headers) == "2026-11-29T12:00:01.5Z"
    assert wait_of(headers, NOW, NOW) == 1.5


def test_the_library_writes_the_time_of_a_later_event() -> None:
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    event = Event(type="a", payload=1, headers={"x": "y"}, deliver_after=moment)
    assert event.headers["x"] == "y"
    assert dt.datetime.fromisoformat(event.headers["Deliver-After"]) == moment
    soon = Event(type="a", payload=1, deliver_after=dt.timedelta(hours=2)).headers["Deliver-After"]
    assert abs(dt.datetime.fromisoformat(soon) - moment) < dt.timedelta(minutes=1)
    assert dict(Event(type="a", payload=1).headers) == {}


@pytest.mark.parametrize(
    "after",
    [
        dt.timedelta(days=8),
        dt.timedelta.max,
        dt.timedelta.min,
        dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=12))),
        dt.datetime(2026, 11, 29),  # noqa: DTZ001
        dt.datetime(9999, 12, 31, tzinfo=dt.UTC),
        60,
        "1h",
    ],
)
def test_what_is_no_such_time_is_refused_where_it_is_written(after: object) -> None:
    with pytest.raises(EventError, match="deliver_after: wanted a time with a zone, or a timede"):
        Event(type="a", payload=1, deliver_after=after)  # type: ignore[arg-type]
