"""The page on more shards, walked: its commands as they stand there, while events are written.

What has no node is played: the writers follow their Deployment, and relays and consumers run as
their pods would, with what the operator made for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import yaml

from outbox_operator.consumer import Ack, Context, ReceivedEvent
from outbox_operator.consumer.settings import parse
from support.consuming import calling, consuming
from support.fences import fences
from support.kube import Kubectl, api
from support.nats import NatsServer
from support.operator import OperatorProcess
from support.ports import free_port
from support.relaying import RelayProcess
from support.waiting import SECONDS, eventually
from support.world import HANDLER, World

PAGE: Final = "docs/how-to/scale-with-shards.md"
SHOP: Final = "shop"
KEYS: Final = 6
WRITERS: Final = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "orders", "namespace": SHOP},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "orders"}},
        "template": {
            "metadata": {"labels": {"app": "orders"}},
            "spec": {
                "containers": [
                    {
                        "name": "orders", "image": "orders:1",
                        "env": [{"name": "OUTBOX_SCHEMA", "value": "outbox"}],
                    }
                ]
            },
        },
    },
}  # fmt: skip
PROGRAMS: Final = """#!/bin/sh
if [ "$1" = outbox ]; then shift; exec {python} -m outbox_operator.cli.main "$@"; fi
exec {kubectl} --kubeconfig={kubeconfig} --cache-dir={cache} "$@"
"""


@dataclass
class Shop:
    """The namespace of the page, whose pods are played here."""

    world: World
    folder: Path
    written: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    handled: list[tuple[str, int, str]] = field(default_factory=list)
    looks: int = 0
    begun: list[RelayProcess] = field(default_factory=list)
    _fences: dict[str, Iterator[str]] = field(default_factory=dict)
    _playing: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    def fence(self, language: str, *holds: str) -> str:
        """The next fence of the page that holds these words, with the NATS that there is."""
        rest = self._fences.setdefault(language, iter(fences(PAGE, language)))
        text = next(one for one in rest if all(word in one for word in holds))
        return text.replace("nats://nats.shop:4222", self.world.nats.url)

    async def run(self, *holds: str) -> None:
        """The next commands, as they stand; returns when the writers have seen what they did."""
        shell = await asyncio.create_subprocess_exec(
            "bash", "-eo", "pipefail", "-c", self.fence("sh", *holds), cwd=self.folder,
            env={
                **os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}",
                "KUBECONFIG": str(self.world.kubectl.kubeconfig),
            },
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(shell.communicate(), 600)
        assert shell.returncode == 0, f"{holds}: {said.decode()}\n{self.world.log(40)}"
        looks = self.looks
        await eventually(lambda: self.looks > looks + 1, "the writers look at their Deployment")

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Events of some keys, as long as the Deployment has pods, into the schema it names."""
        connection = await asyncpg.connect(self.world.database)
        over = asyncio.Event()

        async def write() -> None:
            while not over.is_set():
                spec = self.world.deployment("orders")["spec"]
                [container] = spec["template"]["spec"]["containers"]
                [schema] = [one["value"] for one in container["env"]]
                # No more than a machine with other work handles: what waits is to become nothing.
                writes = spec["replicas"] and self.looks % 2 == 0
                for key in (f"k{number}" for number in range(KEYS)) if writes else ():
                    await connection.execute(
                        f"INSERT INTO {schema}.events (event_type, partition_key, payload) "
                        "VALUES ('order.created', $1, $2)",
                        key, json.dumps({"key": key, "n": self.written[key]}),
                    )  # fmt: skip
                    self.written[key] += 1
                self.looks += 1
                await asyncio.sleep(0.2)

        task = asyncio.create_task(write())
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            # Not cancelled: nobody would know of the last event whether it was committed.
            over.set()
            await asyncio.gather(task, return_exceptions=True)
            await connection.close()

    def _configuration(self, name: str) -> str:
        body = self.world.get("ConfigMap", name)
        assert body is not None, f"no ConfigMap {name}"
        text: str = body["data"]["config.json"]
        return text

    def told_of_the_new_one(self) -> bool:
        """Whether what pods of the pipeline are told is of the one that is there now."""
        there = self.world.get("OutboxPipeline", "orders")
        told = self.world.get("ConfigMap", "orders-relay")
        if there is None or told is None:
            return False
        return there["metadata"]["uid"] in told["data"]["config.json"]

    def relay(self, pipeline: str) -> RelayProcess:
        """The relay of a pipeline."""
        (self.folder / "url").write_text(self.world.database)
        config = json.loads(self._configuration(f"{pipeline}-relay"))
        config["database"] = {
            "url_file": str(self.folder / "url"), "schema": config["database"]["schema"]
        }  # fmt: skip
        return RelayProcess(
            {**config, "health_port": 0, "poll_max_seconds": 0.1}, self.folder, pipeline
        )

    async def play(self, consumer: str) -> None:
        """Handle events as a pod of a consumer."""
        config = parse(self._configuration(f"{consumer}-consumer"), where="the ConfigMap")
        config = replace(config, health_port=free_port(), backoff_seconds=(0.05,))
        await self._playing.enter_async_context(consuming(config, calling(self._handle)))

    async def _handle(self, event: ReceivedEvent, context: Context) -> Ack:
        seen = event.json()
        found = f"#{context.sequence} {event.subject}, delivery {context.deliveries}"
        self.handled.append((seen["key"], seen["n"], found))
        return Ack()

    async def close(self) -> None:
        """Its pods end."""
        await self._playing.aclose()

    async def all_handled(self) -> None:
        """Waits until what was written was handled: once, and each key in order."""
        total = sum(self.written.values())
        await eventually(lambda: len(self.handled) >= total, f"{total} events are handled")
        by_key: dict[str, list[int]] = defaultdict(list)
        for key, n, _ in self.handled:
            by_key[key].append(n)
        wrong = {
            key: found for key, found in by_key.items() if found != list(range(self.written[key]))
        }
        seen = "\n".join(map(str, (one for one in self.handled if one[0] in wrong)))
        assert not wrong, f"{wrong}, written {self.written}:\n{seen}"
        assert by_key.keys() == self.written.keys()


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """The one of the page."""
    api(kubectl.kubeconfig).create("/api/v1/namespaces", {"metadata": {"name": SHOP}})
    yield SHOP
    kubectl("delete", "namespace", SHOP, f"--timeout={SECONDS:.0f}s")


@pytest.fixture
async def shop(
    kubectl: Kubectl, namespace: str, database: str, operator: OperatorProcess, tmp_path: Path
) -> AsyncIterator[Shop]:
    program = tmp_path / "kubectl"
    program.write_text(
        PROGRAMS.format(
            python=sys.executable, kubectl=kubectl.program, kubeconfig=kubectl.kubeconfig,
            cache=kubectl.kubeconfig.parent / "kubectl-cache",
        )
    )  # fmt: skip
    program.chmod(0o755)
    with NatsServer() as nats:  # of its own: the names of streams are those of the page
        world = World(
            kubectl=kubectl, namespace=namespace, database=database, nats=nats, prefix="orders",
            operator=operator,
        )  # fmt: skip
        shop = Shop(world, tmp_path)
        world.apply(WRITERS, world.secret("orders-db", url=database), narrow(world))
        await asyncio.to_thread(world.wait_condition, "OutboxPipeline", "orders", *APPLIED)
        yield shop
        await shop.close()
        world.clear()


APPLIED: Final = ("SchemaApplied", "True")


def narrow(world: World) -> dict[str, Any]:
    """The pipeline that there is before."""
    document = world.pipeline(
        database={"connectionSecretRef": {"name": "orders-db"}},
        relay={},
        consumers=[{"name": "billing", "handler": HANDLER, "ordering": "PerKey"}],
    )
    document["spec"]["stream"] = {"name": "ORDERS", "subject": "orders.{event_type}"}
    return document


async def ready(shop: Shop, *consumers: str) -> None:
    """What their pods are told is there."""

    def all_ready() -> bool:  # in this thread: there is one connection for all looks
        return all(
            shop.world.condition("EventConsumer", name, "ConsumerReady").get("status") == "True"
            for name in consumers
        )

    await eventually(all_ready, f"{consumers} are ready")


@pytest.mark.thorough
async def test_a_second_pipeline_drained_over(shop: Shop) -> None:
    await ready(shop, "orders-billing")
    first = shop.relay("orders").start()
    try:
        await shop.play("orders-billing")
        async with shop.writing():
            await eventually(
                lambda: len(shop.handled) > 2 * KEYS, "events are handled", relay=first
            )
            (shop.folder / "orders-wide.yaml").write_text(shop.fence("yaml", "orders-wide.yaml"))
            await shop.run("apply -f orders-wide.yaml")
            await shop.run("set env deployment/orders")
            await shop.run("reconcile orders", "ackPending")
            # As Kubernetes makes the pods, once it is told to.
            begin = asyncio.create_task(begun(shop))
            await shop.run("start orders-wide")
            await begin
            await shop.run("delete obp orders")
        first.kill()
        await shop.all_handled()
    finally:
        first.kill()
        for relay in shop.begun:
            relay.kill()


async def begun(shop: Shop) -> None:
    """The relay of the second pipeline, and its consumers, when it is to run."""

    def wanted() -> bool:
        body = shop.world.get("Deployment", "orders-wide-relay")
        return body is not None and body["spec"]["replicas"] > 0

    await eventually(wanted, "a relay of the second pipeline")
    lanes = ("orders-wide-billing-0", "orders-wide-billing-1")
    await ready(shop, *lanes)
    shop.begun.append(shop.relay("orders-wide").start())
    for name in lanes:
        await shop.play(name)
    shop.world.pods_ready("orders-wide-relay", 1)


@pytest.mark.thorough
async def test_the_drained_outbox_made_anew(shop: Shop) -> None:
    await ready(shop, "orders-billing")
    relay = shop.relay("orders").start()
    try:
        await shop.play("orders-billing")
        async with shop.writing():
            await eventually(
                lambda: len(shop.handled) > 2 * KEYS, "events are handled", relay=relay
            )
            await shop.run("scale deployment/orders --replicas=0", "get obp orders -o yaml")
            relay.kill()
            document = yaml.safe_load((shop.folder / "orders.yaml").read_text())
            del document["status"]
            for name in ("uid", "resourceVersion"):
                del document["metadata"][name]
            document["spec"]["outbox"]["shards"] = 4
            document["spec"]["stream"]["subject"] = "orders.{shard}.{event_type}"
            (shop.folder / "orders.yaml").write_text(yaml.safe_dump(document))
            connection = await asyncpg.connect(shop.world.database)
            await connection.execute(shop.fence("sql", "RENAME"))
            await connection.close()
            await shop.run("apply -f orders.yaml")
            await eventually(shop.told_of_the_new_one, "pods are told of the pipeline made anew")
            await ready(shop, "orders-billing")
            before = len(shop.handled)
            relay = shop.relay("orders").start()
            await eventually(lambda: len(shop.handled) > before + KEYS, "events are handled again")
        await shop.all_handled()
    finally:
        relay.kill()
