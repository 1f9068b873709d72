"""One coordination Lease: taken, renewed, given back. What is led by it is `leadership`'s.

A standby judges the holder by its own clock (has the record changed within the lease duration?), so
clocks need not agree. A holder counts from the moment at which it began to renew. Two leaders for
a few seconds, which no lease can exclude, do no harm: what reconcilers do is guarded where it
happens.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.lease import LEASE_API, LeaseRecord
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.adapters.kubernetes.watch import Changed
from outbox_operator.controller.runtime.sightings import (
    RELEASED_SECONDS,
    Patience,
    Sighting,
    claim,
    is_of_an_earlier_store,
    may_take,
    sight,
)
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import ConflictError, KubernetesError, OutboxError
from outbox_operator.reasons import Reason

log = logging.getLogger(__name__)

RELEASE_TIMEOUT_SECONDS: Final = 3.0
_ATTEMPTS: Final = 3
"""Of a renewal within the deadline: a connection whose server is gone without a word, as one of
several API servers with its machine, takes one of them and not the Lease."""
LEAST_ATTEMPT_SECONDS: Final = 3.0
"""An API server that is slow is no dead connection."""
_UNSEEN_ROUNDS: Final = 2
"""Who holds a Lease that was deleted makes it anew with his next renewal, one round later."""


class LeaseLostError(KubernetesError):
    """The Lease went to another process, or could not be renewed in time."""

    reason = Reason.LEASE_LOST


class StoreRestoredError(LeaseLostError):
    """The API server's store was restored from an earlier copy: what is remembered is not so."""

    reason = Reason.STORE_RESTORED


def patience(settings: Settings) -> Patience:
    """How long a process leaves Leases of others alone."""
    return Patience(
        unseen_seconds=_UNSEEN_ROUNDS * settings.lease_retry_seconds,
        silent_seconds=settings.lease_duration_seconds,
    )


def elapsed() -> float:
    """Seconds, also of those in which the machine slept: others do not wait for it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Heartbeat:
    """Whether our own renewals come back through a watch: if not, watches are deaf."""

    def __init__(self) -> None:
        self._renewed: float | None = None
        self._seen: float | None = None

    def renewed(self, now: float) -> None:
        """The API server accepted a renewal."""
        self._renewed = now
        if self._seen is None:
            self._seen = now

    def seen(self, now: float) -> None:
        """A renewal came through the watch."""
        self._seen = now

    def silent_seconds(self) -> float:
        """For how long renewals succeeded without being seen; 0 while the API server is away."""
        if self._renewed is None or self._seen is None:
            return 0.0
        return max(0.0, self._renewed - self._seen)


class Lease:
    """Our claim to one Lease.

    Args:
        kube: Connection to the API server.
        settings: Where it is, and its times.
        name: Which one.
        identity: Who holds it: this process, or all that divide the namespaces as it does.
        heartbeat: Told of every renewal; None: nobody watches this one.
        is_shared: Several processes hold it together: what one of them writes renews it for all.
        clock: Monotonic seconds, as `elapsed`.

    Attributes:
        name: Which one.
        asked_by: Who asked for it lately; empty: nobody.
    """

    def __init__(
        self,
        kube: Kube,
        settings: Settings,
        name: str,
        identity: str,
        heartbeat: Heartbeat | None = None,
        *,
        is_shared: bool = False,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self.name = name
        self.asked_by = ""
        self._kube = kube
        self._namespace = settings.lease_namespace
        self._identity = identity
        self._settings = settings
        self._heartbeat = heartbeat
        self._is_shared = is_shared
        self._clock = clock
        self._record: LeaseRecord | None = None
        self._turn = asyncio.Lock()
        """Nothing is renewed while it is given back: what was under way would take it again."""
        self._looked = 0.0
        self._deadline = 0.0

    def __str__(self) -> str:
        return f"Lease {self._namespace}/{self.name}"

    @property
    def is_held(self) -> bool:
        """Whether it is ours, as far as we know."""
        return self._record is not None

    @property
    def is_current(self) -> bool:
        """Whether it is ours for certain: nobody can have taken it yet, whatever we missed."""
        return self._record is not None and self._clock() < self._deadline

    @property
    def overdue_seconds(self) -> float:
        """For how long it has been held without being current; nothing: it is, or is not held."""
        return 0.0 if self._record is None else max(0.0, self._clock() - self._deadline)

    async def acquire(self) -> None:
        """Wait until the Lease is ours, however long that takes."""
        sighting: Sighting | None = None
        waiting_for = None
        while True:
            try:
                found = await self._kube.lease(self._namespace, self.name)
                sighting = sight(sighting, found, self._clock(), patience(self._settings))
                if may_take(sighting, self._identity, self._clock()):
                    await self.take(sighting)
                    return
                if sighting.record.holder != waiting_for:
                    waiting_for = sighting.record.holder
                    log.info("standing by: %s is held by %s", self, waiting_for or "nobody yet")
            except ConflictError:
                log.debug("another process was faster to take %s", self)
            except OutboxError as error:
                log.warning("cannot read or take %s: %s", self, error)
            await asyncio.sleep(self._settings.lease_retry_seconds)

    async def take(self, sighting: Sighting) -> None:
        """Take it, unless somebody wrote it since it was seen.

        Raises:
            ConflictError: Somebody did.
            KubernetesError: There was no answer; it may be ours all the same, until it expires.
        """
        duration_seconds = math.ceil(self._settings.lease_duration_seconds)
        async with self._turn:
            await self._write(claim(sighting, self._identity, duration_seconds, datetime.now(UTC)))
        log.info("%s is ours", self, extra={"identity": self._identity})

    async def keep(self) -> None:
        """Renew once; a failure is made up for with the next one, until the deadline.

        Whatever the failure is: an API server that has just begun, and does not know of roles yet,
        says that we may not.

        Raises:
            LeaseLostError: The Lease is no longer ours.
        """
        left = max(0.0, self._deadline - self._clock())
        attempt_seconds = max(
            LEAST_ATTEMPT_SECONDS, self._settings.lease_deadline_seconds / _ATTEMPTS
        )
        try:
            async with asyncio.timeout(min(left, attempt_seconds)), self._turn:
                if self.is_held and not (self._is_shared and await self._was_renewed()):
                    await self._renew()
        except (TimeoutError, OutboxError) as error:
            if isinstance(error, LeaseLostError):
                raise
            log.warning("%s not renewed: %s", self, str(error) or "timed out")
            if self._clock() >= self._deadline:
                seconds = self._settings.lease_deadline_seconds
                raise LeaseLostError(f"{self} could not be renewed for {seconds:.0f} s") from error

    async def renew(self) -> None:
        """Write it now, or say why not.

        Raises:
            LeaseLostError: Somebody else has it.
            OutboxError: It was not renewed.
        """
        async with self._turn:
            await self._renew()

    async def _renew(self) -> None:
        assert self._record is not None  # noqa: S101  (it was taken)
        try:
            await self._write(dataclasses.replace(self._record, renewed=datetime.now(UTC)))
        except (ConflictError, NotFoundError):
            # Written or removed by someone. Our own write whose answer got lost is fine, and
            # so is a Lease without a holder; another holder is not.
            found = await self._found()
            holder = found.holder if found else ""
            if holder not in ("", self._identity):
                self._record = None
                raise LeaseLostError(f"{self} is held by {holder}") from None
            if found is not None:
                self.asked_by = found.asked_by
            version = found.version if found else None
            await self._write(
                dataclasses.replace(self._record, renewed=datetime.now(UTC), version=version)
            )

    async def _found(self) -> LeaseRecord | None:
        """The Lease as it is now; None: there is none."""
        found = await self._kube.lease(self._namespace, self.name)
        if found is not None:
            self._see_store(found)
        return found

    def _see_store(self, found: LeaseRecord) -> None:
        if self._record is not None and is_of_an_earlier_store(self._record, found):
            raise StoreRestoredError(
                f"{self} has version {found.version} after {self._record.version}: the store of "
                "the API server was restored from an earlier copy; everything is looked at anew"
            )

    async def _was_renewed(self) -> bool:
        """Whether one of those who hold it with us has written it since we last looked."""
        before, self._looked = self._looked, self._clock()
        found = await self._found()
        record = self._record
        if record is None or found is None or found.holder != self._identity:
            return False
        if found.renewed == record.renewed:  # a new version may be somebody's note on it
            return False
        self._record = found
        self._deadline = before + self._settings.lease_deadline_seconds
        return True

    async def ask(self, seen: LeaseRecord) -> None:
        """Ask its holder for it.

        Raises:
            ConflictError: It was written since it was seen.
        """
        asking = dataclasses.replace(seen, asked_by=self._identity)
        await self._kube.put_lease(self._namespace, self.name, asking)
        log.info("%s: %s was asked for it", self, seen.holder)

    async def release(self, given_to: str = "", *, seen: LeaseRecord | None = None) -> None:
        """Give the Lease back, so that a standby need not wait; fail quietly.

        Args:
            given_to: Who is to have it next; empty: anybody.
            seen: Only if nobody wrote it since; None: since our last renewal.
        """
        async with self._turn:
            record, self._record = self._record if seen is None else seen, None
            if record is not None:
                await self._release(record, given_to, is_exact=seen is not None)

    async def _release(self, record: LeaseRecord, given_to: str, *, is_exact: bool) -> None:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_SECONDS):
                try:
                    await self._free(record, given_to)
                except ConflictError:
                    found = await self._kube.lease(self._namespace, self.name)
                    if is_exact or found is None or found.holder != self._identity:
                        raise
                    await self._free(found, given_to)  # somebody had asked for it
            log.info("%s released", self)
        except (TimeoutError, OutboxError) as error:
            log.warning("%s not released: %s", self, str(error) or "timed out")

    async def _free(self, record: LeaseRecord, given_to: str) -> None:
        freed = dataclasses.replace(
            record, holder="", duration_seconds=RELEASED_SECONDS, renewed=datetime.now(UTC),
            asked_by=given_to,
        )  # fmt: skip
        await self._kube.put_lease(self._namespace, self.name, freed)

    async def watch_back(self) -> None:
        """Follow the Lease through a watch, for ever, as the heartbeat's other half."""
        assert self._heartbeat is not None  # noqa: S101  (nobody else watches)
        changes = self._kube.watch(
            LEASE_API, "leases", self._namespace, field_selector=f"metadata.name={self.name}"
        )
        async for change in changes:
            if isinstance(change, Changed):
                self._heartbeat.seen(self._clock())

    async def _write(self, record: LeaseRecord) -> None:
        started = self._clock()
        written = await self._kube.put_lease(
            self._namespace, self.name, dataclasses.replace(record, asked_by="")
        )
        self._see_store(written)
        self._record = written
        # Others count from when it was written, which may be long before the answer.
        self._looked = started
        self._deadline = started + self._settings.lease_deadline_seconds
        if self._heartbeat is not None:
            self._heartbeat.renewed(self._clock())
