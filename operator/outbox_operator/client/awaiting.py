"""What is seen of a method when it is called, because it may never be awaited.

Used by `client.outbox` and `client.inbox`. In synchronous code nobody awaits: `outbox.add(…)`
would write nothing, `if inbox.claim(…):` would always be true, and Python would say no more than
a warning when the coroutine is thrown away. So what is no asynchronous connection is refused at
the call; and a connection that is lent to a handler is told of each call, as of its own
statements, because it fails the handler that left out an `await`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from types import MethodType
from typing import Any, Final, TypeVar, cast

from outbox_operator.client import drivers

NOTE: Final = "outbox_note_statement"
"""Method of a connection that wants to know what is made with it."""

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


class Awaited:
    """A class whose methods take a connection first and are to be awaited."""

    def __init_subclass__(cls, **options: object) -> None:
        """See the calls of methods that a class of somebody else's puts in the place of ours."""
        super().__init_subclass__(**options)
        for name, method in list(vars(cls).items()):
            if (
                not isinstance(method, _Seen)
                and any(isinstance(vars(base).get(name), _Seen) for base in cls.__mro__[1:])
                and inspect.iscoroutinefunction(method)
            ):
                setattr(cls, name, _Seen(method))

    def _check_at_the_call(self, connection: object) -> None:
        """Refuse a connection.

        Raises:
            TypeError: Not one that can be written through; says what is wanted.
        """
        drivers.driver_of(connection)


class _Seen:
    """A method of `Awaited` that checks its connection when it is called, and tells it.

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
        if not isinstance(instance, Awaited) or not (rest or "connection" in kwargs):
            return self._method(*args, **kwargs)
        connection: Any = rest[0] if rest else kwargs["connection"]
        instance._check_at_the_call(connection)
        made = self._method(*args, **kwargs)
        note = getattr(connection, NOTE, None)
        if note is not None:
            note(made)
        return made


def seen(method: F) -> F:
    """A method of `Awaited` whose calls are seen; otherwise the same."""
    return cast(F, _Seen(method))
