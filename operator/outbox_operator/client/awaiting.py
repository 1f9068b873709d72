"""Refuse what is no asynchronous connection when a method is called, not when it is awaited.

Used by `client.outbox` and `client.inbox`. In synchronous code nobody awaits: `outbox.add(…)`
would write nothing, `if inbox.claim(…):` would always be true, and Python would say no more than
a warning when the coroutine is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from types import MethodType
from typing import Any, TypeVar, cast

from outbox_operator.client import drivers

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


class Awaited:
    """A class whose methods take a connection first and are to be awaited."""

    def _check_at_the_call(self, connection: object) -> None:
        """Refuse a connection.

        Raises:
            TypeError: Not one that can be written through; says what is wanted.
        """
        drivers.driver_of(connection)


class _Refusing:
    """A method of `Awaited` that checks its connection when it is called.

    No function around it: retries, spans and doubles ask whether it is a coroutine function, and
    before Python 3.12 that is answered from the code of what looks like a function.
    """

    def __init__(self, method: Any) -> None:
        update_wrapper(self, method)
        self.__code__ = method.__code__
        self.__defaults__ = method.__defaults__
        self.__kwdefaults__ = method.__kwdefaults__
        self._method = method

    def __get__(self, instance: object, owner: type) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        instance, *rest = args or (None,)
        if isinstance(instance, Awaited) and (rest or "connection" in kwargs):
            instance._check_at_the_call(rest[0] if rest else kwargs["connection"])
        return self._method(*args, **kwargs)


def refusing(method: F) -> F:
    """A method of `Awaited` that checks its connection at the call, and is otherwise the same."""
    return cast(F, _Refusing(method))
