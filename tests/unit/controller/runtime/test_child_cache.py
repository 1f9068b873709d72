"""The cache of children and whom their changes wake."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.controller.runtime.child_cache import KINDS, Children
from outbox_operator.controller.runtime.reconciler import ObjectKey
from support.waiting import SECONDS

OWNER = ObjectKey(meta.PIPELINE, "shop", "orders")


def child(version: int = 1, *, owner: str | None = "orders", **more: Any) -> dict[str, Any]:
    reference = {
        "apiVersion": meta.API_VERSION,
        "kind": meta.PIPELINE,
        "name": owner,
        "uid": f"uid-{owner}",
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "orders-relay",
            "namespace": "shop",
            "resourceVersion": str(version),
            "managedFields": [],
            "ownerReferences": [reference] if owner else [],
        },
        **more,
    }


class Woken(list[tuple[ObjectKey, str]]):
    def __call__(self, key: ObjectKey, trigger: str) -> None:
        self.append((key, trigger))


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def children(woken: Woken) -> Children:
    found = Children(woken, [None])
    found.listed("ConfigMap", None, [child()])
    assert woken == []  # no news: the owner has its first pass before it
    return found


def test_creation_wakes_the_owner(woken: Woken) -> None:
    Children(woken, [None]).changed("ConfigMap", child(), deleted=False)
    assert woken == [(OWNER, "child:ConfigMap/orders-relay")]


def test_deletion_wakes_the_owner_and_forgets(children: Children, woken: Woken) -> None:
    children.changed("ConfigMap", child(2), deleted=True)
    assert woken == [(OWNER, "child:ConfigMap/orders-relay")]
    assert children.get("ConfigMap", "shop", "orders-relay") is None
    assert children.owned_by("shop", "uid-orders") == []


def test_a_change_wakes_the_owner_and_a_repeat_does_not(children: Children, woken: Woken) -> None:
    children.changed("ConfigMap", child(2, data={"a": "b"}), deleted=False)
    children.changed("ConfigMap", child(3, data={"a": "b"}), deleted=False)
    assert len(woken) == 1


def test_a_stolen_child_wakes_both_owners(children: Children, woken: Woken) -> None:
    children.changed("ConfigMap", child(2, owner="thief"), deleted=False)
    assert {key.name for key, _ in woken} == {"orders", "thief"}
    assert children.owned_by("shop", "uid-orders") == []
    assert len(children.owned_by("shop", "uid-thief")) == 1


def test_a_child_that_lost_its_owner_wakes_the_old_one(children: Children, woken: Woken) -> None:
    children.changed("ConfigMap", child(2, owner=None), deleted=False)
    assert [key for key, _ in woken] == [OWNER]


def test_nothing_of_another_namespace_is_a_child(children: Children, woken: Woken) -> None:
    planted = child(2)
    planted["metadata"]["namespace"] = "bank"
    children.changed("ConfigMap", planted, deleted=False)
    found = children.owned_by("shop", "uid-orders")
    assert [one["metadata"]["namespace"] for one in found] == ["shop"]
    assert OWNER not in {key for key, _ in woken}


def test_other_controllers_are_not_ours(woken: Woken) -> None:
    body = child()
    body["metadata"]["ownerReferences"][0].update(apiVersion="apps/v1", kind="ReplicaSet")
    Children(woken, [None]).changed("ConfigMap", body, deleted=False)
    assert woken == []


def test_a_list_after_lost_history_finds_what_vanished(children: Children, woken: Woken) -> None:
    children.listed("ConfigMap", None, [])
    assert woken == [(OWNER, "child:ConfigMap/orders-relay")]
    assert children.get("ConfigMap", "shop", "orders-relay") is None


def test_a_list_of_another_namespace_leaves_this_one_alone(woken: Woken) -> None:
    children = Children(woken, ["shop", "bank"])
    children.listed("ConfigMap", "shop", [child()])
    children.listed("ConfigMap", "bank", [])
    assert children.get("ConfigMap", "shop", "orders-relay") is not None


def test_bookkeeping_of_field_managers_is_not_kept(children: Children) -> None:
    found = children.get("ConfigMap", "shop", "orders-relay")
    assert found is not None
    assert "managedFields" not in found["metadata"]


async def test_synced_once_every_kind_was_listed_in_every_namespace(woken: Woken) -> None:
    children = Children(woken, ["shop", "bank"])
    places = [(kind, namespace) for kind in KINDS for namespace in ("shop", "bank")]
    synced = asyncio.create_task(children.wait_synced())
    for kind, namespace in places:
        await asyncio.sleep(0)
        assert not synced.done()
        children.listed(kind, namespace, [])
    await asyncio.wait_for(synced, SECONDS)
