"""What in a change deserves a pass, and how the watch is measured against the lists."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.controller.runtime.objects import Missed, Objects, key_of, trigger_of


def body(
    name: str = "a", version: int = 1, policy: str = "Delete", **metadata: Any
) -> dict[str, Any]:
    return {
        "apiVersion": meta.API_VERSION,
        "kind": meta.STREAM,
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": str(version),
            "finalizers": [meta.FINALIZER],
            **metadata,
        },
        "spec": {"deletionPolicy": policy},
    }


A = key_of(body())


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("before", "after", "trigger"),
    [
        ({}, {"version": 2}, None),
        ({}, {"uid": "another"}, "created"),
        ({}, {"generation": 2}, "generation"),
        ({}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "deleted"),
        ({}, {"labels": {"team": "a"}}, "labels"),
        ({}, {"annotations": {meta.PAUSE_ANNOTATION: "true"}}, "annotation"),
        ({"annotations": {meta.PAUSE_ANNOTATION: "true"}}, {}, "annotation"),
        ({}, {"annotations": {meta.RECONCILE_AT_ANNOTATION: "now"}}, "annotation"),
        ({"annotations": {meta.RECONCILE_AT_ANNOTATION: "now"}}, {}, None),
        ({}, {"annotations": {meta.RESTART_ANNOTATION: "relay"}}, "annotation"),
        ({"annotations": {meta.APPROVE_PLAN_ANNOTATION: "x"}}, {}, None),
        ({}, {"annotations": {"someone.else/note": "x"}}, None),
        ({}, {"finalizers": []}, "finalizer"),
        ({"policy": "Retain"}, {"policy": "Retain", "finalizers": []}, None),
        ({"finalizers": []}, {}, None),
        ({}, {"finalizers": [meta.FINALIZER, "someone.else/hold"]}, None),
    ],
)
def test_trigger(before: dict[str, Any], after: dict[str, Any], trigger: str | None) -> None:
    assert trigger_of(body(**before), body(**after)) == trigger


def test_something_new_deserves_a_pass() -> None:
    assert trigger_of(None, body()) == "created"


def test_an_older_version_changes_nothing() -> None:
    objects = Objects()
    objects.observed(body(version=5, generation=2))

    old, new = objects.observed(body(version=4))

    assert old is new
    assert objects.get(A) is new
    assert new["metadata"]["generation"] == 2


def test_bookkeeping_of_field_managers_is_not_kept() -> None:
    objects = Objects()
    objects.observed(body(managedFields=[{"manager": "kubectl"}]))
    found = objects.get(A)
    assert found is not None
    assert "managedFields" not in found["metadata"]


def test_the_deletion_of_a_namesake_does_not_remove_its_successor() -> None:
    objects = Objects()
    objects.observed(body(version=7, uid="second"))

    assert objects.lost(body(version=6, uid="first")) is None
    assert objects.get(A) is not None


def test_a_list_finds_what_the_watch_missed() -> None:
    objects = Objects()
    objects.observed(body("same", 1))
    objects.observed(body("changed", 2))
    objects.observed(body("status-only", 3))
    objects.observed(body("vanished", 4))

    missed = objects.compare(
        meta.STREAM,
        [
            body("same", 1),
            body("changed", 12, generation=2),
            body("status-only", 13),
            body("new", 14),
        ],
        20,
        None,
    )

    assert missed == [
        Missed(key_of(body("changed")), "generation"),
        Missed(key_of(body("new")), "created"),
        Missed(key_of(body("vanished")), "gone"),
    ]
    assert {one["metadata"]["name"] for one in objects.of_kind(meta.STREAM)} == {
        "same",
        "changed",
        "status-only",
        "new",
    }


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    objects = Objects()
    objects.observed(body())
    assert objects.compare(meta.STREAM, [], 20, "elsewhere") == []
    assert objects.compare(meta.CONSUMER, [], 20, None) == []
    assert objects.get(A) is not None


def test_a_list_older_than_the_watch_neither_removes_nor_brings_back() -> None:
    objects = Objects()
    objects.observed(body("created-since", 21))
    objects.observed(body("deleted-since", 5))
    objects.lost(body("deleted-since", 22))

    assert objects.compare(meta.STREAM, [body("deleted-since", 5)], 20, None) == []

    assert [one["metadata"]["name"] for one in objects.of_kind(meta.STREAM)] == ["created-since"]


@pytest.mark.parametrize("catch_up", ["change", "deletion"])
def test_the_watch_is_behind_until_it_has_told_us(catch_up: str) -> None:
    clock = Clock()
    objects = Objects(clock)
    objects.observed(body(version=1))
    listed = [body(version=9, generation=2)] if catch_up == "change" else []
    assert objects.behind_seconds() == 0

    objects.compare(meta.STREAM, listed, 10, None)
    clock.now = 60
    objects.compare(meta.STREAM, listed, 11, None)
    assert objects.behind_seconds() == 60

    if catch_up == "change":
        objects.observed(body(version=9, generation=2))
    else:
        objects.lost(body(version=9))
    assert objects.behind_seconds() == 0


def test_an_object_that_came_and_went_unseen_leaves_no_debt() -> None:
    clock = Clock()
    objects = Objects(clock)
    objects.compare(meta.STREAM, [body(version=5)], 6, None)
    objects.compare(meta.STREAM, [], 8, None)
    clock.now = 1000
    assert objects.behind_seconds() == 0


def test_who_refers_to_a_stream_is_found_as_long_as_it_does() -> None:
    objects = Objects()

    def consumer(version: int, stream: str | None) -> dict[str, Any]:
        spec = {} if stream is None else {"streamRef": {"name": stream}}
        return {**body("reader", version), "kind": meta.CONSUMER, "spec": spec}

    def readers(stream: str) -> list[str]:
        return [one["metadata"]["name"] for one in objects.referring_to("shop", stream)]

    objects.observed(consumer(1, "orders"))
    assert (readers("orders"), objects.referring_to("bank", "orders")) == (["reader"], [])
    objects.observed(consumer(2, "invoices"))
    assert (readers("orders"), readers("invoices")) == ([], ["reader"])
    objects.observed(consumer(3, None))
    assert readers("invoices") == []
    objects.observed(consumer(4, "orders"))
    objects.lost(consumer(5, "orders"))
    assert readers("orders") == []


def test_nothing_of_another_namespace_belongs_to_an_owner() -> None:
    objects = Objects()
    owner = {"kind": meta.PIPELINE, "name": "orders", "uid": "uid-orders", "controller": True}
    for namespace in ("shop", "bank"):
        objects.observed(body(namespace=namespace, ownerReferences=[owner]))
    found = objects.owned_by("shop", "uid-orders")
    assert [key_of(one).namespace for one in found] == ["shop"]


def test_what_lives_is_known_whoever_looks_after_it() -> None:
    led = {"shop", "bank"}
    objects = Objects(leads=led.__contains__)

    def living(*names: str) -> list[str]:
        return [name for name in names if f"uid-{name}" in objects.uids(meta.STREAM)]

    objects.observed(body("ours"))
    objects.observed(body("given", namespace="bank"))
    objects.observed(body("theirs", namespace="elsewhere"))
    everyone = ("ours", "given", "theirs")
    assert living(*everyone) == list(everyone)
    led.remove("bank")
    assert list(objects.leave_others().values()) == ["uid-given"]
    assert living(*everyone) == list(everyone)
    led.add("elsewhere")
    objects.observed(body("theirs", 2, namespace="elsewhere"))
    assert living(*everyone) == list(everyone)
    objects.observed(body("ours", 3, uid="uid-again"))
    assert living("again", *everyone) == ["again", "given", "theirs"]
    objects.lost(body("given", 4, namespace="bank"))
    objects.compare(meta.STREAM, [body("ours", 3, uid="uid-again")], 20, None)
    assert living("again", *everyone) == ["again"]


def test_of_a_list_what_is_newer_than_what_is_known_has_to_be_read() -> None:
    objects = Objects(leads=lambda namespace: namespace == "shop")
    objects.observed(body("same", 5))
    objects.observed(body("old", 5))
    objects.observed(body("theirs", 5, namespace="elsewhere"))
    listed = [
        body("same", 5), body("old", 6), body("new", 1), body("theirs", 5, namespace="elsewhere"),
    ]  # fmt: skip
    assert [key.name for key in objects.newer(listed)] == ["old", "new"]
