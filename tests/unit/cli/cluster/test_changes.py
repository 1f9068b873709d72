"""What a change writes, and by what one sees that it took effect."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from outbox_operator.cli.cluster import changes, target
from outbox_operator.cli.cluster.changes import Change, Family
from outbox_operator.errors import SpecError

Body = dict[str, Any]


def body(
    kind: str = "OutboxPipeline",
    *conditions: tuple[str, str, str, int],
    name: str = "orders",
    generation: int = 2,
    spec: Body | None = None,
    annotations: dict[str, str] | None = None,
    **metadata: Any,
) -> Body:
    """An object with conditions: type, status, reason, generation."""
    return {
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "shop", "generation": generation,
            "annotations": annotations or {}, **metadata,
        },
        "spec": spec or {},
        "status": {
            "conditions": [
                {"type": t, "status": s, "reason": r, "observedGeneration": g, "message": r}
                for t, s, r, g in conditions
            ]
        },
    }  # fmt: skip


def child(*conditions: tuple[str, str, str, int], **more: Any) -> Body:
    """The EventConsumer of consumer `billing`."""
    spec = {"handler": {"http": {}}, **more.pop("spec", {})}
    return body(
        "EventConsumer", *conditions, name="orders-billing", spec=spec,
        labels={"outbox.dev/consumer": "billing"}, **more,
    )  # fmt: skip


RELAY = ("RelayAvailable", "True", "MinimumReplicas", 2)
RELAY_STOPPED = ("RelayAvailable", "True", "Stopped", 2)
RELAY_STOPPED_BEFORE = ("RelayAvailable", "True", "Stopped", 1)
PODS = ("WorkloadAvailable", "True", "MinimumReplicas", 2)
ROLLING = ("WorkloadAvailable", "False", "RollingOut", 2)
PAUSED = ("Paused", "True", "Paused", 1)
ACTIVE = ("Paused", "False", "Active", 2)
TO_RESTART = {"outbox.dev/restart": "all"}
STOP = changes.set_state(body(), "Stopped")
START = changes.set_state(body(), "Running")
STOP_BILLING = changes.set_state(
    body(spec={"consumers": [{"name": "billing"}]}), "Stopped", "billing"
)


@pytest.mark.parametrize(
    ("change", "family", "done", "hopeless"),
    [
        (changes.pause(), [body("OutboxPipeline", PAUSED)], True, False),
        (changes.pause(), [body("OutboxPipeline", ACTIVE)], False, False),
        (changes.pause(), [body("OutboxPipeline", PAUSED), child(ACTIVE)], False, False),
        (changes.pause(), [body("OutboxPipeline", PAUSED), child(PAUSED)], True, False),
        (changes.resume(), [body("OutboxPipeline", ACTIVE), child(PAUSED)], False, False),
        (
            changes.resume(),
            [
                body("OutboxPipeline", ACTIVE),
                child(PAUSED, annotations={"outbox.dev/paused": "true"}),
            ],
            True,
            False,
        ),
        (
            changes.reconcile("now"),
            [body(annotations={"outbox.dev/reconcile-at": "x"})],
            False,
            False,
        ),
        (changes.reconcile("now"), [body()], True, False),
        (STOP, [body("OutboxPipeline", RELAY_STOPPED)], True, False),
        (STOP, [body("OutboxPipeline", RELAY_STOPPED_BEFORE)], False, False),
        (STOP, [body("OutboxPipeline", RELAY)], False, False),
        (START, [body("OutboxPipeline", RELAY)], True, False),
        (START, [body("OutboxPipeline", RELAY_STOPPED_BEFORE)], False, False),
        # Replicas 0: started, and nothing runs because of that.
        (START, [body("OutboxPipeline", RELAY_STOPPED)], True, False),
        (STOP_BILLING, [body(), child(PODS)], False, False),
        (
            STOP_BILLING,
            [
                body(),
                child(("WorkloadAvailable", "True", "Stopped", 2), spec={"state": "Stopped"}),
            ],
            True,
            False,
        ),
        (
            changes.restart("OutboxPipeline", "all"),
            [body("OutboxPipeline", RELAY, annotations=TO_RESTART), child(PODS)],
            False,
            False,
        ),
        (
            changes.restart("OutboxPipeline", "all"),
            [body("OutboxPipeline", RELAY, PAUSED, annotations=TO_RESTART), child(PODS)],
            False,
            True,
        ),
        (
            changes.restart("OutboxPipeline", "all"),
            [body("OutboxPipeline", RELAY), child(PODS, annotations=TO_RESTART)],
            False,
            False,
        ),
        (
            changes.restart("OutboxPipeline", "all"),
            [body("OutboxPipeline", RELAY), child(ROLLING)],
            False,
            False,
        ),
        (
            changes.restart("OutboxPipeline", "all"),
            [body("OutboxPipeline", RELAY), child(PODS)],
            True,
            False,
        ),
        (
            changes.restart("OutboxPipeline", "consumers"),
            [body("OutboxPipeline", ("RelayAvailable", "False", "PodsNotReady", 2)), child(PODS)],
            True,
            False,
        ),
    ],
)
def test_a_change_took_effect(
    change: Change, family: list[Body], done: bool, hopeless: bool
) -> None:
    verdict = change.judge(Family(body=family[0], children=family[1:]), 2)
    assert (verdict.done, verdict.hopeless) == (done, hopeless), verdict.text
    assert verdict.text


def test_a_pause_by_the_owner_is_not_waited_for() -> None:
    paused = child(
        PAUSED, ownerReferences=[{"controller": True, "kind": "OutboxPipeline", "name": "orders"}]
    )
    paused["status"]["conditions"][0]["message"] = "its owner OutboxPipeline/shop/orders is paused"
    verdict = changes.resume().judge(Family(body=paused), 1)
    assert (verdict.done, verdict.hopeless) == (False, True)


def test_a_consumer_is_named_by_its_place_and_name() -> None:
    pipeline = body(spec={"consumers": [{"name": "audit"}, {"name": "billing"}]})
    assert changes.set_state(pipeline, "Stopped", "billing").patch == [
        {"op": "test", "path": "/spec/consumers/1/name", "value": "billing"},
        {"op": "add", "path": "/spec/consumers/1/state", "value": "Stopped"},
    ]
    with pytest.raises(SpecError, match="no consumer 'mailer'; it has audit, billing"):
        changes.set_state(pipeline, "Stopped", "mailer")


def test_all_lanes_of_a_consumer_stop_together() -> None:
    spec = {"consumers": [{"name": "billing", "lanes": 2}]}
    stopped = ("WorkloadAvailable", "True", "Stopped", 2)
    change = changes.set_state(body(spec=spec), "Stopped", "billing")
    lanes = [child(stopped, spec={"state": "Stopped"}) for _ in range(2)]
    for number, lane in enumerate(lanes):
        lane["metadata"]["labels"] = {"outbox.dev/consumer": f"billing-{number}"}
    for some, done in ((lanes[:1], False), (lanes, True)):
        family = Family(body=body(spec=spec), children=some)
        assert change.judge(family, 2).done is done
    with pytest.raises(SpecError, match=r"'billing-1' is a lane .* together: --consumer billing"):
        changes.set_state(body(spec=spec), "Stopped", "billing-1")


def test_what_a_pipeline_made_is_changed_there() -> None:
    owned = child(
        ownerReferences=[{"controller": True, "kind": "OutboxPipeline", "name": "orders"}]
    )
    with pytest.raises(SpecError, match="kubectl outbox stop orders --consumer billing -n shop"):
        changes.set_state(owned, "Stopped")
    assert changes.set_state(child(), "Stopped").patch == {"spec": {"state": "Stopped"}}


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("orders", "OutboxPipeline", "orders"),
        ("obp/orders", "OutboxPipeline", "orders"),
        ("outboxpipeline.outbox.dev/orders", "OutboxPipeline", "orders"),
        ("evs/orders", "EventStream", "orders"),
        ("EventConsumers/mailer", "EventConsumer", "mailer"),
    ],
)
def test_a_target(text: str, kind: str, name: str) -> None:
    assert target.parse(text) == target.Target(kind, name)


@pytest.mark.parametrize("text", ["", "pod/x", "evc/", "/x"])
def test_no_target(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="evc/NAME"):
        target.parse(text)


@pytest.mark.parametrize(
    ("what", "family", "text"),
    [
        ("all", [body("OutboxPipeline", RELAY_STOPPED)], "OutboxPipeline orders is Stopped: no"),
        ("all", [body("OutboxPipeline", RELAY_STOPPED), child(PODS)], "new and ready"),
        ("consumers", [body("OutboxPipeline", RELAY_STOPPED), child(PODS)], "new and ready"),
        (
            "consumers",
            [
                body("OutboxPipeline", RELAY),
                child(("WorkloadAvailable", "True", "ScaledToZero", 2)),
            ],
            "EventConsumer orders-billing is ScaledToZero: no pods are wanted",
        ),
    ],
)
def test_what_has_no_pods_was_not_restarted(what: str, family: list[Body], text: str) -> None:
    judge = changes.restart("OutboxPipeline", what).judge
    verdict = judge(Family(body=family[0], children=family[1:]), 2)
    assert verdict.done
    assert text in verdict.text
