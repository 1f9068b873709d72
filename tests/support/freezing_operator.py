"""An operator whose passes write, and that stands still at a place when it is told to by SIGUSR1.

Run as `python -m support.freezing_operator` from `tests/`; `OUTBOX_TEST_FREEZES` names the place,
with an exclamation mark if it needs not be told. Somebody else wakes it, by SIGCONT.

    writing     before a pass writes
    written     when that was answered
    renewed     when a renewal of a Lease was answered
    taken       when a slice's Lease was taken, and nothing is led by that yet
    asked       when it has asked for a slice
    left        when it has ended its work in a slice that somebody asked for, and still holds it
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from outbox_operator.api import meta
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.runtime.lease import Lease
from outbox_operator.controller.runtime.reconciler import ObjectKey, Reconciler, ReconcileResult
from outbox_operator.controller.runtime.territory import WorkedTerritory
from support.recording_operator import BUSY_SECONDS, run

VARIABLE = "OUTBOX_TEST_FREEZES"
PLACES = ("writing", "written", "renewed", "taken", "asked", "left")
MARK = "mark"
LABEL = "test.outbox.dev/written-by"


class _Freezer:
    """Stops this process at its place."""

    def __init__(self, place: str) -> None:
        self._place = place.removesuffix("!")
        self._told = place.endswith("!")
        signal.signal(signal.SIGUSR1, self._tell)

    def _tell(self, *_: object) -> None:
        self._told = True

    def at(self, place: str) -> None:
        """Here it is."""
        if self._told and place == self._place:
            self._told = False
            os.kill(os.getpid(), signal.SIGSTOP)

    def after(self, owner: type[Any], method: str, place: str) -> None:
        """Behind each call of a method."""
        original = getattr(owner, method)

        async def replaced(this: Any, *args: Any, **options: Any) -> Any:
            answer = await original(this, *args, **options)
            self.at(place)
            return answer

        setattr(owner, method, replaced)


class Writer:
    """Writes down, where everybody sees it, who makes passes: again and again."""

    def __init__(self, context: Context, freezer: _Freezer) -> None:
        self._context = context
        self._freezer = freezer
        self._numbers = itertools.count()

    async def reconcile(self, key: ObjectKey, _trigger: str) -> ReconcileResult:
        if self._context.objects.get(key) is None:
            return ReconcileResult()
        me = self._context.settings.identity
        await asyncio.sleep(BUSY_SECONDS)
        self._freezer.at("writing")
        await self._context.kube.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": MARK, "namespace": key.namespace, "labels": {LABEL: "test"}},
                "data": {"by": me, "process": f"{os.getpid()}-{next(self._numbers)}"},
            }
        )
        self._freezer.at("written")
        return ReconcileResult(requeue_after=BUSY_SECONDS)


def _main() -> int:
    freezer = _Freezer(os.environ[VARIABLE])
    freezer.after(Lease, "keep", "renewed")
    freezer.after(Lease, "take", "taken")
    freezer.after(Lease, "ask", "asked")
    freezer.after(WorkedTerritory, "leave", "left")

    def build(context: Context) -> Mapping[str, Reconciler]:
        return dict.fromkeys(meta.PLURALS, Writer(context, freezer))

    return run(build)


if __name__ == "__main__":
    sys.exit(_main())
