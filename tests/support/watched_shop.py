"""A shop that is watched: pipelines whose relays and consumer are processes of a test.

The operator and the API server are real, and there is no kubelet: the test says of pods whether
they are ready, and their processes run beside it with the configuration that the operator has made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import yaml

from support.archiving import as_a_pod, relayed, writing
from support.chart import CHART
from support.consuming import Endpoint
from support.nats import connected
from support.ports import free_port
from support.relaying import RelayProcess
from support.waiting import SECONDS
from support.watching import Watch
from support.world import World

GOOD: Final = """
INSERT INTO outbox.events (event_type, payload) SELECT 'created', '{}' FROM generate_series(1, $1)
"""
POISON: Final = """
INSERT INTO outbox.events (event_type, payload, headers)
SELECT 'created', '{}', '{"Nats-Msg-Id": "no"}' FROM generate_series(1, $1)
"""
WINDOW: Final = "10s"


def alert_names() -> set[str]:
    """Every alert of the chart."""
    return set(yaml.safe_load((CHART / "values.yaml").read_text())["alerts"]["rules"])


def short(namespace: str) -> dict[str, Any]:
    """Values of `alerts`: what takes minutes takes seconds."""
    rules = yaml.safe_load((CHART / "values.yaml").read_text())["alerts"]["rules"]
    values: dict[str, dict[str, Any]] = {name: {"for": "1s"} for name in rules}
    for name, rule in rules.items():
        if "window" in rule:
            values[name]["window"] = WINDOW
    values["OutboxSampleStale"]["threshold"] = 4
    values["OutboxConsumerStuck"]["threshold"] = 4
    values["OutboxArchiveBehind"]["threshold"] = 4
    values["OutboxOperatorDown"]["window"] = "1d"
    return {"namespaces": [namespace], "gap": "45s", "rules": values}


@dataclass
class Shop:
    """The world of the test.

    Attributes:
        databases: URL of each pipeline's database.
        relays: The relay process of each pipeline.
        endpoint: What the consumer `orders-billing` delivers to.
    """

    world: World
    watch: Watch
    folder: Path
    databases: dict[str, str]
    endpoint: Endpoint
    relays: dict[str, RelayProcess] = field(default_factory=dict)
    consumers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _archive: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def insert(self, pipeline: str, statement: str, *values: Any) -> None:
        """Run one statement on a pipeline's database."""
        connection = await asyncpg.connect(self.databases[pipeline])
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()

    def config(self, name: str) -> dict[str, Any]:
        """What the operator gives to the pods of a Deployment, for a process here."""
        found = self.world.get("ConfigMap", name)
        assert found is not None, f"no ConfigMap {name}"
        return {**json.loads(found["data"]["config.json"]), "health_port": free_port()}

    def wait_config(self, name: str) -> None:
        """Returns once the operator has made the configuration of a Deployment."""
        self.world.wait(lambda: self.world.get("ConfigMap", name) is not None, f"ConfigMap {name}")

    def start_relay(self, pipeline: str) -> RelayProcess:
        """Start a relay with the operator's configuration of now, and have it scraped."""
        config = self.config(f"{pipeline}-relay")
        secret = self.folder / f"{pipeline}.url"
        secret.write_text(self.databases[pipeline])
        config["database"] = {"url_file": str(secret), "schema": "outbox"}
        relay = RelayProcess(config, self.folder, pipeline).start()
        self.relays[pipeline] = relay
        self.watch.prometheus.scrape(f"127.0.0.1:{config['health_port']}", pod=f"{pipeline}-relay")
        return relay

    def kill_relay(self, pipeline: str) -> None:
        """End it as a crash would; its target goes, as that of a pod."""
        relay = self.relays.pop(pipeline)
        relay.kill()
        port = json.loads(relay.config.read_text())["health_port"]
        self.watch.prometheus.forget(f"127.0.0.1:{port}")

    def start_consumer(self, name: str) -> None:
        """Start a consumer with the operator's configuration, and have it scraped."""
        config = self.config(f"{name}-consumer")
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(config))
        with (self.folder / f"{name}.log").open("wb") as log:
            self.consumers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "outbox_operator.cli.main", "consume"],
                    env={**os.environ, "OUTBOX_CONFIG": str(path)},
                    stderr=log,
                )
            )
        self.watch.prometheus.scrape(f"127.0.0.1:{config['health_port']}", pod=name)

    async def start_archive(self, pipeline: str) -> None:
        """Have the pipeline's archive written, in this process."""
        document = self.world.get("ConfigMap", f"{pipeline}-archive-consumer")
        assert document is not None, "no ConfigMap of the archive"
        config = as_a_pod(document, self.databases[pipeline], self.folder)
        await self._archive.enter_async_context(writing(config))

    async def stop_archive(self) -> None:
        """Have it written no more."""
        await self._archive.aclose()

    async def forge(self, pipeline: str, *numbers: int) -> None:
        """Publish events with these numbers, as a relay of another outbox would."""
        async with connected(self.world.nats) as client:
            for number in numbers:
                subject = f"{self.world.prefix}.{pipeline}.created"
                headers = {**relayed(number), "Ce-Source": "/another"}
                await client.jetstream().publish(subject, b"{}", headers=headers)

    def stop(self) -> None:
        """End every process."""
        for relay in self.relays.values():
            relay.kill()
        for consumer in self.consumers:
            consumer.kill()
            consumer.wait(SECONDS)

    def change(self, pipeline: str, spec: dict[str, Any]) -> None:
        """Merge into the specification of a pipeline."""
        self.world.kubectl(
            "patch", "obp", pipeline, "-n", self.world.namespace, "--type=merge",
            f"-p={json.dumps({'spec': spec})}",
        )  # fmt: skip

    async def wait_ready(self, pipeline: str) -> None:
        """Returns once a pipeline is Ready; the endpoint goes on answering meanwhile."""
        await asyncio.to_thread(self.world.wait_ready, "OutboxPipeline", pipeline)


def alone(world: World, name: str, **spec: dict[str, Any] | list[Any]) -> dict[str, Any]:
    """A pipeline without pods that has a database of its own; `spec` is added to the usual."""
    document = world.pipeline(name, database={"connectionSecretRef": {"name": f"db-{name}"}})
    for part, fields in spec.items():
        document["spec"][part] = (
            {**document["spec"].get(part, {}), **fields} if isinstance(fields, dict) else fields
        )
    return document


@contextlib.asynccontextmanager
async def repeating(what: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do something again and again."""

    async def forever() -> None:
        while True:
            await what()
            await asyncio.sleep(0.1)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextlib.contextmanager
def refusing_statuses(world: World, stream: str) -> Iterator[None]:
    """An API server that takes no status of one EventStream, by an admission policy."""
    name = f"refuse-{world.namespace}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": world.namespace}
                },
                "resourceRules": [
                    {
                        "apiGroups": ["outbox.dev"],
                        "apiVersions": ["*"],
                        "operations": ["UPDATE"],
                        "resources": ["eventstreams/status"],
                        "resourceNames": [stream],
                    }
                ],
            },
            "validations": [{"expression": "false", "message": "no, says the test"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    world.apply(policy, binding)
    try:
        yield
    finally:
        world.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)
