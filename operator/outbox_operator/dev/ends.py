"""How processes of `outbox dev` end by themselves, kept in files for the verbs that look.

A file stands beside the process's log while it counts: until the process is begun anew.
"""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from outbox_operator.counted import counted
from outbox_operator.wire.times import format_time

LOOP_SECONDS: Final = 20.0
"""A process that ended again and again, and has run for so long since, does well."""
_MOST_BYTES: Final = 1024
_SUFFIX: Final = ".ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How often a process ended, and how the last time.

    Attributes:
        times: Since it was last begun anew.
        in_a_row: Of these the last ones, each of which ran for moments only, but for the first.
        code: Its exit code; below 0 the number of a signal. None: it could not even be started.
        at: When.
    """

    times: int
    in_a_row: int
    code: int | None
    at: datetime


def after(before: Ends | None, *, code: int | None, brief: bool, at: datetime) -> Ends:
    """One end more.

    Args:
        before: Those until then.
        code: See `Ends`.
        brief: Whether it had run for moments only.
        at: When it ended.
    """
    times, in_a_row = (before.times, before.in_a_row) if before else (0, 0)
    return Ends(times=times + 1, in_a_row=in_a_row + 1 if brief else 1, code=code, at=at)


def is_loop(ends: Ends | None, now: datetime) -> bool:
    """Whether a process that lives will hardly do so for long: it has ended again and again."""
    if ends is None or ends.in_a_row < 2:
        return False
    return (now - ends.at).total_seconds() < LOOP_SECONDS


def lasts(ends: Ends | None, now: datetime, *, lives: bool) -> bool:
    """Whether a process lives, and will hardly end at once."""
    return lives and not is_loop(ends, now)


def how(code: int | None) -> str:
    """An exit code as part of a sentence about a process that ended."""
    if code is None:
        return "could not be started"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def says_why(code: int | None) -> bool:
    """Whether what a process printed last may be why it ended: no signal did, and not itself."""
    return code is None or code > 0


def often(times: int) -> str:
    """How often, in words."""
    return "once" if times == 1 else counted(times, "time")


def keep(folder: Path, name: str, ends: Ends | None) -> None:
    """Write them down; None: there are none."""
    path = folder / f"{name}{_SUFFIX}"
    with suppress(OSError):  # a full disk
        if ends is None:
            path.unlink(missing_ok=True)
            return
        document = {
            "times": ends.times,
            "in_a_row": ends.in_a_row,
            "code": ends.code,
            "at": format_time(ends.at, "milliseconds"),
        }
        path.write_text(json.dumps(document))


def kept(folder: Path, name: str) -> Ends | None:
    """Those of a process; None: there are none, or nothing that can be read."""
    try:
        with (folder / f"{name}{_SUFFIX}").open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        at = datetime.fromisoformat(found["at"])
        code = None if found["code"] is None else int(found["code"])
        return Ends(
            times=int(found["times"]), in_a_row=int(found["in_a_row"]), code=code,
            at=at if at.tzinfo else at.replace(tzinfo=UTC),
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None
