"""What containers of others, which read by themselves, give up on: dead letters here as well."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path

import nats
from nats.aio.client import Client

from support.cli import CommandLine
from support.devrun import ROOT, Dev

OTHERS = """
apiVersion: outbox.dev/v1alpha1
kind: OutboxPipeline
metadata: {name: orders}
spec:
  database: {connectionSecretRef: {name: app}}
  nats: {url: "nats://nats:4222"}
  stream: {name: ORDERS, subject: "orders.{event_type}"}
---
apiVersion: outbox.dev/v1alpha1
kind: OutboxPipeline
metadata: {name: users}
spec:
  database: {connectionSecretRef: {name: app}, schema: users}
  nats: {url: "nats://nats:4222"}
  stream: {name: USERS, subject: "users.{event_type}"}
  consumers:
  - {name: mail, filterEventTypes: [user.created, invoice.*], handler: {container: {image: mail}}}
"""
CONTAINER = ROOT / "examples/plain-container/consumer.yaml"


def test_what_the_server_gave_up_on_is_a_dead_letter(dev: Dev) -> None:
    dev.start("-f", str(CONTAINER), manifest=_pipeline(dev))
    dev.says("ready after")
    dev.emit("order.bad", "{}", "--key", "1")
    dev.emit("order.late", "{}", "--key", "2")
    asyncio.run(_gives_up((dev.data / "nats-url").read_text()))
    dev.says(r"(?m)^search-index .* 2  not run here$")
    dev.says(r"(?m)^orders +0 .* 2$")
    outbox = CommandLine.of_laptop(dev.data)
    [pipeline] = outbox.facts("status", "orders")["pipelines"]
    assert pipeline["stream"]["deadLetters"] == 2
    letters = [
        letter
        for place in outbox.facts("dlq", "list", "orders")["places"]
        for letter in place["letters"]
    ]
    whys = {letter["type"]: (letter["reason"], letter["error"]) for letter in letters}
    assert whys["order.bad"] == ("Terminated", "not an order")
    assert whys["order.late"][0] == "MaxDeliver"
    [task] = outbox.facts("dlq", "replay", "orders", "--all")["tasks"]
    assert (task["done"], task["failed"]) == (2, 0)
    dead = re.compile(r"(?m)^orders +0 .* (\d+)$")
    dev.until(lambda: dead.findall(dev.output)[-1] == "0", "no letters any more")
    said = outbox("emit", "users", "user.creatd", "{}")
    untaken = "no consumer of this pipeline takes user.creatd; they take invoice.*, user.created"
    assert untaken in " ".join(said.split())
    for line in (("users", "invoice.sent"), ("orders", "user.creatd")):
        assert "no consumer" not in outbox("emit", *line, "{}")


def _pipeline(dev: Dev) -> Path:
    path = dev.folder / "pipeline.yaml"
    path.write_text(OTHERS)
    return path


async def _gives_up(url: str) -> None:
    """Refuse one event, and leave the other alone until the server does."""
    client: Client = await nats.connect(url)
    try:
        reader = await client.jetstream().pull_subscribe_bind("search-index", "ORDERS")
        left = 6
        while left:
            for message in await reader.fetch(1, timeout=20):
                left -= 1
                if (message.headers or {})["Ce-Type"] == "order.bad":
                    await client.publish(message.reply, b"+TERM not an order")
                else:
                    await message.nak()
        with contextlib.suppress(TimeoutError):  # as one goes on that reads: nothing is left
            await reader.fetch(1, timeout=1)
    finally:
        await client.close()
