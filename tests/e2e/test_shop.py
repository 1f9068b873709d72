"""The promise, on a real node: what is committed arrives once, what is rolled back never does."""

from __future__ import annotations

import pytest
from demo.kubectl import DemoError
from demo.shop import NAMESPACE

from support.stage import Stage

PODS = {
    "NATS": (NAMESPACE, "app=nats"),
    "Postgres": (NAMESPACE, "app=postgres"),
    "the relay": (NAMESPACE, "app.kubernetes.io/component=relay"),
    "a consumer": (NAMESPACE, "app.kubernetes.io/instance=orders-billing"),
    "the HTTP service": (NAMESPACE, "app=mailer"),
    "the operator": ("outbox-system", "app.kubernetes.io/name=outbox-operator"),
}
OFTEN = ("Postgres", "the relay")
"""What is killed in each run of the tests; the others in the thorough ones."""


def ready(stage: Stage) -> bool:
    path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    return stage.kubectl("get", "-n", NAMESPACE, "obp/orders", "-o", path) == "True"


def pods(stage: Stage, namespace: str, selector: str) -> dict[str, bool]:
    """Uid of each pod, and whether it is ready."""
    path = (
        "jsonpath={range .items[*]}{.metadata.uid}="
        '{.status.conditions[?(@.type=="Ready")].status}{" "}{end}'
    )
    text = stage.kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", path)
    return {
        uid: status == "True" for uid, _, status in (part.partition("=") for part in text.split())
    }


def close_and_compare(stage: Stage) -> None:
    """Stop taking orders, let consumers catch up, and compare order by order."""
    stage.shop.take_orders(0)
    stage.shop.settle(timeout=240)
    assert stage.shop.ledger().problems() == []


def test_committed_orders_arrive_and_rolled_back_ones_never_do(stage: Stage) -> None:
    stage.shop.take_orders(1)
    before = stage.shop.counts().committed
    stage.eventually("orders flow", lambda: stage.shop.counts().committed >= before + 100)
    close_and_compare(stage)


@pytest.mark.parametrize(
    "victim",
    [
        victim if victim in OFTEN else pytest.param(victim, marks=pytest.mark.thorough)
        for victim in PODS
    ],
)
def test_everything_comes_back_after_a_kill(stage: Stage, victim: str) -> None:
    namespace, selector = PODS[victim]
    stage.shop.take_orders(1)
    before = pods(stage, namespace, selector)
    assert before
    # Hard, but not with --force: that lets a StatefulSet start the next pod beside the dying one,
    # and two servers on one volume ruin it.
    stage.kubectl("delete", "pod", "-n", namespace, "-l", selector, "--grace-period=1")

    def replaced() -> bool:
        now = pods(stage, namespace, selector)
        return bool(now) and not before.keys() & now.keys() and all(now.values())

    stage.eventually(f"{victim} is replaced", replaced)
    stage.eventually("the pipeline is ready", lambda: ready(stage))
    done = stage.shop.counts().committed
    stage.eventually("orders flow again", lambda: stage.shop.counts().committed >= done + 20)
    close_and_compare(stage)


def test_a_dead_nats_shows_with_address_and_heals(stage: Stage) -> None:
    stage.kubectl("scale", "-n", NAMESPACE, "statefulset/nats", "--replicas=0")
    try:
        stage.eventually(
            "a condition names the address", lambda: "nats.shop:4222" in stage.shop.conditions()
        )
        stage.eventually("the pipeline is not ready", lambda: not ready(stage))
    finally:
        stage.kubectl("scale", "-n", NAMESPACE, "statefulset/nats", "--replicas=1")
    stage.eventually("the pipeline is ready", lambda: ready(stage))


def test_the_api_server_refuses_what_cannot_be_done(stage: Stage) -> None:
    patch = '{"spec": {"stream": {"storage": "Memory"}}}'
    with pytest.raises(DemoError, match="storage is fixed at creation"):
        stage.kubectl("patch", "-n", NAMESPACE, "obp/orders", "--type=merge", "-p", patch)
