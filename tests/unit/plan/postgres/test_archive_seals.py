"""The chain of seals, without a database; tests/integration/archive/test_seals.py has the rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from outbox_operator.plan.postgres.archive_seals import (
    BEGINNING,
    NOTHING,
    Chain,
    Head,
    Kind,
    Seal,
    drop_faults,
    shorter,
)

HOUR = timedelta(hours=1)


def chain(*kinds: Kind) -> list[Seal]:
    """Seals that follow each other; two of rows share their moments."""
    made: list[Seal] = []
    start = BEGINNING
    for kind in kinds:
        last = made[-1] if made else None
        together = last is not None and last.kind == kind == "rows"
        if last is not None and kind != "dropped" and not together:
            start = max(one.archived_to for one in made if one.kind != "dropped")
        made.append(
            Seal(
                number=len(made) + 1, kind=kind, class_="a", low=BEGINNING, high=BEGINNING + HOUR,
                archived_from=start, archived_to=start + HOUR, rows=1, root=NOTHING,
                previous=last.hash if last else NOTHING, sealed_at=start,
            ).closed()
        )  # fmt: skip
    return made


def faults(seals: list[Seal], *known: Head) -> list[str]:
    follower = Chain({}, known)
    found = [fault for seal in seals for fault in follower.follow(seal)]
    return [*found, *follower.end()]


def test_a_chain_that_is_whole() -> None:
    seals = chain("idle", "rows", "rows", "dropped", "idle", "rows")
    noted = [Head(number=one.number, hash=one.hash) for one in seals[2:4]]
    assert faults(seals, *noted) == []
    assert faults([]) == []


def test_each_field_counts() -> None:
    [_, seal] = chain("idle", "rows")
    changes = {
        "number": 3, "kind": "idle", "class_": "b", "low": BEGINNING + HOUR, "high": BEGINNING,
        "archived_from": BEGINNING, "archived_to": BEGINNING, "rows": 2, "root": b"x",
        "previous": b"x", "sealed_at": BEGINNING + 9 * HOUR, "key": "k", "due_at": BEGINNING,
    }  # fmt: skip
    for name, value in changes.items():
        changed = replace(seal, **{name: value})  # type: ignore[arg-type]
        assert changed.closed().hash != seal.hash, name


def test_what_is_wrong_is_said() -> None:
    seals = chain("idle", "rows", "rows", "idle")
    assert faults([seals[0], *seals[2:]]) == ["seal 2 is missing: 3 comes next"]
    # Whoever can compute hashes makes a chain of their own; what was noted is not in it.
    forged = replace(seals[1], rows=9).closed()
    [fault] = faults([seals[0], forged, *seals[2:]])
    assert fault == "seal 3 (class a, 1970-01-01 00:00) does not hold the hash of the one before"
    noted = Head(number=2, hash=seals[1].hash)
    assert faults([seals[0], forged], noted) == [f"{forged.name} is another one than was noted"]
    assert faults(seals[:1], noted) == [
        "the chain was cut: seal 2 was there when it was noted, and the last one is 1"
    ]
    later = replace(seals[3], archived_from=seals[3].archived_from + HOUR).closed()
    [fault] = faults([*seals[:3], later])
    assert fault.startswith("seal 4 begins with 1970-01-01T03")


def test_where_signatures_have_to_be() -> None:
    def signed(*keys: str | None) -> list[Seal]:
        made: list[Seal] = []
        kinds: list[Kind] = ["rows"] * len(keys)
        for seal, key in zip(chain(*kinds), keys, strict=True):
            previous = made[-1].hash if made else NOTHING
            closed = replace(seal, key=key, previous=previous).closed()
            made.append(replace(closed, signature=b"ok" if key else None))
        return made

    def found(seals: list[Seal]) -> list[str]:
        follower = Chain({"k": lambda _, signature: signature == b"ok"})
        said = [fault for seal in seals for fault in follower.follow(seal)]
        return [one.partition(" (")[0] for one in (*said, *follower.end())]

    assert found(signed("k", "k")) == []
    # One that begins with a key later on: the first signature is of all that is before it.
    assert found(signed(None, None, "k")) == []
    assert found(signed(None, "k", None)) == ["seal 3"]
    assert found(signed(None, None)) == ["no seal is signed, and there is a key"]
    stripped = signed("k", "k")
    assert found([replace(stripped[0], signature=None), stripped[1]]) == ["seal 1"]
    assert found([replace(stripped[0], key=None, signature=None), stripped[1]]) == ["seal 1"]


def test_noted_seals_are_read_again() -> None:
    head = Head(number=7, hash=bytes(range(32)))
    assert Head.parse(str(head)) == head
    for text in ("", "7", "7:", "x:" + "0" * 64, "7:" + "z" * 64, "-1:" + "0" * 64):
        with pytest.raises(ValueError, match=r"wanted <number>:<hash|non-hexadecimal"):
            Head.parse(text)


def test_rounds_that_hold_too_many_rows_get_shorter() -> None:
    start = datetime.fromisoformat("2026-01-01T00:00:00Z")
    end = start + timedelta(seconds=900)
    while (rows := round((end - start).total_seconds() * 100_000)) > 1_000_000:
        before, end = end, shorter(start, end, rows)
        assert start < end < before
    assert end - start > timedelta(seconds=5)
    assert shorter(start, start + timedelta(seconds=2), 10**12) == start + timedelta(seconds=1)


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("change", "keep", "wanted"),
    [
        ({}, {"a": 86_400.0}, None),
        ({}, {"a": 3600.0}, None),
        ({"rows": 2}, {"a": 86_400.0}, "2 rows went with the partition, and seals have 1"),
        ({"due_at": None}, {"a": 86_400.0}, "not when they were old enough"),
        ({"sealed_at": BEGINNING + DAY}, {"a": 86_400.0}, "were to be kept until 1970-01-02 01:00"),
        ({}, {"a": 172_800.0}, "after 1 days, and class a has to be kept for 2 days"),
        ({}, {}, "nobody says how long class a had to be kept: --kept a=86400s"),
    ],
)
def test_what_retention_took_was_due(
    change: dict[str, object], keep: dict[str, float], wanted: str | None
) -> None:
    [_, dropped] = chain("rows", "dropped")
    due = BEGINNING + HOUR + DAY
    dropped = replace(dropped, due_at=due, sealed_at=due)
    found = list(drop_faults(replace(dropped, **change), 1, keep))  # type: ignore[arg-type]
    assert len(found) == (wanted is not None)
    assert wanted is None or wanted in found[0]
