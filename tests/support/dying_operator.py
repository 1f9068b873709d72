"""An operator that ends at a given place of a task, as by SIGKILL: `OUTBOX_TEST_DIES=place:number`.

Run as `python -m support.dying_operator` from `tests/`. Everything is the real thing until the
place is reached for the given time: nothing is closed, no status is written, no Lease given back.

    announced   a batch to send again is written down in the status, and not begun
    released    a key's rows are moved and committed, which is not written down
    purged      rows are deleted and committed
    published   a letter is in its stream again, and still among the dead letters
    deleted     the same letter is deleted there
    late        it stands still when it has a letter in the hand, until another may have taken over;
                it ends when it writes that down, or exits with 3 when it sends the letter
    handed      a letter of a group in Redis is removed, and its entry is the group's again
    dropped     a letter of a group is removed
    unmade      a durable consumer that is to be made anew is deleted
    resetting   a durable consumer is about to be reset. Here it does not end, but stands still
                until somebody wakes it; then it says so in its output
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.dead_letters import DeadLetters
from outbox_operator.adapters.postgres.dead_letters import DeadLetterStore
from outbox_operator.adapters.redis.letter_admin import LetterAdmin
from outbox_operator.cli.main import main
from outbox_operator.controller.tasks.ledger import Ledger
from outbox_operator.controller.tasks.task_pass import SLICE_SECONDS
from outbox_operator.reasons import Reason

VARIABLE = "OUTBOX_TEST_DIES"
WENT_ON = "went on after standing still"


def _at(place: str, number: int) -> None:
    left = number

    def end() -> None:
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def stand_still() -> None:
        time.sleep(SLICE_SECONDS)
        before(Ledger, "write", end)
        before(DeadLetters, "replay", lambda: os._exit(3))

    def reached(then: Callable[[], None] = end) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            then()

    def after(owner: type[Any], name: str, counts: Any, then: Callable[[], None] = end) -> None:
        original = getattr(owner, name)

        async def replaced(self: Any, *args: Any, **options: Any) -> Any:
            answer = await original(self, *args, **options)
            if counts(answer, *args):
                reached(then)
            return answer

        setattr(owner, name, replaced)

    def before(owner: type[Any], name: str, then: Callable[[], None]) -> None:
        original = getattr(owner, name)

        async def replaced(self: Any, *args: Any) -> Any:
            then()
            return await original(self, *args)

        setattr(owner, name, replaced)

    def stop(owner: type[Any], name: str) -> None:
        original = getattr(owner, name)

        async def replaced(self: Any, *args: Any, **options: Any) -> Any:
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                return await original(self, *args, **options)
            finally:
                sys.stdout.write(f"{WENT_ON}\n")
                sys.stdout.flush()

        setattr(owner, name, replaced)

    match place:
        case "announced":
            after(
                Ledger, "write",
                lambda _, status: status.action == "replayDeadLetters"
                and "batch" in (status.progress or {}),
            )  # fmt: skip
        case "released":
            after(DeadLetterStore, "release_key", lambda answer, _: isinstance(answer, int))
        case "purged":
            after(DeadLetterStore, "purge", lambda *_: True)
        case "published":
            before(DeadLetters, "purge", reached)
        case "deleted":
            after(DeadLetters, "purge", lambda *_: True)
        case "late":
            after(
                DeadLetters, "get",
                lambda letter, _: letter is not None and letter.reason == Reason.MAX_DELIVER,
                stand_still,
            )  # fmt: skip
        case "handed":
            after(LetterAdmin, "again", lambda *_: True)
        case "dropped":
            after(LetterAdmin, "remove", lambda *_: True)
        case "unmade":
            after(JetStreamAdmin, "delete_consumer", lambda *_: True)
        case "resetting":
            stop(JetStreamAdmin, "reset_consumer")


if __name__ == "__main__":
    place, _, number = os.environ[VARIABLE].partition(":")
    _at(place, int(number))
    sys.exit(main(["operator"]))
