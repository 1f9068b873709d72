"""How fast consumers go, from two samples of their statuses. Pure."""

from __future__ import annotations

import dataclasses
from datetime import datetime

from outbox_operator.cli.cluster.facts import ConsumerFacts, PipelineFacts, StreamGroup


class Rates:
    """Remembers the samples of a look, for the next one."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], tuple[datetime, int]] = {}
        self._rates: dict[tuple[str, str], float] = {}

    def of(self, facts: PipelineFacts) -> PipelineFacts:
        """The same facts with the rates of its consumers, where two samples were seen."""
        rated = self._rated(facts.namespace, facts.consumers)
        return dataclasses.replace(facts, consumers=rated)

    def of_group(self, facts: StreamGroup) -> StreamGroup:
        """The same of a stream without a pipeline."""
        rated = self._rated(facts.namespace, facts.consumers)
        return dataclasses.replace(facts, consumers=rated)

    def _rated(
        self, namespace: str, consumers: tuple[ConsumerFacts, ...]
    ) -> tuple[ConsumerFacts, ...]:
        return tuple(
            dataclasses.replace(one, per_second=self._rate(namespace, one)) for one in consumers
        )

    def _rate(self, namespace: str, one: ConsumerFacts) -> float | None:
        """Messages of the stream that a consumer has done with, a second."""
        key, at = (namespace, one.resource), one.sample.read_at
        if not one.sample.known or at is None or one.handled_to is None:
            self._before.pop(key, None)
            self._rates.pop(key, None)
            return None
        before = self._before.get(key)
        if before is not None and at > before[0]:
            seconds = (at - before[0]).total_seconds()
            self._rates[key] = max(0.0, (one.handled_to - before[1]) / seconds)
        if before is None or at > before[0]:
            self._before[key] = (at, one.handled_to)
        return self._rates.get(key)
