"""From an order that a service takes to who audits it: what is declared is all there is to do."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from outbox_operator.archive.api import settings as api_settings
from outbox_operator.wire.archive import ArchiveDatabase
from outbox_operator.wire.archive_api import ArchiveApiConfig
from support.archive_api import serving
from support.archiving import as_a_pod, writing
from support.orders_api import customer_of, started
from support.ports import free_port
from support.postgres import PostgresServer, with_login
from support.relaying import RelayProcess
from support.tokens import AUDIENCE, ISSUER, Issuer
from support.waiting import eventually
from support.world import World


def declared(world: World) -> dict[str, Any]:
    """A pipeline with an archive that is asked by words, customer by customer."""
    archive = {
        "connectionSecretRef": {"name": "database"},
        "retention": [{"name": "default", "keep": "90d"}],
        "extract": {"customer": "$.customer"},
        "textSearch": True,
        "api": {
            "connectionSecretRef": {"name": "auditor"},
            "jwt": {
                "issuer": ISSUER, "audience": AUDIENCE, "tenantClaim": "customer",
                "jwksSecretRef": {"name": "issuer", "key": "jwks"},
            },
            "tenantColumn": "customer",
            "replicas": 0,
        },
    }  # fmt: skip
    audit = {"name": "audit", "handler": {"archive": archive}, "replicas": 0}
    return world.pipeline(consumers=[audit])


def told(world: World, name: str) -> dict[str, Any]:
    """The ConfigMap of a Deployment's pods."""
    found = world.get("ConfigMap", name)
    assert found is not None, f"no ConfigMap {name}"
    return found


def api_config(world: World, url: str, issuer: Issuer, folder: Path) -> ArchiveApiConfig:
    """What the pods of the API are told, for this process."""
    login = folder / "auditor.url"
    login.write_text(url)
    [text] = told(world, "orders-audit-api")["data"].values()
    config = api_settings.parse(text, where="the ConfigMap")
    return dataclasses.replace(
        config,
        database=ArchiveDatabase(url_file=str(login), schema=config.database.schema),
        jwt=dataclasses.replace(config.jwt, jwks_file=str(issuer.path)),
        port=0,
        health_port=0,
    )


async def test_an_order_that_a_service_takes_is_found_by_whom_it_may_be_seen(
    world: World,
    postgres_server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = Issuer(tmp_path)
    url = with_login(world.database, *postgres_server.create_role("auditor"))
    world.apply(
        world.secret("database", url=world.database),
        world.secret("auditor", url=url),
        world.secret("issuer", jwks=issuer.path.read_text()),
        declared(world),
    )
    world.wait_ready("OutboxPipeline", "orders")
    world.wait_condition("EventConsumer", "orders-audit", "ApiAvailable", "True")
    source = tmp_path / "database.url"
    source.write_text(world.database)
    relay = RelayProcess(
        {
            **json.loads(told(world, "orders-relay")["data"]["config.json"]),
            "database": {"url_file": str(source), "schema": "outbox"},
            "health_port": free_port(),
        },
        tmp_path,
        "relay",
    ).start()
    writes = as_a_pod(told(world, "orders-audit-consumer"), world.database, tmp_path)
    answers = api_config(world, url, issuer, tmp_path)
    try:
        async with (
            started(monkeypatch, DATABASE_URL=world.database) as service,
            customer_of(service) as customer,
            writing(writes),
            serving(answers, issuer) as client,
        ):
            taken = await customer.post("/orders", json={"customer": "ada", "amount_cents": 1999})
            assert taken.status_code == 201, taken.text
            refused = await customer.post(
                "/orders", json={"customer": "ada", "amount_cents": 10**6}
            )
            assert refused.status_code == 402
            order = taken.json()
            history = f"/v1/entities/{order['id']}/history"
            ada = partial(client.get, customer="ada")

            async def archived() -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = (await ada(history)).json()["events"]
                return found

            [event] = await eventually(archived, "the order in the archive")
            assert event["type"] == "order.created"
            assert event["key"] == order["id"]
            assert event["payload"] == order
            # By its customer's words too, and what was rolled back is nowhere.
            for question in ("q=ada", "q=1999", "type=order.*", "customer=ada"):
                found = (await ada(f"/v1/events?{question}")).json()["events"]
                assert [one["id"] for one in found] == [event["id"]], question
            everything = "events:read payload:read tenants:all"
            assert len((await client.get("/v1/events", everything)).json()["events"]) == 1
            # Whose token is somebody else's, or nobody's, sees nothing of it.
            for path in (history, "/v1/events", "/v1/events?q=ada", "/v1/events?customer=ada"):
                bob = await client.get(path, customer="bob")
                assert (bob.status_code, bob.json()["events"]) == (200, [])
            assert (
                await client.get(f"/v1/events/{event['id']}", customer="bob")
            ).status_code == 404
            forged = ed25519.Ed25519PrivateKey.generate()
            for claims in (
                {"key": forged}, {"aud": "another"}, {"iss": "https://another.example"},
                {"exp": 1}, {"kid": "unknown"},
            ):  # fmt: skip
                answer = await ada(history, **claims)
                assert answer.status_code == 401, claims
                assert order["id"] not in answer.text
            assert (await client.http.get(history)).status_code == 401
            assert (await ada(history, "openid")).status_code == 403
    finally:
        relay.kill()
