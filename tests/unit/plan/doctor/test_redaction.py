"""What of a cluster is shown to strangers: no secret, no payload, no key of an event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox_operator.plan.doctor.redaction import HIDDEN, body, log_lines, text

SECRET = "hunter2"


@pytest.mark.parametrize(
    "found",
    [
        f"postgresql://orders:{SECRET}@db.shop:5432/shop refused",
        f"nats://user:{SECRET}@nats:4222 refused",
        f"POST https://hooks.example/services/T1/{SECRET} answered 404",
        f"POST https://hooks.example/x?sig={SECRET}&x=1",
        f"GET http://user:{SECRET}@handler/events",
        f"password={SECRET} is wrong",
        f'token: "{SECRET}" expired',
    ],
)
def test_texts_show_where_and_not_how_to_get_in(found: str) -> None:
    shown = text(found)

    assert SECRET not in shown
    assert any(place in shown for place in ("db.shop", "nats", "hooks.example", "handler", HIDDEN))


def test_texts_without_secrets_stay() -> None:
    said = "NATS at nats://nats.nats:4222: connection refused; stream ORDERS, 12 of 40 pods"

    assert text(said) == said


POD: dict[str, Any] = {
    "kind": "Pod",
    "metadata": {
        "name": "orders-relay-x",
        "managedFields": [{"manager": SECRET}],
        "annotations": {
            "outbox.dev/checksum": "abc",
            "kubectl.kubernetes.io/last-applied-configuration": SECRET,
        },
    },
    "spec": {
        "containers": [
            {
                "name": "relay",
                "image": "registry/outbox:1",
                "args": ["--key", SECRET],
                "command": [SECRET],
                "env": [
                    {"name": "KEY", "value": SECRET},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "db", "key": SECRET}}},
                ],
                "livenessProbe": {
                    "httpGet": {"httpHeaders": [{"name": "Authorization", "value": SECRET}]}
                },
            }
        ],
        "volumes": [{"name": "db", "secret": {"secretName": "orders-db"}}],
    },
    "status": {"message": f"url https://x.example/{SECRET}"},
}


def test_objects_keep_their_shape_and_lose_what_people_write_freely() -> None:
    shown = body(POD)

    assert SECRET not in json.dumps(shown)
    container = shown["spec"]["containers"][0]
    assert container["image"] == "registry/outbox:1"
    assert container["env"] == [{"name": "KEY", "value": HIDDEN}, {"name": "B", "value": HIDDEN}]
    assert container["args"] == [HIDDEN, HIDDEN]
    assert shown["metadata"]["annotations"]["outbox.dev/checksum"] == "abc"
    assert shown["spec"]["volumes"][0]["secret"]["secretName"] == "orders-db"
    assert SECRET in json.dumps(POD)  # what was handed in is as it was


def test_keys_of_events_are_not_shown() -> None:
    spec = {"replayDeadLetters": {"filter": {"keys": [SECRET], "reasons": ["MaxDeliver"]}}}

    shown = body({"kind": "OutboxTask", "metadata": {"name": "t"}, "spec": spec})

    assert shown["spec"]["replayDeadLetters"]["filter"] == {
        "keys": [HIDDEN], "reasons": ["MaxDeliver"],
    }  # fmt: skip


def line(**fields: Any) -> str:
    """A line of a log."""
    return json.dumps({"logger": "outbox_operator.consumer", "level": "warning", **fields})


def test_of_logs_our_own_lines_stay_without_what_handlers_say() -> None:
    kept, others = log_lines(
        [
            line(message="connected", address="nats://n:4222", role="consumer"),
            line(
                message=f"event 1 not handled by a:b, next delivery in 3 s: {SECRET}", event_id="1"
            ),
            line(message="refused", exception=f"Traceback … {SECRET}", key=SECRET),
            json.dumps({"logger": "shop.billing", "message": SECRET}),
            f"print: {SECRET}",
            json.dumps([SECRET]),
            line(message="x" * 5000),
            "[" * 100_000,
        ]
    )

    assert others == 5
    assert [json.loads(one)["message"] for one in kept] == [
        "connected", "event 1 not handled by a:b, next delivery in 3 s", "refused",
    ]  # fmt: skip
    assert SECRET not in "".join(kept)
