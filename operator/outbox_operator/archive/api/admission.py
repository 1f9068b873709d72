"""Who asks, whether they may now, and what is noted of it, whatever is asked.

Called by `archive.api.service`, which answers.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.postgres.archive_reader import (
    Access,
    ArchiveReader,
    QuestionTooCostlyError,
    Viewer,
)
from outbox_operator.archive.api import asking
from outbox_operator.archive.api.metrics import ApiMetrics
from outbox_operator.archive.api.pace import Pace
from outbox_operator.archive.api.problems import Fault, ProblemError
from outbox_operator.archive.api.tokens import Caller, Keys, verify
from outbox_operator.archive.api.turns import Turns
from outbox_operator.errors import OutboxError
from outbox_operator.wire.archive_api import ArchiveApiConfig

log = logging.getLogger(__name__)

TURN_SECONDS: Final = 3.0
"""Less than a question waits for a connection."""
_MOST_NOTED: Final = 8 * 1024
"""Characters of a question that are written down."""

Given = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Request:
    """What came.

    Attributes:
        authorization: The header.
        client: Address that it came from.
        given: Its parameters.
    """

    authorization: str | None
    client: str | None
    given: Given


@dataclass(slots=True)
class Question:
    """One that is being answered; who answers fills in what is returned."""

    caller: Caller
    events: int = 0
    size: int = 0

    @property
    def viewer(self) -> Viewer:
        """Whose events may be seen."""
        return Viewer(self.caller.tenant)


class Admission:
    """Lets questions in.

    Args:
        config: Of the process.
        reader: Of the archive, which holds the log of who asked for what.
        keys: Of the issuer of tokens.
        metrics: What to count.
    """

    def __init__(
        self, config: ArchiveApiConfig, reader: ArchiveReader, keys: Keys, metrics: ApiMetrics
    ) -> None:
        self._config = config
        self._reader = reader
        self._keys = keys
        self._metrics = metrics
        self._pace = Pace(config.limits.requests_per_second, config.limits.burst)
        # However much one tenant asks, there is a connection for the others.
        connections, exports = config.limits.connections, config.limits.exports
        self._turns = Turns(max(1, connections - max(1, connections // 4)), TURN_SECONDS)
        self._export_turns = Turns(max(1, exports - 1), TURN_SECONDS)

    @asynccontextmanager
    async def asked(
        self, request: Request, action: str, scope: str, **more: str
    ) -> AsyncIterator[Question]:
        """Who asks, if they may; at the end it is noted, before anything is returned.

        Raises:
            ProblemError: They may not, or what they ask cannot be answered.
            OutboxError: A server is away.
        """
        started = time.monotonic()
        caller = await verify(
            request.authorization, self._keys, self._config.jwt,
            tenants=self._config.tenant_column is not None,
        )  # fmt: skip
        pause = self._pace.wait(f"{caller.tenant or ''}\n{caller.subject}", time.monotonic())
        if pause:
            raise ProblemError(
                429, "Too many questions",
                f"wanted {self._config.limits.requests_per_second:g} a second or less",
                headers=(("Retry-After", str(max(1, round(pause)))),),
            )  # fmt: skip
        question = Question(caller)
        noted = json.dumps({**more, **asking.question(request.given)})[:_MOST_NOTED]

        def entry(outcome: str) -> Access:
            return Access(
                subject=caller.subject, tenant=caller.tenant, token_id=caller.token_id,
                client=request.client, action=action, question=noted, outcome=outcome,
                events=question.events, bytes=question.size, seconds=time.monotonic() - started,
            )  # fmt: skip

        try:
            caller.needs(scope)
            if action == "export":  # has another turn
                yield question
            else:
                async with _turn(self._turns, caller):
                    yield question
        except ProblemError as problem:
            await self.note_failure(entry(f"{problem.status} {problem.title}"))
            raise
        except QuestionTooCostlyError as error:
            await self.note_failure(entry("422 too costly"))
            raise _too_costly(error.message) from error
        except OutboxError as error:
            await self.note_failure(entry(f"503 {error.reason}"))
            raise
        else:
            await self._reader.log(entry("ok"))
            self._metrics.events(action).inc(question.events)

    async def note_failure(self, access: Access) -> None:
        """Nothing was returned: that this cannot be noted is no reason to say another thing."""
        try:
            await self._reader.log(access)
        except OutboxError as error:
            log.warning("a question that failed was not written down: %s", error.message)

    @asynccontextmanager
    async def exporting(self, caller: Caller) -> AsyncIterator[None]:
        """One of the exports that a tenant, or a caller, may have at a time.

        Raises:
            ProblemError: All of them are taken.
        """
        async with _turn(self._export_turns, caller):
            yield


@asynccontextmanager
async def _turn(turns: Turns, caller: Caller) -> AsyncIterator[None]:
    """One of those that a tenant, or without tenants a caller, may have at a time.

    Raises:
        ProblemError: All of them are taken.
    """
    who = (caller.tenant, None if caller.tenant is not None else caller.subject)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(turns.of(who))
        except TimeoutError as error:
            raise ProblemError(
                429, "Too many at a time", f"wanted {turns.most} or less at a time; ask again",
                headers=(("Retry-After", "2"),),
            ) from error  # fmt: skip
        yield


def _too_costly(said: str) -> ProblemError:
    return ProblemError(
        422, "Too costly",
        f"{said}: name a key, an id or one type, or a "
        "shorter time",
        faults=(Fault("from", "a shorter time, or a column with an index", "too many events"),),
    )  # fmt: skip
