"""A few places for work that takes much memory."""

from __future__ import annotations

from outbox_operator.api import meta
from outbox_operator.controller.reconcile.room import Room
from outbox_operator.controller.runtime.reconciler import ObjectKey


def key(name: str) -> ObjectKey:
    """Of a task; the first letter is its namespace."""
    return ObjectKey(meta.TASK, name[0], name)


def test_a_few_at_once_and_who_waits_is_woken_in_turn() -> None:
    woken: list[str] = []
    room = Room(lambda one, _: woken.append(one.name), places=2)
    waiting = {name: room.enter(key(name), name) for name in ("a1", "a2", "a3", "a4", "b1")}
    assert waiting == {"a1": None, "a2": None, "a3": 1, "a4": 2, "b1": 3}
    assert room.enter(key("a1"), "a1") is None  # again: it is there already
    assert room.enter(key("a3"), "a3") == 3
    assert woken == []
    room.leave("a1")
    assert woken == ["b1"]  # whose namespace has no place
    assert room.enter(key("b1"), "b1") is None
    assert room.enter(key("a1"), "a1") == 3
    room.leave("a3")  # suspended
    room.leave("a2")
    assert woken == ["b1", "a4"]
    room.leave("b1")
    room.leave("a4")
    assert woken == ["b1", "a4", "a1"]
    assert room.enter(key("b1"), "b1") is None


def test_a_crowd_of_one_tenant_keeps_nobody_waiting() -> None:
    """Each goes behind the others after its window, and has many of them."""
    room, turns = Room(lambda one, _: granted.append(one.name), places=2), list[str]()
    granted: list[str] = []
    names = [*(f"a{number}" for number in range(50)), "b0", "c0", "d0"]
    inside = [name for name in names if room.enter(key(name), name) is None]
    while len(turns) < 40:
        name = inside.pop(0)
        turns.append(name)
        room.leave(name)
        inside += granted
        granted.clear()
        if room.enter(key(name), name) is None:
            inside.append(name)
    served = [sum(name[0] == namespace for name in turns) for namespace in "abcd"]
    assert min(served) >= 8, served
