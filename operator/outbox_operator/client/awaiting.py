"""Refuse what is no asynchronous connection when a method is called, not when it is awaited.

Used by `client.outbox` and `client.inbox`. In synchronous code nobody awaits: `outbox.add(…)`
would write nothing, `if inbox.claim(…):` would always be true, and Python would say no more than
a warning when the coroutine is thrown away.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

from outbox_operator.client import drivers

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


class Awaited:
    """A class whose methods take a connection first and are to be awaited."""

    def _check(self, connection: object) -> None:
        """Refuse a connection.

        Raises:
            TypeError: Not one that can be written through; says what is wanted.
        """
        drivers.driver_of(connection)


def refusing(method: F) -> F:
    """A method of `Awaited` that checks its connection at the call.

    It stays a coroutine function for those who ask, such as `unittest.mock`.
    """

    @wraps(method)
    def checked(self: Awaited, connection: object, *args: object, **kwargs: object) -> Any:
        self._check(connection)
        return method(self, connection, *args, **kwargs)

    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(checked)  # type: ignore[return-value]
    # What `unittest.mock` looks at before that.
    checked._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return checked  # type: ignore[return-value]
