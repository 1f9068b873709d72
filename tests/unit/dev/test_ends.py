"""How processes of `outbox dev` ended, and what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from outbox_operator.dev import ends
from outbox_operator.dev.ends import LOOP_SECONDS, Ends

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def test_what_ran_for_long_begins_a_row_anew() -> None:
    found: Ends | None = None
    rows = []
    for brief in (True, True, False, True):
        found = ends.after(found, code=1, brief=brief, at=NOW)
        rows.append((found.times, found.in_a_row))
    assert rows == [(1, 1), (2, 2), (3, 1), (4, 2)]


@pytest.mark.parametrize(
    ("found", "seconds", "loop"),
    [
        (None, 0.0, False),
        (Ends(times=7, in_a_row=1, code=1, at=NOW), 0.0, False),
        (Ends(times=2, in_a_row=2, code=1, at=NOW), 0.0, True),
        (Ends(times=2, in_a_row=2, code=1, at=NOW), LOOP_SECONDS - 1, True),
        (Ends(times=2, in_a_row=2, code=1, at=NOW), LOOP_SECONDS, False),
    ],
)
def test_what_lives_between_two_ends_is_in_a_loop(
    found: Ends | None, seconds: float, loop: bool
) -> None:
    now = NOW + timedelta(seconds=seconds)
    assert ends.is_loop(found, now) is loop
    assert ends.lasts(found, now, lives=True) is not loop
    assert not ends.lasts(found, now, lives=False)


@pytest.mark.parametrize(
    ("code", "said", "says_why"),
    [
        (1, "exit code 1", True),
        (0, "exit code 0", False),
        (-9, "killed by SIGKILL", False),
        (-99, "killed by signal 99", False),
        (None, "could not be started", True),
    ],
)
def test_how_it_ended(code: int | None, said: str, says_why: bool) -> None:
    assert (ends.how(code), ends.says_why(code)) == (said, says_why)


def test_they_are_kept_until_it_is_begun_anew(tmp_path: Path) -> None:
    for found in (Ends(times=3, in_a_row=2, code=-9, at=NOW), None):
        ends.keep(tmp_path, "relay-orders", found)
        assert ends.kept(tmp_path, "relay-orders") == found
    ends.keep(tmp_path / "nowhere", "relay-orders", Ends(times=1, in_a_row=1, code=None, at=NOW))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"times": 1}', '{"times": 1, "in_a_row": 1, "code": 1, "at": 7}']
)
def test_a_file_that_holds_anything_else_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "relay-orders.ends").write_text(text)
    assert ends.kept(tmp_path, "relay-orders") is None
