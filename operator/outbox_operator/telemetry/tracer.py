"""What makes spans, and a span: for those who have some made. Knows nothing of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, Protocol

from outbox_operator.wire.trace_context import TraceParent

MOST_LINKS: Final = 8
"""Of a span about many events; each would cost as much as a span."""

Kind = Literal["internal", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int]


class Span(Protocol):
    """A span that was begun."""

    @property
    def place(self) -> TraceParent:
        """What its children name, and spans that link to it."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def end(self, at: int | None = None, *, error: str = "") -> None:
        """End it; call once.

        Args:
            at: When, in nanoseconds since 1970; None: now.
            error: What went wrong, in a sentence without secrets; empty: nothing did.
        """


class Tracer(Protocol):
    """Makes spans. Nothing of it waits, and nothing of it raises."""

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: TraceParent | None,
        attributes: Attributes,
        *,
        links: Sequence[TraceParent] = (),
        start: int | None = None,
    ) -> Span:
        """Begin a span.

        Args:
            name: Of few values: no ids.
            parent: None: it begins a trace, which is recorded as those of its links are.
            links: `MOST_LINKS` of them at most.
            start: In nanoseconds since 1970; None: now.
        """

    def active(self, span: Span) -> AbstractContextManager[object]:
        """Make a span the parent of those that the code in the block begins."""

    def within(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """The same with the span that headers name, if any, recorded or not.

        They are read when somebody asks, which few handlers do.
        """

    def close(self) -> None:
        """Hand on the spans that are left, within a bounded time."""
