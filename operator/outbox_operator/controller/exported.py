"""The latest numbers of each object in the operator's care, as Prometheus reads them.

Passes hand over what they found out; nothing is asked here, and nothing is read twice. A number
leaves with its object, when a pass could not read it, when no pass has looked for long, and when
the process no longer leads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from outbox_operator.api import meta
from outbox_operator.api.conditions import Condition
from outbox_operator.api.resource import Meta
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.plan.status import numbers
from outbox_operator.plan.status.sampled import Sampled, Values, of_conditions
from outbox_operator.telemetry.declaration import Declaration

SAMPLE_TIMES: Final = {
    meta.PIPELINE: numbers.PIPELINE_SAMPLED,
    meta.CONSUMER: numbers.CONSUMER_SAMPLED,
    meta.STREAM: numbers.STREAM_SAMPLED,
}


@dataclass(slots=True)
class _Group:
    """Numbers that were read together, and when, by our monotonic clock."""

    values: Values = field(default_factory=dict)
    looked_at: float = 0.0

    def take(self, values: Values | None, now: float) -> None:
        if values is not None:
            # One that is none, of a server that may say anything, would end everybody's page.
            self.values = {one: value for one, value in values.items() if _is_number(value)}
            self.looked_at = now


@dataclass(slots=True)
class _Known:
    """What is known of one object."""

    uid: str
    labels: tuple[str, ...] | None = None
    sampled_at: float | None = None
    conditions: Sequence[Condition] = ()
    groups: tuple[_Group, ...] = field(default_factory=lambda: (_Group(), _Group(), _Group()))


@dataclass(frozen=True, slots=True)
class _Ended:
    """A task at its end: a record, of which there may be any number."""

    uid: str
    labels: tuple[str, ...]
    at: float


class Exported(Collector):
    """Keeps the numbers, and yields them with each scrape.

    Attributes:
        registry: Has this collector alone; may be read in another thread.

    Args:
        uid_of: UID of an object that is there; None: it is gone.
        age_seconds: Numbers that were read longer ago than that are left out.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        uid_of: Callable[[ObjectKey], str | None],
        age_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uid_of = uid_of
        self._age_seconds = age_seconds
        self._clock = clock
        self._known: dict[ObjectKey, _Known] = {}
        self._ended: dict[ObjectKey, _Ended] = {}
        self._leads = False
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def begin(self) -> None:
        """This process leads from now on."""
        self._leads = True

    def end(self) -> None:
        """It does not any more: what another process says is true now."""
        self._leads = False
        self._known.clear()
        self._ended.clear()

    def put(self, owner: Meta, sampled: Sampled, conditions: Sequence[Condition]) -> None:
        """What a pass over an object found out, and the conditions it came to."""
        if not self._leads:
            return
        key, now = ObjectKey.of(owner), self._clock()
        known = self._known.get(key)
        if known is None or known.uid != owner.uid:
            known = self._known[key] = _Known(owner.uid)
        known.labels = sampled.labels or known.labels
        if sampled.values:
            known.sampled_at = sampled.at
        elif sampled.at is not None and sampled.at <= time.time():
            # A status may be older than what we know. A clock that was ahead wrote a later one.
            known.sampled_at = max(known.sampled_at or sampled.at, sampled.at)
        read = (sampled.values, sampled.pods, sampled.archive)
        for group, values in zip(known.groups, read, strict=True):
            group.take(values, now)
        known.conditions = conditions

    def confirm(self, key: ObjectKey) -> None:
        """The numbers of an object were read again outside of a pass, and are the same."""
        known = self._known.get(key)
        if known is not None and known.sampled_at is not None:
            known.sampled_at = time.time()
            for group in known.groups:
                group.looked_at = self._clock()

    def end_task(self, key: ObjectKey, uid: str, labels: tuple[str, ...], at: float | None) -> None:
        """A task is at its end: it has no numbers of its own any more.

        Args:
            key: The task.
            uid: Of the task.
            labels: Of `outbox_task_ended_timestamp_seconds`: one series for all tasks with these.
            at: When it ended, as Unix time; None: it is not counted.
        """
        self.forget(key)
        if self._leads and at is not None:
            self._ended[key] = _Ended(uid, labels, at)

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._known.pop(key, None)
        self._ended.pop(key, None)

    def describe(self) -> Iterable[Metric]:
        """Name the metrics, without their series."""
        return [_family(one) for one in numbers.DECLARATIONS]

    def collect(self) -> Iterable[Metric]:
        """Everything that is known now."""
        families = {one: _family(one) for one in numbers.DECLARATIONS}
        oldest = self._clock() - self._age_seconds
        # A copy: passes go on meanwhile.
        for key, known in list(self._known.items()):
            if self._uid_of(key) != known.uid:
                continue  # the pass that forgets it is still to come
            for labels, value in of_conditions(key.kind, key.namespace, key.name, known.conditions):
                families[numbers.CONDITION].add_metric(labels, value)
            if known.labels is None:
                continue
            if known.sampled_at is not None:
                families[SAMPLE_TIMES[key.kind]].add_metric(known.labels, known.sampled_at)
            for group in known.groups:
                if group.looked_at >= oldest:
                    for metric, value in group.values.items():
                        families[metric].add_metric(known.labels, value)
        last: dict[tuple[str, ...], float] = {}
        for key, ended in list(self._ended.items()):
            if self._uid_of(key) == ended.uid:
                last[ended.labels] = max(ended.at, last.get(ended.labels, ended.at))
        for labels, at in last.items():
            families[numbers.TASK_ENDED].add_metric(labels, at)
        return families.values()


def _is_number(value: float) -> bool:
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _family(one: Declaration) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
    return kind(one.name, one.help, labels=one.labels)
