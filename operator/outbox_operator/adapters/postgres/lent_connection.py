"""A connection that is lent to a handler, and notices what of it no statement can undo."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

import asyncpg

_LENDER: Final = ContextVar("_LENDER", default=False)
"""Whether it is the lender who uses a connection, or what he has begun since he took it back."""


@contextlib.contextmanager
def lending() -> Iterator[None]:
    """In this block the task lends connections; what it takes back is its own to the end of it."""
    before = _LENDER.set(False)
    try:
        yield
    finally:
        _LENDER.reset(before)


class LentConnection(asyncpg.Connection):
    """The driver's, which remembers whether its user changed how it works.

    Attributes:
        altered: It must not be handed on: codecs or observers of its user are in it.
        server_started: When its server was started.
        lent: Whether handlers may use it. What one of them left running would else write between
            the end of its transaction and the pool, in a transaction of its own.
    """

    altered = False
    server_started: dt.datetime | None = None
    lent = True

    def lend(self) -> None:
        """Let anybody use it who has it."""
        self.lent = True

    def take_back(self) -> None:
        """Let nobody use it any more but who lends. See `lending`."""
        self.lent = False
        _LENDER.set(True)

    def _check_open(self) -> None:
        if not self.lent and not _LENDER.get():
            raise asyncpg.InterfaceError(
                "context.connection is lent for the time of a call, and this one has ended; await "
                "what uses it before the handler returns"
            )
        super()._check_open()  # type: ignore[misc] # the driver's, before each statement

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
