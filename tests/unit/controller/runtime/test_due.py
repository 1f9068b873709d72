"""Which pass is the first one, compared with a look at all of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from outbox_operator.controller.runtime.due import Due, Pass
from outbox_operator.controller.runtime.reconciler import ObjectKey, ReconcileResult
from outbox_operator.controller.runtime.schedule import Schedule, Urgency

NAMESPACES = [f"n{number}" for number in range(7)]


class Model:
    """What is due, without an index."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.tickets: dict[ObjectKey, int] = {}
        self.live: dict[ObjectKey, Pass] = {}
        self.due = Due(self.is_live, self.running)
        self._next = 0

    def is_live(self, ticket: int, key: ObjectKey) -> bool:
        return self.tickets.get(key) == ticket

    def push(self, key: ObjectKey, urgency: int, due: float) -> None:
        self._next += 1
        self.tickets[key] = self._next
        self.live[key] = (urgency, due, self._next, key)
        self.due.push(self.live[key])

    def forget(self, key: ObjectKey) -> None:
        self.tickets.pop(key, None)
        self.live.pop(key, None)

    def start(self, namespace: str) -> None:
        taken = self.due.pop(namespace)
        self.forget(taken[3])
        self.running[namespace] += 1

    def end(self, namespace: str) -> None:
        self.running[namespace] -= 1
        if not self.running[namespace]:
            del self.running[namespace]
            self.due.calm(namespace)

    def firsts(self) -> set[Pass]:
        """Of each busy namespace its first, and the first of all calm ones."""
        by_namespace: dict[str, Pass] = {}
        for one in sorted(self.live.values()):
            by_namespace.setdefault(one[3].namespace, one)
        calm = [one for name, one in by_namespace.items() if not self.running[name]]
        busy = {one for name, one in by_namespace.items() if self.running[name]}
        return busy | ({min(calm)} if calm else set())


@pytest.mark.parametrize("seed", range(20))
def test_the_index_says_what_a_look_at_all_says(seed: int) -> None:
    chance, model = random.Random(seed), Model()
    for _ in range(1500):
        key = ObjectKey("EventStream", chance.choice(NAMESPACES), str(chance.randrange(5)))
        deed = chance.random()
        if deed < 0.45:
            model.push(key, chance.randrange(2), float(chance.randrange(20)))
        elif deed < 0.55:
            model.forget(key)
        elif deed < 0.8 and (firsts := sorted(model.firsts())):
            namespace = chance.choice(firsts)[3].namespace
            assert model.due.first(namespace) in firsts
            model.start(namespace)
        elif model.running:
            model.end(chance.choice(sorted(model.running)))
        assert set(model.due.firsts()) == model.firsts()
        assert set(model.due) == set(model.live.values())


def test_a_turn_costs_the_same_however_many_namespaces_wait() -> None:
    """As after a start, when something is due in each of thousands."""

    class Counting(Schedule):
        looks = 0

        def _is_live(self, ticket: int, key: ObjectKey) -> bool:
            self.looks += 1
            return super()._is_live(ticket, key)

    def looks(namespaces: int) -> float:
        schedule, taken = Counting(20), 0
        for number in range(namespaces):
            for kind in ("OutboxPipeline", "EventStream"):
                key = ObjectKey(kind, f"n{number}", "a")
                schedule.wake(key, "created", Urgency.BACKGROUND, 0)
        under_way: list[ObjectKey] = []
        while True:
            turn = schedule.take(1)
            if turn is not None:
                under_way.append(turn.key)
                taken += 1
            elif under_way:
                schedule.finish(under_way.pop(0), ReconcileResult(), 1, 0.5)
            else:
                break
        assert taken == 2 * namespaces
        return schedule.looks / taken

    assert looks(1000) < 2 * looks(100)
