"""Who audits the shop: an order that it took is found over HTTP, by whom it may be seen."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from demo.shop import NAMESPACE

from support.stage import Stage
from support.tokens import AUDIENCE, ISSUER, Issuer

AUDIT: Final = 2
"""Place of the archive among the pipeline's consumers."""
ASK: Final = textwrap.dedent("""
    import json, sys, urllib.error, urllib.parse, urllib.request
    answers = []
    for path, token in json.loads(sys.argv[1]):
        asked = urllib.request.Request("http://orders-audit-api.shop.svc:8090" + path)
        if token is not None:
            asked.add_header("Authorization", "Bearer " + token)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                answers.append([answer.status, json.load(answer)])
        except urllib.error.HTTPError as error:
            answers.append([error.code, json.load(error)])
    print(json.dumps(answers))
""")


def patched(stage: Stage, *steps: dict[str, Any]) -> None:
    """Change the pipeline as somebody who edits it."""
    text = json.dumps(steps)
    stage.kubectl("patch", "-n", NAMESPACE, "obp/orders", "--type=json", "-p", text)


def secret(name: str, **values: str) -> dict[str, Any]:
    """A Secret of the shop."""
    return {
        "apiVersion": "v1", "kind": "Secret", "stringData": values,
        "metadata": {"name": name, "namespace": NAMESPACE},
    }  # fmt: skip


@pytest.fixture
def issuer(stage: Stage, tmp_path: Path) -> Iterator[Issuer]:
    """Of tokens that the shop's archive believes, which has an API meanwhile."""
    issuer = Issuer(tmp_path)
    stage.sql(
        "postgres",
        "DO $$BEGIN CREATE ROLE archive_api LOGIN PASSWORD 'demo-archive-api'; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END$$",
    )
    url = "postgresql://archive_api:demo-archive-api@postgres.shop:5432/archive"
    secrets = [
        secret("archive-api-db", url=url),
        secret("issuer", jwks=issuer.path.read_text()),
    ]
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": secrets})
    stage.kubectl("apply", "-f", "-", stdin=items)
    api = {
        "connectionSecretRef": {"name": "archive-api-db"},
        "jwt": {
            "issuer": ISSUER, "audience": AUDIENCE, "tenantClaim": "customer",
            "jwksSecretRef": {"name": "issuer", "key": "jwks"},
        },
        "tenantColumn": "customer",
        "replicas": 1,
    }  # fmt: skip
    path = f"/spec/consumers/{AUDIT}/handler/archive/api"
    patched(stage, {"op": "add", "path": path, "value": api})

    def answers() -> bool:
        ready = "jsonpath={.status.readyReplicas}"
        deployment = "deployment/orders-audit-api"
        return stage.kubectl("get", "-n", NAMESPACE, deployment, "-o", ready) == "1"

    try:
        stage.eventually("the archive's API is ready", answers)
        yield issuer
    finally:
        patched(stage, {"op": "remove", "path": path})
        stage.kubectl(
            "wait", "-n", NAMESPACE, "deployment/orders-audit-api", "--for=delete", "--timeout=120s"
        )
        stage.kubectl("delete", "secret", "-n", NAMESPACE, "archive-api-db", "issuer")


def asked(stage: Stage, *questions: tuple[str, str | None]) -> list[tuple[int, Any]]:
    """Statuses and answers of addresses and tokens, as somebody in the cluster gets them."""
    said = stage.kubectl(
        "exec", "-n", NAMESPACE, "deployment/mailer", "--", "python", "-c", ASK,
        json.dumps(questions),
    )  # fmt: skip
    return [(status, answer) for status, answer in json.loads(said)]


def test_an_order_is_found_by_whom_it_may_be_seen(stage: Stage, issuer: Issuer) -> None:
    stage.shop.take_orders(1)
    before = stage.shop.counts().committed
    stage.eventually("orders flow", lambda: stage.shop.counts().committed >= before + 10)
    stage.shop.take_orders(0)
    assert stage.shop.settle(timeout=180).settled
    found = stage.sql(
        "shop", "SELECT id, customer FROM public.orders ORDER BY created_at DESC LIMIT 1"
    )
    order, customer = found.split("|")
    declined = stage.sql("shop", "SELECT order_id FROM public.declined LIMIT 1")
    history, mine = f"/v1/entities/{order}/history", partial(issuer.token, customer=customer)
    good = mine()
    forged = mine(key=ed25519.Ed25519PrivateKey.generate())
    answers = asked(
        stage,
        (history, good),
        ("/v1/events?limit=1000", good),
        (f"/v1/entities/{declined}/history", issuer.token("events:read tenants:all")),
        (history, issuer.token(customer="somebody@else")),
        ("/v1/events", issuer.token(customer="somebody@else")),
        (history, None),
        (history, forged),
        (history, mine(aud="another")),
        (history, mine(iss="https://another.example")),
        (history, mine(exp=1)),
        (history, mine("openid")),
    )
    (status, body), (_, all_of_theirs), (_, of_declined), *others = answers
    assert status == 200, body
    [event] = body["events"]
    assert event["type"] == "order.created"
    assert event["key"] == event["payload"]["id"] == order
    assert event["id"] in {one["id"] for one in all_of_theirs["events"]}
    assert {one["customer"] for one in all_of_theirs["events"]} == {customer}
    # What was rolled back was never said, and who may not sees nothing.
    assert of_declined["events"] == []
    assert [one[0] for one in others] == [200, 200, 401, 401, 401, 401, 401, 403]
    assert [one[1]["events"] for one in others[:2]] == [[], []]
    assert order not in json.dumps(others)
