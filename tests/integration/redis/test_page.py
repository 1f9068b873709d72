"""docs/how-to/publish-to-redis-streams.md: its manifest is taken, its program reads, its rights are
enough and needed."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from outbox_operator.adapters.redis.admin import RedisAdmin
from outbox_operator.adapters.redis.group import RedisGroup
from outbox_operator.adapters.redis.group_admin import GroupAdmin
from outbox_operator.adapters.redis.group_entry import Entry
from outbox_operator.adapters.redis.letter_admin import FIRST, Again, LetterAdmin
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.redis.sink import RedisSink
from outbox_operator.adapters.sink import Fence, Owner
from outbox_operator.dev.manifest import read
from outbox_operator.errors import AccessDeniedError
from outbox_operator.plan import state
from outbox_operator.telemetry.readiness import ServerState
from support.fences import fences, filled, node_environment, node_modules
from support.kube import ROOT
from support.redis import RedisServer, redis_client
from support.sinks import message
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

NAME = "docs/how-to/publish-to-redis-streams.md"
PAGE = (ROOT / NAME).read_text()
EXAMPLE = (ROOT / "examples/redis/pipeline.yaml").read_text()
KEY = "identity.user.v1"
READER = state.Owner(uid="u2", key="EventConsumer/a/b", cluster="")
NOBODY = {"key": KEY, "replaces": "", "uid": "u1", "name": "EventStream/a/b", "cluster": ""}


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
async def server(redis_server: RedisServer) -> AsyncIterator[RedisServer]:
    """The server with the users of the page."""
    async with redis_client(redis_server) as client:
        version = (await client.info("server"))["redis_version"]
        knows_setinfo = tuple(map(int, version.split(".")[:2])) >= (7, 2)
        for line in block("text").splitlines():
            # As the page says it for older ones.
            rights = line if knows_setinfo else line.replace(" +client|setinfo", "")
            await client.execute_command(*rights.split())
        yield redis_server
        await client.acl_deluser("outbox", "consumers", "readers")
        await client.delete(KEY, f"{{{KEY}}}:outbox", f"{KEY}.dlq")


def login_of(server: RedisServer, user: str) -> RedisLogin:
    return replace(server.login, username=user, password="change-me")


def test_the_manifest_is_that_of_the_example_and_good() -> None:
    shown = yaml.safe_load(block("yaml"))
    assert shown == yaml.safe_load(EXAMPLE)
    resources = read([shown], "page")
    assert resources.streams[0].spec.redis is not None
    assert resources.streams[0].spec.name == KEY


async def _life(login: RedisLogin) -> None:
    """What operator and relay do with the login that they share."""
    admin = await RedisAdmin.open(login, name="operator")
    sink = await RedisSink.open(lambda: login, name="relay")
    try:
        assert (await admin.server()).fsync == "always"
        assert (await admin.key(KEY)).kind == "none"
        await admin.claim(NOBODY)
        await sink.facts(KEY)
        owner = Owner("a1", 1)
        await sink.shut_out(owner, KEY, None)
        run = sink.open_run(owner=owner, fence=Fence(KEY, 0), ordered=True, subjects=KEY)
        await run.send([message(KEY, number) for number in range(1, 9)], last=True)
        sent = await run.finish()
        assert (sent.count, sent.refusal) == (8, None)
        assert [one.sequence async for one in sink.tail(KEY, 6)] == [7, 8]
        assert (await admin.trim(KEY, "u1", 5)).removed == 3
        found = await admin.key(KEY)
        assert (found.entries, found.first_id, found.last_id) == (5, 4, 8)
        assert found.bytes
        groups = GroupAdmin(admin)
        wanted = {"key": KEY, "group": "billing", "behind": "0-0", "replaces": None}
        made = await groups.make({**wanted, "owner": READER, "sets": False})
        assert made.found is not None
        assert made.found.marked
        await groups.make({**wanted, "owner": READER, "sets": True})
        letters = LetterAdmin(admin, f"{KEY}.dlq")
        for number in (5, 6):
            await admin.ask(
                "write a letter", "XADD", letters.key, "*", "Outbox-Dead-Letter-Reason", "Refused",
                "Outbox-Dead-Letter-Stream", KEY, "Outbox-Dead-Letter-Sequence", number,
                "Ce-Id", str(uuid.UUID(int=number)),
            )  # fmt: skip
        await admin.ask("give all out", "XGROUP", "SETID", KEY, "billing", "8-0")
        first, second = [one async for one in letters.behind(FIRST, await letters.last())]
        assert await letters.again(first, "billing") is Again.DONE
        assert await letters.remove(second.id)
        assert await groups.drop(KEY, "billing", READER)
        assert await admin.drop(KEY, "u1", f"{KEY}.dlq")
    finally:
        await admin.close()
        await sink.close()


async def test_the_rights_of_the_page_are_enough(server: RedisServer) -> None:
    await _life(login_of(server, "outbox"))
    async with redis_client(server) as client:
        denied = [one for one in await client.acl_log() if one["username"] == "outbox"]
    assert denied == []


@pytest.mark.parametrize(
    "right",
    [
        "+info",
        "+xadd",
        "+xdel",
        "+xclaim",
        "+xtrim",
        "+hset",
        "+unlink",
        "+xgroup|create",
        "+evalsha",
        "+xgroup|createconsumer",
        "+xgroup|setid",
        "+xinfo|consumers",
    ],
)
async def test_and_none_can_be_left_out(server: RedisServer, right: str) -> None:
    line = block("text").splitlines()[0]
    assert f" {right} " in line
    async with redis_client(server) as client:
        await client.execute_command("ACL", "SETUSER", "outbox", f"-{right[1:]}")
    with pytest.raises((AccessDeniedError, AssertionError)):
        await _life(login_of(server, "outbox"))


async def test_readers_may_not_publish_and_the_program_reads(server: RedisServer) -> None:
    admin = await RedisAdmin.open(server.login, name="tests")
    await admin.claim(NOBODY)
    await admin.close()
    names: dict[str, Any] = {}
    exec(block("python title=reader.py"), names)
    read_entries: Callable[..., int] = names["read"]
    handled: list[tuple[str, str, str]] = []
    options: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "decode_responses": True}
    with (
        Redis(**options) as writer,
        Redis(**options, username="readers", password="change-me") as client,
    ):
        fields = {"Ce-Id": "e1", "Ce-Type": "user.created", "Outbox-Data": "{}"}
        writer.xadd(KEY, fields, id="1-0")
        count = read_entries(client, "mail", "one", lambda *seen: handled.append(seen), block_ms=10)
        assert count == 1
        assert handled == [("e1", "user.created", "{}")]
        pending: Any = writer.xpending(KEY, "mail")
        assert pending["pending"] == 0
        # Idle it waits for less than its client waits for an answer.
        assert read_entries(client, "mail", "one", lambda *seen: handled.append(seen)) == 0
        with pytest.raises(Exception, match="no permissions"):
            client.xadd(KEY, fields)


@pytest.mark.parametrize("line", ["python reader.py", "node reader.mjs"])
async def test_and_its_programs_run_as_they_are(
    server: RedisServer, tmp_path: Path, line: str
) -> None:
    [typed] = fences(NAME, "sh title=read")
    assert "python reader.py" in typed
    assert "node reader.mjs`" in PAGE
    for language in ("python", "js"):
        name = "reader.py" if language == "python" else "reader.mjs"
        (tmp_path / name).write_text(block(f"{language} title={name}"))
    (tmp_path / "node_modules").symlink_to(node_modules())
    url = tmp_path / ".outbox-dev/redis-url"
    url.parent.mkdir()
    url.write_text(f"redis://readers:change-me@127.0.0.1:{server.port}")
    async with redis_client(server) as client:
        for name in ("e1", "e2"):
            await client.xadd(KEY, {"Ce-Id": name, "Ce-Type": "t", "Outbox-Data": "{}"})
    shell = typed.replace("python reader.py", f"exec {line}")
    path = f"{Path(sys.executable).parent}:{node_environment()['PATH']}"
    program = await asyncio.create_subprocess_exec(
        "sh", "-c", shell, cwd=tmp_path,
        env={**node_environment(), "PATH": path, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert program.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            said = [(await program.stdout.readline()).decode() for _ in range(2)]
    finally:
        program.kill()
        await program.wait()
    assert said == ["e1 t {}\n", "e2 t {}\n"]


@pytest.mark.parametrize("line", ["python reader.py", "node reader.mjs"])
@pytest.mark.parametrize("there", [True, False])
async def test_and_end_at_once_where_there_is_nothing_to_read(
    redis_server: RedisServer, tmp_path: Path, line: str, there: bool
) -> None:
    for language, name in (("python", "reader.py"), ("js", "reader.mjs")):
        (tmp_path / name).write_text(block(f"{language} title={name}"))
    (tmp_path / "node_modules").symlink_to(node_modules())
    url = {"REDIS_URL": f"redis://127.0.0.1:{redis_server.port}"} if there else {}
    program = await asyncio.create_subprocess_exec(
        *line.split(), cwd=tmp_path,
        env={
            **node_environment(), **url,
            "PATH": f"{Path(sys.executable).parent}:{node_environment()['PATH']}",
        },
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(program.communicate(), SECONDS)
    assert program.returncode == 1
    assert f"there is no key {KEY}" in said.decode() if there else "REDIS_URL" in said.decode()
    async with redis_client(redis_server) as client:
        assert not await client.exists(KEY)


async def test_so_does_the_program_in_javascript(server: RedisServer, tmp_path: Path) -> None:
    program = tmp_path / "read.mjs"
    function, asked, _ = block("js title=reader.mjs").partition("if (!process.env.REDIS_URL)")
    assert asked
    program.write_text(filled("read.mjs", function))
    (tmp_path / "node_modules").symlink_to(node_modules())
    fields = {"Ce-Id": "e1", "Ce-Type": "user.created", "Outbox-Data": "{}"}
    async with redis_client(server) as client:
        await client.xgroup_create(KEY, "node", id="0", mkstream=True)
        await client.xadd(KEY, fields, id="1-0")
        await client.xreadgroup("node", "dead", {KEY: ">"})
        await client.xclaim(KEY, "node", "dead", 0, ["1-0"], idle=60_000)
        await client.xadd(KEY, {**fields, "Ce-Id": "e2"}, id="2-0")
        done = await asyncio.create_subprocess_exec(
            "node", str(program),
            env={
                **node_environment(),
                "REDIS_URL": f"redis://readers:change-me@127.0.0.1:{server.port}",
            },
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(done.communicate(), SECONDS)
        pending: Any = await client.xpending(KEY, "node")
    assert json.loads(said) == [[one, "user.created", "{}"] for one in ("e1", "e2")]
    assert pending["pending"] == 0


async def test_consumers_of_ours_need_no_more_than_the_page_says(server: RedisServer) -> None:
    async with redis_client(server) as client:
        await client.xgroup_create(KEY, "billing", id="0", mkstream=True)
        for number in range(1, 4):
            await client.xadd(KEY, {"Ce-Id": f"id-{number}", "Ce-Type": "t"}, id=f"{number}-0")
    arrived: list[Entry] = []
    group = RedisGroup(
        lambda: login_of(server, "consumers"), name="tests", stream=KEY, keys=[KEY],
        group="billing", ack_wait=600.0, state=ServerState(),
        on_delivery=arrived.append, on_change=lambda: None, on_refused=lambda sequence: None,
    )  # fmt: skip
    await group.open()
    await group.request(3)
    await eventually(lambda: len(arrived) == 3, "all come")
    arrived[0].in_progress()
    arrived[0].ack()
    arrived[1].nak()
    await arrived[2].store_copy(f"{KEY}.dlq", {"Ce-Id": "id-3"})
    await group.request(1)
    await eventually(lambda: len(arrived) == 4, "the second comes again")
    arrived[3].ack()
    await group.confirm()
    assert (await group.unanswered()).count == 0
    assert group.failure is None
    await group.end()
    async with redis_client(server) as client:
        assert await client.xinfo_consumers(KEY, "billing") == []
        await client.delete(f"{KEY}.dlq")
