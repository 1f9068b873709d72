"""One way to write events through every driver and the recorder, for the suite they all pass."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from outbox_operator.client import Outbox, SyncOutbox
from outbox_operator.testing import (
    RecordedEvent,
    RecordingConnection,
    RecordingOutbox,
    RecordingSyncOutbox,
)
from support.shop import DRIVERS, SYNC_DRIVERS, Insert, Shop

RECORDERS = {"recorder": RecordingOutbox, "sync-recorder": RecordingSyncOutbox}
NAMES = [*DRIVERS, *SYNC_DRIVERS, *RECORDERS]


async def call(result: Any) -> Any:
    """What a method of either outbox returns."""
    return await result if inspect.isawaitable(result) else result


class Book:
    """An outbox of some driver, and what was committed to it.

    Args:
        name: Of the driver.
        shop: The database.
    """

    def __init__(self, name: str, shop: Shop) -> None:
        self.name = name
        self.shop = shop
        self._recorder: Any = None

    @property
    def records(self) -> bool:
        """Whether there is no database."""
        return self.name in RECORDERS

    def outbox(self, **settings: Any) -> Any:
        """The outbox, made as an application would."""
        if self.records:
            self._recorder = RECORDERS[self.name](**settings)
            return self._recorder
        return (Outbox if self.name in DRIVERS else SyncOutbox)(**settings)

    def opened(self) -> AbstractAsyncContextManager[tuple[Any, Insert]]:
        """A transaction: connection, and how to write an order."""
        if self.records:
            return _recorded()
        return {**DRIVERS, **SYNC_DRIVERS}[self.name](self.shop.url)

    async def events(self) -> list[RecordedEvent]:
        """What was committed."""
        if self._recorder is not None:
            return list(self._recorder.events)
        return [
            RecordedEvent(
                id=row["event_id"],
                type=row["event_type"],
                key=row["partition_key"],
                payload=json.loads(row["payload"]),
                headers=json.loads(row["headers"]),
                routing_key=row["routing_key"],
            )
            for row in await self.shop.events()
        ]


@asynccontextmanager
async def _recorded() -> AsyncIterator[tuple[Any, Insert]]:
    connection = RecordingConnection()

    async def insert(order: str) -> None:
        """Orders are somebody else's."""

    with connection.transaction():
        yield connection, insert
