"""The example of a container handler, with the environment that the operator gives it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from nats.aio.client import Client

from support.consuming import Source
from support.fences import go_program, node_environment, node_modules
from support.kube import ROOT
from support.waiting import SECONDS

pytestmark = pytest.mark.integration

EXAMPLE = ROOT / "examples/plain-container"


async def test_the_plain_consumer_handles_refuses_and_stops(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix)
    good = await source.publish({"id": 1})
    await client.jetstream().publish(f"{stream_prefix}.evt.bad", b"not json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE / "consumer.py"),
        env={
            **os.environ,
            "NATS_URL": source.config.jetstream.url,
            "OUTBOX_STREAM": stream_prefix,
            "OUTBOX_CONSUMER": source.config.durable,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await source.settled(2)
    finally:
        process.terminate()
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0
    assert json.loads(output) == {"indexed": good, "order": {"id": 1}}


def program(language: str, folder: Path) -> list[str]:
    """The example in a language, ready to run."""
    if language == "python":
        return [sys.executable, str(EXAMPLE / "consumer.py")]
    if language == "go":
        return [str(go_program(folder, {"consumer.go": (EXAMPLE / "consumer.go").read_text()}))]
    (folder / "consumer.mjs").write_text((EXAMPLE / "consumer.mjs").read_text())
    (folder / "node_modules").symlink_to(node_modules())
    return ["node", str(folder / "consumer.mjs")]


@pytest.mark.parametrize("language", ["python", "go", "node"])
async def test_what_it_lacks_is_named(
    client: Client, stream_prefix: str, tmp_path: Path, language: str
) -> None:
    source = await Source.create(client, stream_prefix)
    command = await asyncio.to_thread(program, language, tmp_path)
    given = {
        "NATS_URL": source.config.jetstream.url,
        "OUTBOX_STREAM": stream_prefix,
        "OUTBOX_CONSUMER": source.config.durable,
    }
    for name, value, words, lines in (
        *((name, "", f"{name} is not set", 1) for name in given),
        ("OUTBOX_CONSUMER", "nobody", "consumer not found", 20 if language == "node" else 1),
        ("OUTBOX_STREAM", "NOTHING", "stream not found", 20 if language == "node" else 1),
    ):
        process = await asyncio.create_subprocess_exec(
            *command, env={**node_environment(), **given, name: value},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(process.communicate(), SECONDS)
        assert process.returncode == 1, said
        assert words in said.decode()
        assert len(said.decode().splitlines()) <= lines, said.decode()
