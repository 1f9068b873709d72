"""Which lines of a log are shown, and with which time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from outbox_operator.cli.laptop import logs
from outbox_operator.errors import KubernetesError

NOW: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
FIRST: Final = '{"time": "2026-01-31T11:58:00.000Z", "message": "a"}'
SECOND: Final = '{"time": "2026-01-31T11:59:30.000Z", "message": "b"}'
TEXT: Final = f"{FIRST}\nprinted by a handler\n{SECOND}\n"
AT: Final = "2026-01-31T11:58:00.000Z"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({}, [f"{AT} {FIRST}", f"{AT} printed by a handler", f"2026-01-31T11:59:30.000Z {SECOND}"]),
        ({"tailLines": "1"}, [f"2026-01-31T11:59:30.000Z {SECOND}"]),
        ({"sinceSeconds": "60"}, [f"2026-01-31T11:59:30.000Z {SECOND}"]),
        ({"sinceTime": "2026-01-31T12:00:00Z"}, []),
    ],
)
def test_which_lines(query: dict[str, str], shown: list[str]) -> None:
    assert list(logs.chosen(logs.timed(TEXT.splitlines()), query, NOW)) == shown


async def test_lines_that_come(tmp_path: Path) -> None:
    path = tmp_path / "relay-orders.log"
    path.write_text(f"{FIRST}\n")
    found = logs.lines(path, {"tailLines": "5"}, follow=True)
    assert await anext(found) == f"{AT} {FIRST}"
    with path.open("a") as file:
        file.write(f"{SECOND}\n")
    assert await anext(found) == f"2026-01-31T11:59:30.000Z {SECOND}"
    await found.aclose()  # type: ignore[attr-defined]


async def test_a_process_that_has_never_run(tmp_path: Path) -> None:
    with pytest.raises(KubernetesError, match="No such file"):
        await anext(logs.lines(tmp_path / "relay-orders.log", {}, follow=False))
