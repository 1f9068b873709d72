"""How often and when a handler is tried again, where it wants something else than its consumer.

Imported by applications through `outbox_operator.consumer`; standard library only.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from outbox_operator.errors import SpecError

Seconds = float | dt.timedelta


def seconds_of(value: Seconds) -> float:
    """Return a time in seconds."""
    return value.total_seconds() if isinstance(value, dt.timedelta) else float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What follows from the exceptions of a handler, in place of the consumer's settings.

        @app.handler("order.created", retry=Retry(max_deliver=5, give_up_on=(CardRefused,)))

    An exception is looked for in `give_up_on`, then in `put_off`, by `isinstance`; a group of
    exceptions when all of them are found. Answers (`RetryAfter`, `DeadLetter`) stay what they are.

    Attributes:
        max_deliver: Failed attempts before the event is a dead letter; -1: for ever; None: the
            consumer's setting.
        backoff: Delays before each further attempt, in seconds or as timedelta; the last one
            repeats. Empty: the consumer's.
        give_up_on: Exceptions that make the event a dead letter at once.
        put_off: Exceptions that mean "not now", as `RetryAfter` with this delay does.

    Raises:
        SpecError: A number or a class that cannot be meant.
    """

    max_deliver: int | None = None
    backoff: Sequence[Seconds] = ()
    give_up_on: type[Exception] | tuple[type[Exception], ...] = ()
    put_off: Mapping[type[Exception], Seconds] = field(default_factory=dict)

    def __post_init__(self) -> None:
        most: object = self.max_deliver
        if most is not None and (type(most) is not int or most == 0 or most < -1):
            raise SpecError(f"Retry: max_deliver: wanted 1 or more, or -1 for ever, found {most!r}")
        pauses: object = self.backoff
        if isinstance(pauses, str) or not isinstance(pauses, Sequence):
            raise SpecError(f"Retry: backoff: wanted a list of seconds, found {pauses!r}")
        object.__setattr__(self, "backoff", tuple(_delay("backoff", one) for one in self.backoff))
        if isinstance(self.give_up_on, type):
            object.__setattr__(self, "give_up_on", (self.give_up_on,))
        given: object = self.give_up_on
        if not isinstance(given, tuple | list | set | frozenset):
            raise SpecError(f"Retry: give_up_on: wanted classes of exceptions, found {given!r}")
        object.__setattr__(self, "give_up_on", tuple(given))
        if not isinstance(self.put_off, Mapping):
            raise SpecError(
                f"Retry: put_off: wanted classes of exceptions with seconds, found {self.put_off!r}"
            )
        for name in ("give_up_on", "put_off"):
            for kind in getattr(self, name):
                if not (isinstance(kind, type) and issubclass(kind, Exception)):
                    raise SpecError(f"Retry: {name}: wanted classes of exceptions, found {kind!r}")
        object.__setattr__(
            self, "put_off", {kind: _delay("put_off", one) for kind, one in self.put_off.items()}
        )

    @property
    def delays(self) -> tuple[float, ...]:
        """`backoff` in seconds."""
        return tuple(map(seconds_of, self.backoff))

    def gives_up(self, error: BaseException) -> bool:
        """Whether the event is a dead letter for this exception."""
        return all(isinstance(one, self.give_up_on) for one in leaves(error))

    def delay(self, error: BaseException) -> float | None:
        """Seconds to wait if this exception means "not now", the longest of a group; else None."""
        found = [self._delay_of(one) for one in leaves(error)]
        known = [one for one in found if one is not None]
        return max(known) if len(known) == len(found) else None

    def _delay_of(self, error: BaseException) -> float | None:
        for kind, delay in self.put_off.items():
            if isinstance(error, kind):
                return seconds_of(delay)
        return None


def leaves(error: BaseException) -> Iterator[BaseException]:
    """What a group of exceptions holds, or the exception itself."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error


def _delay(name: str, value: Seconds) -> float:
    try:
        seconds = seconds_of(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise SpecError(f"Retry: {name}: wanted seconds, found {value!r}")
    return seconds
