"""Writes statuses: what says something new, and no sooner than somebody could read it.

What is new passes through several states within a moment. Each would be a request, a change that
every watcher is told of, and an Event; all but the last are of no use to anybody. So the first word
on an object waits for `HELD_SECONDS`, unless it is ready or something is wrong, and so do the next
ones: hundreds of objects that are made together take their time, and take more when each step is
told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.common import StatusBase
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.resting import Confirming
from outbox_operator.controller.runtime.objects import version_of
from outbox_operator.controller.runtime.own_writes import OwnWrites, Said
from outbox_operator.errors import OutboxError, SpecError
from outbox_operator.plan.status.conditions import (
    Part,
    fresh_for,
    says_the_same,
    with_sample_time,
    worth_writing,
)
from outbox_operator.reasons import Reason

log = logging.getLogger(__name__)

HELD_SECONDS: Final = 1.0
"""For so long an object may go without a word, from its first pass on; after a word, for as long
as it took until then."""
_LONGEST_HELD_SECONDS: Final = 4.0
_MADE_SOON: Final = frozenset({Reason.STREAM_NOT_FOUND})
"""What of a new object is no error yet: what it waits for is declared with it."""
_NEW_SECONDS: Final = 60.0
"""Then it is new no more, though it is on its way: each step is told."""


@dataclass(slots=True)
class _New:
    """An object that was not ready yet, by the clock of the loop.

    Attributes:
        since: When its first pass began.
        until: For so long nothing need be said.
    """

    since: float
    until: float


def something_wrong(parts: Iterable[Part]) -> bool:
    """Whether a new object is more than on its way: somebody has to hear of it now."""
    return any((one.failing or one.stalled) and one.reason not in _MADE_SOON for one in parts)


class Statuses:
    """Writes the statuses of one kind.

    Args:
        context: Of the process.
        kind: Of the objects.
        own: What we wrote and the watch has not brought back.
        live_fields: Fields that hold live numbers: alone they are written only now and then.
        now: The time.
    """

    def __init__(
        self,
        context: Context,
        kind: str,
        own: OwnWrites,
        live_fields: Collection[str],
        now: Callable[[], datetime],
    ) -> None:
        self._context = context
        self._kind = kind
        self._own = own
        self._live_fields = live_fields
        self._now = now
        self._new: dict[str, _New] = {}
        """By UID."""

    @contextlib.asynccontextmanager
    async def seen(
        self, body: Mapping[str, Any], metadata: Meta, status: StatusBase
    ) -> AsyncIterator[None]:
        """While work on an object goes on of which nothing was said: say so if that takes long.

        Args:
            body: The object.
            metadata: Its own.
            status: What is said meanwhile.
        """
        loop, writing = asyncio.get_running_loop(), set[asyncio.Task[None]]()

        def begin() -> None:
            writing.add(asyncio.create_task(self._say_seen(body, metadata, status)))

        now = loop.time()
        self._new.setdefault(metadata.uid, _New(now, now + HELD_SECONDS))
        timer = loop.call_later(self.may_wait(metadata.uid), begin)
        try:
            yield
        finally:
            timer.cancel()
            if writing:  # its end comes before what is written next
                await asyncio.wait(writing)

    async def _say_seen(self, body: Mapping[str, Any], metadata: Meta, status: StatusBase) -> None:
        try:
            await self.write(body, metadata, status, now=True)
            self.told(metadata.uid, on_its_way=True)
        except OutboxError as error:  # the end of the pass says more, or fails
            log.info("could not say that %s was seen: %s", metadata.key, error)

    def may_wait(self, uid: str) -> float:
        """Seconds for which nothing need be said of an object that is on its way; 0: it is time."""
        new = self._new.get(uid)
        return 0.0 if new is None else max(0.0, new.until - asyncio.get_running_loop().time())

    def told(self, uid: str, *, on_its_way: bool) -> None:
        """Something was said of an object: that it is on its way, or how that ended."""
        now, new = asyncio.get_running_loop().time(), self._new.get(uid)
        if new is None or not on_its_way or now - new.since > _NEW_SECONDS:
            self._new.pop(uid, None)
        else:
            new.until = now + min(max(now - new.since, HELD_SECONDS), _LONGEST_HELD_SECONDS)

    async def write(
        self, body: Mapping[str, Any], metadata: Meta, status: StatusBase, *, now: bool
    ) -> Said:
        """Write a status if it says enough that is new, or `now`."""
        manifest = self._context.undeclared.left_out(
            {
                "apiVersion": meta.API_VERSION,
                "kind": self._kind,
                "metadata": {
                    "name": metadata.name,
                    "namespace": metadata.namespace,
                    "uid": metadata.uid,
                },
                "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
            }
        )
        after, before = manifest["status"], self._own.status(body)
        same = after == before or says_the_same(before, after)
        if after == before or not (now or self._worth_writing(before, after)):
            return Said.SAME if same else Said.LATER
        try:
            written = await self._context.kube.apply_status(manifest)
        except SpecError as error:  # of a definition that is older than this operator
            if not self._context.undeclared.learn(self._kind, error):
                raise
            return await self.write(body, metadata, status, now=now)
        if written is not None:
            self._own.wrote_status(written, after)
        return Said.SAME if same else Said.WRITTEN

    def confirming(self, body: Mapping[str, Any]) -> Confirming | None:
        """How it is said of an object that its numbers are still the same; None: it has none."""
        status, every = self._own.status(body), self._context.settings.status_refresh_seconds
        if with_sample_time(status, self._now()) is None:
            return None

        async def say(version: int) -> int:
            metadata = body["metadata"]
            said = with_sample_time(status, self._now()) or status
            # The version: whatever has been said meanwhile is newer.
            place = {name: metadata[name] for name in ("name", "namespace", "uid")}
            manifest = {
                "apiVersion": meta.API_VERSION,
                "kind": self._kind,
                "metadata": {**place, "resourceVersion": str(version)},
                "status": said,
            }
            written = await self._context.kube.apply_status(
                self._context.undeclared.left_out(manifest)
            )
            if written is None:
                return version  # it is gone, which the watch tells
            self._own.wrote_status(written, said)
            return version_of(written)

        return Confirming(fresh_for(status, self._now(), every), every, say)

    def _worth_writing(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
        settings = self._context.settings
        return worth_writing(
            before, after, self._live_fields, self._now(),
            numbers_after=settings.status_interval_seconds,
            confirm_after=settings.status_refresh_seconds,
        )  # fmt: skip

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._new.pop(uid, None)
