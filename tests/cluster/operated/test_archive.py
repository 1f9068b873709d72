"""An archive as declared: its tables, its workload, and what its status says of what is in it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from outbox_operator.archive.api import settings as api_settings
from outbox_operator.wire.archive import ArchiveBackfill, ArchiveDatabase
from support.archive_api import serving
from support.archiving import as_a_pod, writing
from support.nats import connected
from support.postgres import PostgresServer, execute, with_login
from support.tokens import AUDIENCE, ISSUER, Issuer
from support.waiting import eventually
from support.world import World

AUDIT = ("EventConsumer", "audit")
# The example of RFC 8410.
SEALING_KEY = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----"""
RETENTION = [
    {"name": "security", "eventTypes": ["auth.*"], "keep": "2555d"},
    {"name": "default", "keep": "90d"},
]


def archived(world: World) -> dict[str, Any]:
    """What the status says of it."""
    body = world.get(*AUDIT)
    assert body is not None
    found: dict[str, Any] = body["status"]["archive"]
    return found


async def publish(world: World, *numbers: int) -> None:
    """Messages as a relay sends them."""
    async with connected(world.nats) as client:
        for number in numbers:
            headers = {
                "Ce-Id": str(uuid.uuid4()),
                "Ce-Type": "auth.failed",
                "Ce-Source": "/shop/orders",
                "Ce-Time": "2026-11-29T12:00:00Z",
                "Outbox-Shard": "0",
                "Outbox-Emission": str(number),
                "Outbox-Position": str(number),
            }
            subject = f"{world.prefix}.orders.auth.failed"
            await client.jetstream().publish(subject, b'{"card": "4111"}', headers=headers)


async def test_an_archive_gets_tables_workload_and_a_truthful_status(
    world: World, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    writer, password = postgres_server.create_role("archive")
    url = with_login(world.database, writer, password)
    sealing = {"signingSecretRef": {"name": "sealing", "key": "pem"}, "every": "1s"}
    handler = {
        "archive": {
            "connectionSecretRef": {"name": "writer", "key": "url"},
            "migrationSecretRef": {"name": "keeper"},
            "retention": RETENTION,
            "extract": {"actor": "$.actor.id", "correlation": "ce:correlationid"},
            "redact": ["$.card"],
            "sealing": sealing,
        }
    }
    world.apply(
        world.secret("sealing", pem=SEALING_KEY),
        world.secret("writer", url=url),
        world.secret("keeper", url=world.database),
        world.stream(),
        world.consumer("audit", handler=handler, replicas=0),
    )
    world.wait_ready(*AUDIT)
    # What writes is told what was declared, and has no login that makes or drops tables.
    pod = world.deployment("audit-consumer")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["archive", "write"]
    mounted = json.dumps(pod["volumes"])
    assert '"writer"' in mounted
    assert "keeper" not in mounted
    world.kubectl("get", "pdb", "audit-consumer", "-n", world.namespace)
    document = world.get("ConfigMap", "audit-consumer")
    assert document is not None
    config = as_a_pod(document, url, tmp_path)
    assert [one.name for one in config.rules.retention] == ["security", "default"]
    async with connected(world.nats) as client:
        durable = await client.jetstream().consumer_info(f"{world.prefix}-orders", "audit")
        assert durable.config.max_deliver == -1
    # Nothing is in it, and nobody claims more.
    first = world.wait_condition(*AUDIT, "ArchiveComplete", "Unknown", "NotProvable")
    assert "no event with a number" in first["message"]
    assert archived(world)["partitions"] > len(RETENTION)
    assert {"gaps", "completeTo", "oldest"}.isdisjoint(archived(world))
    # A missing event is told, and that it has come.
    async with writing(config):
        await publish(world, 1, 2, 4)
        await eventually(partial(asyncio.to_thread, looked, world, "False"), "the gap is seen")
        missing = world.wait_condition(*AUDIT, "ArchiveComplete", "False", "EventsMissing")
        assert "shard 0 of /shop/orders: 3 to 3" in missing["message"]
        found = archived(world)
        assert found["gaps"] == 1
        assert found["firstGaps"][0]["first"] == found["firstGaps"][0]["last"] == 3
        assert found["oldest"] <= found["completeTo"] <= found["newest"]
        world.wait_ready(*AUDIT)  # which speaks of what runs, not of what is missing
        await publish(world, 3)
        await eventually(partial(asyncio.to_thread, looked, world, "True"), "it is whole again")
    assert archived(world)["gaps"] == 0
    # Who takes the key away is told that nothing is sealed or dropped any more.
    for declared, status, reason in (
        ({"signingSecretRef": None}, "False", "SealKeyMissing"),
        (sealing, "True", "UpToDate"),
    ):
        patch = json.dumps({"spec": {"handler": {"archive": {"sealing": declared}}}})
        world.kubectl("patch", "evc", "audit", "-n", world.namespace, "--type=merge", "-p", patch)
        world.wait_condition(*AUDIT, "SchemaApplied", status, reason)
    # Who makes the chain of seals anew is noticed, by what the status remembers of it.
    assert archived(world)["lastSeal"].partition(":")[0].isdecimal()
    await execute(world.database, "UPDATE archive.seals SET signature = '', key = NULL")
    await execute(world.database, "UPDATE archive.seals SET number = number + 1000000")
    await execute(world.database, "DELETE FROM archive.ledger WHERE low = 1")
    world.look_again(*AUDIT)
    broken = world.wait_condition(*AUDIT, "SchemaApplied", "False", "SealBroken")
    assert "which is known from before, is gone" in broken["message"]
    assert int(archived(world)["lastSeal"].partition(":")[0]) < 1_000_000
    # What is missing is told all the same.
    world.wait_condition(*AUDIT, "ArchiveComplete", "Unknown", "NotProvable")
    await execute(world.database, "TRUNCATE archive.seals, archive.sealed_rows")
    world.kubectl(
        "patch", "evc", "audit", "-n", world.namespace, "--subresource=status", "--type=merge",
        "-p", '{"status": {"archive": {"lastSeal": null}}}',
    )  # fmt: skip
    world.look_again(*AUDIT)
    world.wait_ready(*AUDIT)
    # What somebody takes away comes back; what was kept stays when it is declared no more.
    await execute(world.database, f'REVOKE INSERT ON archive.events FROM "{writer}"')
    world.look_again(*AUDIT)
    world.wait_event("audit", "DriftCorrected", writer)
    world.kubectl("delete", "evc", "audit", "-n", world.namespace, "--timeout=120s")
    await execute(world.database, "SELECT payload FROM archive.events")


async def test_an_archives_api_gets_pods_a_service_and_a_role_that_reads(
    world: World, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    issuer = Issuer(tmp_path)
    role, password = postgres_server.create_role("api")
    url = with_login(world.database, role, password)
    jwt = {
        "issuer": ISSUER, "audience": AUDIENCE,
        "jwksSecretRef": {"name": "issuer", "key": "jwks"},
    }  # fmt: skip
    api = {
        "connectionSecretRef": {"name": "reader"},
        "jwt": jwt,
        "tenantColumn": "tenant",
        "replicas": 0,
    }
    archive = {
        "connectionSecretRef": {"name": "keeper"},
        "retention": RETENTION,
        "extract": {"tenant": "$.tenant"},
        "api": api,
    }
    world.apply(
        world.secret("keeper", url=world.database),
        world.secret("reader", url=url),
        world.secret("issuer", jwks=issuer.path.read_text()),
        world.stream(),
        world.consumer("audit", handler={"archive": archive}, replicas=0),
    )
    world.wait_ready(*AUDIT)
    world.wait_condition(*AUDIT, "ApiAvailable", "True")
    assert archived(world)["api"]["url"] == f"http://audit-api.{world.namespace}.svc:8090"
    template = world.deployment("audit-api")["spec"]["template"]
    assert template["spec"]["containers"][0]["args"] == ["archive", "serve"]
    mounted = json.dumps(template["spec"]["volumes"])
    assert '"reader"' in mounted
    assert '"keeper"' not in mounted
    world.kubectl("get", "pdb", "audit-api", "-n", world.namespace)
    # What the pods are told is enough to answer, with the role that the operator gave its rights.
    (tmp_path / "url").write_text(url)
    document = world.get("ConfigMap", "audit-api")
    assert document is not None
    [text] = document["data"].values()
    told_api = api_settings.parse(text, where="the ConfigMap")
    config = dataclasses.replace(
        told_api,
        database=ArchiveDatabase(url_file=str(tmp_path / "url")),
        jwt=dataclasses.replace(told_api.jwt, jwks_file=str(issuer.path)),
        port=0,
        health_port=0,
    )
    async with serving(config, issuer) as client:
        assert (await client.found("/v1/events"))["events"] == []
        assert (await client.http.get("/v1/events")).status_code == 401
    # What is taken away comes back, and other keys roll the pods.
    world.kubectl("delete", "service", "audit-api", "-n", world.namespace)
    world.wait_event("audit", "DriftCorrected", "Service")
    before = template["metadata"]["annotations"]
    world.apply(world.secret("issuer", jwks='{"keys": []}'))
    world.look_again(*AUDIT)

    def rolled() -> bool:
        now = world.deployment("audit-api")["spec"]["template"]["metadata"]["annotations"]
        return bool(now != before)

    await eventually(partial(asyncio.to_thread, rolled), "pods with the new keys")
    # A login that cannot be read is the API's fault alone: the archive is looked after, and the
    # API keeps the rights that it has.
    world.apply(world.secret("reader", url="nowhere"))
    world.look_again(*AUDIT)
    world.wait_condition(*AUDIT, "ApiAvailable", "False", "InvalidSecret")
    for kind in ("DatabaseReachable", "SchemaApplied"):
        assert world.condition(*AUDIT, kind)["status"] == "True"
    await execute(url, "SELECT payload FROM archive.events")
    world.apply(world.secret("reader", url=url))
    world.look_again(*AUDIT)
    world.wait_condition(*AUDIT, "ApiAvailable", "True")
    # Without it, nothing of it is left, and the role may read no more.
    archive.pop("api")
    world.apply(world.consumer("audit", handler={"archive": archive}, replicas=0))
    await eventually(
        lambda: asyncio.to_thread(lambda: world.get("Deployment", "audit-api") is None),
        "nothing answers any more",
    )
    world.wait_ready(*AUDIT)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(url, "SELECT payload FROM archive.events")


async def test_the_rows_that_an_outbox_kept_are_archived_too(world: World, tmp_path: Path) -> None:
    archive = {
        "connectionSecretRef": {"name": "keeper"},
        "retention": RETENTION,
        "backfill": {"connectionSecretRef": {"name": "outbox", "key": "url"}},
    }
    world.apply(
        world.secret("database", url=world.database),
        world.secret("keeper", url=world.database),
        world.pipeline(),
        world.consumer("audit", handler={"archive": archive}, replicas=0),
    )
    world.wait_ready(*AUDIT)
    world.wait_condition(*AUDIT, "ArchiveBackfilled", "False", "Backfilling")
    # The pods start without the Secret, and nobody else is given it.
    pod = world.deployment("audit-consumer")["spec"]["template"]["spec"]
    [outbox] = [
        source["secret"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        if source.get("secret", {}).get("name") == "outbox"
    ]
    assert outbox["optional"]
    document = world.get("ConfigMap", "audit-consumer")
    assert document is not None
    config = as_a_pod(document, world.database, tmp_path)
    assert config.backfill is not None
    assert config.backfill.url_file == "/var/run/outbox/secrets/backfill/url"
    await execute(world.database, "INSERT INTO outbox.events (event_type, payload) "
                                  "VALUES ('auth.failed', '{}')")  # fmt: skip

    def seen(status: str) -> bool:
        if world.condition(*AUDIT, "ArchiveBackfilled")["reason"] == status:
            return True
        world.look_again(*AUDIT)
        return False

    async with writing(config):  # as a pod without the Secret
        await eventually(
            partial(asyncio.to_thread, seen, "BackfillStuck"), "what is in the way is told"
        )
    world.wait_ready(*AUDIT)
    url_file = str(tmp_path / "archive.url")
    config = dataclasses.replace(config, backfill=ArchiveBackfill(url_file=url_file))
    async with writing(config):
        await eventually(partial(asyncio.to_thread, seen, "Backfilled"), "all are archived")
    assert archived(world)["backfill"]["rows"] >= 1
    await execute(world.database, "SELECT 1 / count(*) FROM archive.events WHERE sequence = 0")


def looked(world: World, status: str) -> bool:
    """Whether a look of now says so."""
    if world.condition(*AUDIT, "ArchiveComplete")["status"] == status:
        return True
    world.look_again(*AUDIT)
    return False


def test_a_plan_of_an_archive_waits_for_a_person(world: World) -> None:
    archive: dict[str, Any] = {
        "connectionSecretRef": {"name": "keeper"},
        "retention": RETENTION,
        "migrations": {"policy": "RequireApproval"},
    }
    world.apply(
        world.secret("keeper", url=world.database),
        world.stream(),
        world.consumer("audit", handler={"archive": archive}, replicas=0),
    )
    held = world.wait_condition(*AUDIT, "SchemaApplied", "False", "ApprovalPending")
    assert "spec.handler.archive.migrations.approvedPlan" in held["message"]
    assert world.get("Deployment", "audit-consumer") is None
    archive["migrations"]["approvedPlan"] = archived(world)["pendingPlan"]["hash"]
    world.apply(world.consumer("audit", handler={"archive": archive}, replicas=0))
    world.wait_ready(*AUDIT)
    assert "pendingPlan" not in archived(world)
