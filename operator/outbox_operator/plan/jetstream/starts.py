"""Where a durable consumer begins to read, and a reset that a person asked for. Pure.

Where one begins is fixed when it is made. Newer servers let it go on from another place, which is
no part of its configuration. Where they do not, a reset makes it anew at another place than its
resource declares, and writes into its metadata who wanted that, and what was declared then. As long
as that stays declared, the place is as wanted. Before it deletes the old one, it notes on the
resource how far that was: whoever finds none makes it there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.plan.jetstream.decide import Config, moment
from outbox_operator.wire.times import format_time

_KEYS: Final = ("deliver_policy", "opt_start_seq", "opt_start_time")

RESET_LEVEL: Final = 4
"""JetStream API level of servers that reset a durable consumer as it stands."""
START: Final[Config] = {"deliver_policy": "all"}
"""The first message that the stream has."""
_LONGEST_NOTE: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftAt:
    """How far a durable consumer was that a reset deletes.

    Attributes:
        task: UID of the task.
        consumer: UID of the EventConsumer.
        created: When its stream was made.
        sequence: Of the message to go on with.
    """

    task: str
    consumer: str
    stream: str
    created: str | None
    sequence: int

    def text(self) -> str:
        """For an annotation."""
        return json.dumps(asdict(self), sort_keys=True)


def left_at(note: str | None, consumer: str, stream: str, created: str | None) -> LeftAt | None:
    """What an annotation says of the durable consumer of a resource; None: nothing of use.

    Args:
        note: The annotation, which anybody may have written.
        consumer: UID of the EventConsumer.
        stream: Its stream now.
        created: When that was made.
    """
    try:
        found = json.loads(note or "") if len(note or "") <= _LONGEST_NOTE else {}
        known = {field.name for field in fields(LeftAt)}  # a later version may say more
        one = LeftAt(**{name: value for name, value in found.items() if name in known})
    except (AttributeError, TypeError, ValueError, RecursionError):
        return None
    ours = (one.consumer, one.stream, one.created) == (consumer, stream, created)
    whole = type(one.sequence) is int and 0 < one.sequence < 2**63 and isinstance(one.task, str)
    return one if ours and whole else None


def lowest_place(config: Mapping[str, Any]) -> int | datetime | None:
    """Before which message or time the server resets a durable consumer not; None: not at all."""
    match config.get("deliver_policy", "all"):
        case "all":
            return 1
        case "by_start_sequence":
            return int(config.get("opt_start_seq") or 1)
        case "by_start_time":
            since: datetime | None = moment(config.get("opt_start_time"))
            return since
        case _:
            return None


def at_sequence(sequence: int) -> Config:
    """From a message on."""
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": sequence}


def placed(desired: Config, start: Config, task_uid: str) -> Config:
    """The configuration of a durable consumer that a reset makes anew."""
    without = {key: value for key, value in desired.items() if key not in _KEYS}
    marks = {meta.RESET_METADATA: task_uid, meta.RESET_FROM_METADATA: _declared(desired)}
    return without | start | {"metadata": {**(desired.get("metadata") or {}), **marks}}


def left(desired: Config, note: LeftAt) -> Config:
    """The configuration of one that a reset has deleted, where it was."""
    return placed(desired, at_sequence(note.sequence), f"{note.task}-undone")


def reset_by(config: Mapping[str, Any]) -> str | None:
    """UID of the task that made a durable consumer anew; None: none did."""
    found = (config.get("metadata") or {}).get(meta.RESET_METADATA)
    return None if found is None else str(found)


def keeping_reset(desired: Config, observed: Mapping[str, Any]) -> Config:
    """What is desired of a durable consumer, at the place where a reset has put it."""
    marks = observed.get("metadata") or {}
    task_uid = reset_by(observed)
    if task_uid is None or marks.get(meta.RESET_FROM_METADATA) != _declared(desired):
        return desired
    start = {key: observed[key] for key in _KEYS if observed.get(key)}
    return placed(desired, start, task_uid)


def _declared(desired: Config) -> str:
    since = moment(desired.get("opt_start_time"))
    found = (
        desired.get("deliver_policy"),
        desired.get("opt_start_seq"),
        None if since is None else format_time(since, "microseconds"),
    )
    return " ".join(str(one) for one in found if one)
