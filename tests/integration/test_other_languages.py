"""What pages and examples show in Go, Java and JavaScript, as it stands there: one program each
writes an order with its event; those of Go and JavaScript handle what comes through the relay."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from support.fences import LANGUAGES, fences, filled, go_program, node_environment, node_modules
from support.kube import ROOT
from support.nats import NatsServer, connected
from support.relaying import Outbox, an_outbox
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

JDBC = "/usr/share/java/postgresql.jar"
WRITING, HANDLING = "docs/how-to/other-languages.md", ROOT / "examples/plain-container"
READING = "docs/how-to/publish-to-redis-streams.md"
"""Its fence is run by `tests/integration/redis/test_page.py`."""
IN_HAND = 10
"""As many messages as an example takes at a time."""


@pytest.fixture
async def whole(database: str, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Outbox]:
    async with an_outbox(database, nats_server, tmp_path) as found:
        yield found


def go(folder: Path) -> list[str]:
    [write] = fences(WRITING, "go")
    handle = (HANDLING / "consumer.go").read_text()
    sources = {"consumer.go": handle, "produce.go": filled("produce.go", write)}
    return [str(go_program(folder, sources))]


def node(folder: Path) -> list[str]:
    [write] = fences(WRITING, "js")
    (folder / "produce.mjs").write_text(filled("produce.mjs", write))
    (folder / "consumer.mjs").write_text((HANDLING / "consumer.mjs").read_text())
    (folder / "node_modules").symlink_to(node_modules())
    return ["node", str(folder / "produce.mjs")]


def java(folder: Path) -> list[str]:
    [write] = fences(WRITING, "java")
    (folder / "Produce.java").write_text(filled("Produce.java", write))
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", JDBC, str(folder / "Produce.java")]


async def test_programs_of_the_pages_write_and_handle(
    whole: Outbox, nats_server: NatsServer, tmp_path: Path
) -> None:
    await whole.connection.execute("CREATE TABLE orders (id text PRIMARY KEY, total numeric)")
    async with connected(nats_server) as client:
        for name in ("go", "node"):
            settings = ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT)
            await client.jetstream().add_consumer(whole.prefix, settings)
    relay = whole.relay().start()
    programs = {}
    try:
        for name, make in (("java", java), ("go", go), ("node", node)):
            folder = tmp_path / name
            folder.mkdir()
            programs[name] = await asyncio.create_subprocess_exec(
                *await asyncio.to_thread(make, folder), cwd=folder,
                env={
                    **node_environment(), "DATABASE_URL": whole.url, "NATS_URL": nats_server.url,
                    "OUTBOX_STREAM": whole.prefix, "OUTBOX_CONSUMER": name,
                },
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        handling = [(name, programs[name]) for name in ("go", "node")]
        said = await asyncio.gather(*(indexed(*one, 3) for one in handling))
        out, _ = await asyncio.wait_for(programs["java"].communicate(), SECONDS)
        stored = await whole.stored(3)
        await take_few(whole.prefix, nats_server, dict(handling))
        async with connected(nats_server) as client:
            await client.jetstream().delete_consumer(whole.prefix, "go")
        await asyncio.wait_for(programs["go"].wait(), SECONDS)
    finally:
        for program in programs.values():
            if program.returncode is None:
                program.terminate()
    ends = [await asyncio.wait_for(program.wait(), SECONDS) for program in programs.values()]
    assert ends == [0, 1, 0], out.decode()  # one whose durable consumer is gone begins anew
    assert {one.key for one in stored} == {"o-go", "o-java", "o-node"}
    assert [json.loads(one.data) for one in stored if one.key == "o-java"] == [
        {"id": "o-java", "total": "12.30"}
    ]
    written = "SELECT string_agg(id || ' ' || total, ',' ORDER BY id) FROM orders"
    assert await whole.connection.fetchval(written) == "o-go 12.30,o-java 12.30,o-node 12.30"
    assert {one.headers["Ce-Type"] for one in stored} == {"order.created"}
    assert said == [{one.event_id for one in stored}] * 2
    relay.terminate()


async def take_few(
    stream: str, server: NatsServer, programs: dict[str, asyncio.subprocess.Process]
) -> None:
    """What a program has in hand while it is slow would come again after `ackWait`."""
    async with connected(server) as client:
        for program in programs.values():
            program.send_signal(signal.SIGSTOP)
        for _ in range(3 * IN_HAND):
            await client.jetstream().publish(f"{stream}.more", b"{}")
        for name, program in programs.items():

            async def given(name: str = name) -> bool:
                info = await client.jetstream().consumer_info(stream, name)
                return bool(info.num_waiting == 0)

            await eventually(given, f"{name} has all that it asked for")
            found = await client.jetstream().consumer_info(stream, name)
            assert 0 < (found.num_ack_pending or 0) <= IN_HAND, name
            program.send_signal(signal.SIGCONT)


async def indexed(name: str, program: asyncio.subprocess.Process, events: int) -> set[str]:
    """Ids of the events that a program says it has handled, once they are so many."""
    assert program.stdout is not None
    found: set[str] = set()
    text = ""
    while len(found) < events:
        try:
            async with asyncio.timeout(SECONDS):
                line = (await program.stdout.readline()).decode()
        except TimeoutError as error:
            raise AssertionError(f"{name}: nothing more comes: {text}") from error
        assert line, f"{name} ended: {text}"
        text += line
        found |= set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", line))
    return found


def test_every_fence_of_these_languages_is_among_them() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    found = {
        (str(page.relative_to(ROOT)), language)
        for page in pages
        for language in ("go", "java", "js", "javascript", "ts", "typescript", "mjs")
        if fences(str(page.relative_to(ROOT)), language)
    }
    assert found == {(WRITING, "go"), (WRITING, "java"), (WRITING, "js"), (READING, "js")}
    assert LANGUAGES.is_dir()
