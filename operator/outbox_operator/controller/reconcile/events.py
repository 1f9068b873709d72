"""Kubernetes events and log lines about our objects. Called by the reconcilers; never raises."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from outbox_operator.api.conditions import Condition, ConditionType
from outbox_operator.errors import OutboxError
from outbox_operator.plan.advice import next_step
from outbox_operator.plan.status.conditions import ROUTINE
from outbox_operator.reasons import Reason

if TYPE_CHECKING:
    from outbox_operator.adapters.kubernetes.client import Kube

log = logging.getLogger(__name__)

LONGEST_NOTE = 1000
"""Bytes: Kubernetes takes 1 kB."""


class EventReporter:
    """Says what happened to an object, to people who look at it and in the log."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def event(
        self,
        body: Mapping[str, Any],
        *,
        reason: Reason,
        note: str,
        type: Literal["Normal", "Warning"] = "Warning",
    ) -> None:
        """Record a Kubernetes event; failing to do so is logged and nothing more.

        A warning ends with the command that shows more or heals it.
        """
        if type == "Warning":
            metadata = body["metadata"]
            place = (body["kind"], metadata.get("namespace", ""), metadata["name"])
            note = with_step(note, next_step(reason, *place))
        try:
            await self._kube.record_event(
                body, type=type, reason=reason, note=note, action="Reconcile"
            )
        except OutboxError as error:
            log.warning("could not record event %s: %s", reason, error)

    async def ready(
        self, body: Mapping[str, Any], before: Sequence[Condition], after: Sequence[Condition]
    ) -> None:
        """One event whenever Ready changes its status or reason; a Warning when it is wrong."""
        old = next((c for c in before if c.type == ConditionType.READY), None)
        new = next(c for c in after if c.type == ConditionType.READY)
        if old is not None and (old.status, old.reason) == (new.status, new.reason):
            return
        reason = Reason(new.reason)
        good = new.status == "True" or reason in ROUTINE
        log.log(
            logging.INFO if good else logging.WARNING, "%s: %s", new.reason, new.message or "ready"
        )
        await self.event(
            body,
            type="Normal" if good else "Warning",
            reason=reason,
            note=new.message or f"{body['kind']} is ready",
        )

    async def deprecated(self, body: Mapping[str, Any], annotation: str, instead: str) -> None:
        """An annotation was heeded that a coming version will not know."""
        note = f"annotation {annotation} was heeded; a coming version does not know it: {instead}"
        log.warning("%s", note)
        await self.event(body, reason=Reason.DEPRECATED, note=note)

    async def moved(self, body: Mapping[str, Any], texts: Iterable[str]) -> None:
        """What is elsewhere now, because the specification or a Secret says so."""
        for text in texts:
            log.info("moved: %s", text)
            await self.event(body, type="Normal", reason=Reason.MOVED, note=text)

    async def scaled(self, body: Mapping[str, Any], texts: Iterable[str]) -> None:
        """There shall be another number of pods."""
        for text in texts:
            log.info("scaled: %s", text)
            await self.event(body, type="Normal", reason=Reason.SCALED, note=text)

    async def noticed(self, body: Mapping[str, Any], notices: Iterable[tuple[Reason, str]]) -> None:
        """What somebody else did that stays so."""
        for reason, text in notices:
            log.warning("%s: %s", reason, text)
            await self.event(body, reason=reason, note=text)

    async def drift(self, body: Mapping[str, Any], texts: Iterable[str]) -> None:
        """What somebody had changed and was put back."""
        for text in texts:
            log.warning("drift corrected: %s", text)
            await self.event(body, reason=Reason.DRIFT_CORRECTED, note=text)


def with_step(note: str, step: str) -> str:
    """A note that ends with a command, which stays whole when the note has to be cut."""
    if not step or step in note:
        return note
    end = f"; see: {step}"
    room = LONGEST_NOTE - len(end.encode())
    encoded = note.encode()
    if len(encoded) > room:
        note = f"{encoded[: room - 3].decode(errors='ignore')}…"
    return note.rstrip(".") + end
