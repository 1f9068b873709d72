"""What this process leads: everything, or some slices of the namespaces.

Undivided, the operator's Lease has one holder who leads everything. Divided, each slice has a Lease
of its own, and the operator's Lease is held by all leaders together, in the name of their number:
`3 slices`. That is what keeps one owner of each namespace while the number changes:

    A process leads a slice while it has renewed that slice's Lease, and while the operator's Lease
    says its own number; each of them no longer ago than the deadline.

A process with another number, or of a release that knows no slices, waits until the operator's
Lease is free: until none of the others leads anything, or all were silent for its duration. Who
takes a slice writes the operator's Lease after that; who ends frees it only if no slice is held,
and if it was not written since before he looked. See decision 21.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.lease import LEASE_API, LeaseRecord, parse_lease
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.lease import (
    Heartbeat,
    Lease,
    LeaseLostError,
    elapsed,
    patience,
)
from outbox_operator.controller.runtime.sightings import Sighting, may_take, sight
from outbox_operator.controller.runtime.slices import (
    Holdings,
    layout,
    lease_of,
    may_give,
    slice_of,
    to_ask_for,
    to_take,
)
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import ConflictError, OutboxError

log = logging.getLogger(__name__)

ALL: Final = 0
"""The one slice of an operator that is not divided."""
_PATIENCE_ROUNDS: Final = 5
"""Who was asked for a slice ends what is under way there, before anybody is asked again."""


class Territory(Protocol):
    """What works on the namespaces of this process."""

    async def gained(self) -> None:
        """There are more of them: begin with those. Raises KubernetesError: try again."""
        ...

    async def leave(self) -> None:
        """There are fewer: returns when nothing is done any more in the others."""
        ...


class Leadership:
    """The Leases of this process.

    Args:
        kube: Connection to the API server.
        settings: Which slices there are, who we are, and times.
        heartbeat: Told of the renewals of the operator's Lease.
        metrics: What is led is exported there.
        clock: Monotonic seconds, as `elapsed`.
    """

    def __init__(
        self,
        kube: Kube,
        settings: Settings,
        heartbeat: Heartbeat,
        metrics: OperatorMetrics,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self._kube = kube
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._count = settings.slices
        self._grace_seconds = (
            settings.lease_duration_seconds - settings.lease_deadline_seconds
        ) / 2
        """Who finds in time that a Lease is over has half of what is left to end in good order."""
        me = settings.identity if self._count == 1 else layout(self._count)
        self._whole = Lease(
            kube, settings, settings.lease_name, me, heartbeat,
            is_shared=self._count > 1, clock=clock,
        )  # fmt: skip
        self._leases = {
            index: Lease(
                kube, settings, lease_of(settings.lease_name, index), settings.identity, clock=clock
            )
            for index in range(self._count if self._count > 1 else 0)
        }
        self._led: frozenset[int] = frozenset()
        self._sightings: dict[str, Sighting] = {}
        self._free_since: dict[int, float] = {}
        self._waits_for = ""
        self._asked_at = float("-inf")

    def leads(self, namespace: str) -> bool:
        """Whether this process works in a namespace: begins something there."""
        index = slice_of(namespace, self._count)
        return index in self._led and self._is_current(index)

    def may_write(self, namespace: str) -> bool:
        """Whether nobody else can work in a namespace yet: what was begun there may go on."""
        return self._is_current(slice_of(namespace, self._count))

    def _is_current(self, index: int) -> bool:
        own = self._leases.get(index, self._whole)
        return own.is_current and self._whole.is_current

    def check(self) -> None:
        """See that this process has not stood still for so long that others lead in its place.

        Raises:
            LeaseLostError: It has, or nearly. Nothing may be done any more, not even to end well.
        """
        for lease in (self._whole, *self._leases.values()):
            if lease.overdue_seconds > self._grace_seconds:
                raise LeaseLostError(
                    f"{lease} has been over for {lease.overdue_seconds:.1f} s: this process stood "
                    "still or got no answer, and others may lead in its place"
                )

    async def begin(self) -> None:
        """Wait until this process leads something."""
        if self._count == 1:
            await self._whole.acquire()
            self._lead(ALL)
            return
        while not self._led:
            try:
                await self._take_some()
            except OutboxError as error:
                log.warning("cannot read or take the Leases of slices: %s", error)
            if not self._led:
                await asyncio.sleep(self._settings.lease_retry_seconds)

    async def hold(self) -> None:
        """Renew what is held, for ever; what took long is followed by the next at once.

        Raises:
            LeaseLostError: Something of it is no longer ours.
        """
        started = self._clock()
        while True:
            pause = started + self._settings.lease_retry_seconds - self._clock()
            await asyncio.sleep(max(0.0, pause))
            started = self._clock()
            held = [lease for lease in self._leases.values() if lease.is_held]
            await asyncio.gather(*(lease.keep() for lease in (self._whole, *held)))

    async def watch_back(self) -> None:
        """See the renewals come back through a watch, for ever."""
        await self._whole.watch_back()

    async def share(self, territory: Territory) -> None:
        """Take what becomes free, and give up what others have too little of, for ever.

        Raises:
            LeaseLostError: The operator's Lease is no longer ours.
        """
        begun = self._led
        while True:
            await asyncio.sleep(self._settings.lease_retry_seconds)
            try:
                await self._take_some()
                if self._led - begun:
                    await territory.gained()
                await self._give_up_one(territory)
                begun = self._led
            except LeaseLostError:
                raise
            except OutboxError as error:
                log.warning("cannot share the slices, trying again: %s", error)

    async def release(self) -> None:
        """Give everything back, when nothing of ours works any more."""
        if self._count == 1:
            await self._whole.release()
            return
        self._led = frozenset()
        await asyncio.gather(*(lease.release() for lease in self._leases.values()))
        if not self._whole.is_held:
            return
        with contextlib.suppress(OutboxError, TimeoutError):
            async with asyncio.timeout(self._settings.lease_retry_seconds):
                await self._free_whole()

    async def _free_whole(self) -> None:
        """Free the operator's Lease if nobody leads with this number any more."""
        before = await self._kube.lease(self._settings.lease_namespace, self._settings.lease_name)
        if before is None or before.holder != layout(self._count):
            return
        found = await self._look()
        if any(found[lease.name].holder for lease in self._leases.values() if lease.name in found):
            return
        await self._whole.release(seen=before)

    def _lead(self, index: int) -> None:
        self._led |= {index}
        self._metrics.lead(index)

    async def _look(self) -> Mapping[str, LeaseRecord]:
        items, _ = await self._kube.list(LEASE_API, "leases", self._settings.lease_namespace)
        return {body["metadata"]["name"]: parse_lease(body) for body in items}

    async def _take_some(self) -> bool:
        """Take slices that are free; whether any were."""
        found, now = await self._look(), self._clock()
        for name in (self._whole.name, *(lease.name for lease in self._leases.values())):
            self._sightings[name] = sight(
                self._sightings.get(name), found.get(name), now, patience(self._settings)
            )
        self._see_losses()
        whole = self._sightings[self._whole.name]
        if not may_take(whole, layout(self._count), now):
            self._stand_by(whole.record.holder)
            return False
        seen = self._seen()
        taken = False
        for index in to_take(seen):
            taken = await self._take(index) or taken
        if not taken:
            await self._ask(seen)
            if not self._led:
                self._stand_by(", ".join(sorted(set(seen.holders.values()))))
        return taken

    def _see_losses(self) -> None:
        """Of what this process leads, before anything else is taken or asked for."""
        for index in self._led:
            holder = self._sightings[self._leases[index].name].record.holder
            if holder not in ("", self._settings.identity):
                raise LeaseLostError(f"{self._leases[index]} is held by {holder}")

    def _seen(self) -> Holdings:
        now, me, retry = self._clock(), self._settings.identity, self._settings.lease_retry_seconds
        holders: dict[int, str] = {}
        former: set[int] = set()
        for index, lease in self._leases.items():
            sighting = self._sightings[lease.name]
            if lease.is_held or not may_take(sighting, me, now):
                self._free_since.pop(index, None)
                if holder := me if lease.is_held else sighting.record.holder:
                    holders[index] = holder  # else: nobody, who may have one all the same
                continue
            self._free_since.setdefault(index, now)
            if sighting.record.holder == me:
                former.add(index)
        sightings = {index: self._sightings[one.name] for index, one in self._leases.items()}
        return Holdings(
            me=me,
            mine=self._led,
            may_lead=self._settings.may_lead or frozenset(self._leases),
            holders=holders,
            free_rounds={at: (now - since) / retry for at, since in self._free_since.items()},
            former=frozenset(former),
            asked_by={at: one.record.asked_by for at, one in sightings.items()},
        )

    async def _take(self, index: int) -> bool:
        """Take one; it is led once the operator's Lease has been written after that."""
        lease = self._leases[index]
        try:
            await lease.take(self._sightings[lease.name])
        except ConflictError:
            log.debug("another process was faster to take %s", lease)
            return False
        try:
            if self._whole.is_held:
                await self._whole.renew()
            else:
                await self._whole.take(self._sightings[self._whole.name])
        except OutboxError as error:
            log.info("%s is left: %s", lease, error)
            await lease.release()
            if self._led:
                raise
            return False
        self._free_since.pop(index, None)
        self._lead(index)
        return True

    async def _ask(self, seen: Holdings) -> None:
        index, pause = to_ask_for(seen), _PATIENCE_ROUNDS * self._settings.lease_retry_seconds
        if index is None or self._clock() - self._asked_at < pause:
            return
        self._asked_at = self._clock()
        lease = self._leases[index]
        with contextlib.suppress(ConflictError):  # its holder renewed it: the next round
            await lease.ask(self._sightings[lease.name].record)

    async def _give_up_one(self, territory: Territory) -> None:
        asked = {index: lease.asked_by for index, lease in self._leases.items() if lease.asked_by}
        for index in asked:
            self._leases[index].asked_by = ""
        for index, asker in asked.items():
            if index in self._led and may_give(self._seen(), asker):
                log.info("%s is given to %s, who leads less", self._leases[index], asker)
                self._led -= {index}
                await territory.leave()
                self._metrics.give_up(index)
                await self._leases[index].release(given_to=asker)
                return

    def _stand_by(self, holder: str) -> None:
        if holder != self._waits_for:
            self._waits_for = holder
            log.info("standing by: %s is held by %s", self._whole, holder or "nobody")
