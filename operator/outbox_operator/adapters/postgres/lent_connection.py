"""A connection that is lent to a handler, and notices what of it no statement can undo."""

from __future__ import annotations

import datetime as dt
from typing import Any

import asyncpg


class LentConnection(asyncpg.Connection):
    """The driver's, which remembers whether its user changed how it works.

    Attributes:
        altered: It must not be handed on: codecs or observers of its user are in it.
        server_started: When its server was started.
    """

    altered = False
    server_started: dt.datetime | None = None

    async def set_type_codec(self, *args: Any, **options: Any) -> None:
        """As the driver's."""
        self.altered = True
        await super().set_type_codec(*args, **options)

    async def reset_type_codec(self, *args: Any, **options: Any) -> None:
        """As the driver's."""
        self.altered = True
        await super().reset_type_codec(*args, **options)

    async def set_builtin_type_codec(self, *args: Any, **options: Any) -> None:
        """As the driver's."""
        self.altered = True
        await super().set_builtin_type_codec(*args, **options)

    def add_query_logger(self, callback: Any) -> None:
        """As the driver's."""
        self.altered = True
        super().add_query_logger(callback)

    def add_termination_listener(self, callback: Any) -> None:
        """As the driver's."""
        self.altered = True
        super().add_termination_listener(callback)
