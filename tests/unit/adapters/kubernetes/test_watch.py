"""A watch beside an API server that forgets, hangs up, goes silent or answers half a line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from outbox_operator.adapters.kubernetes import transport as transport_module
from outbox_operator.adapters.kubernetes import watch as watch_module
from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.transport import Transport
from outbox_operator.adapters.kubernetes.watch import Changed, Listed
from outbox_operator.aio import jittered
from outbox_operator.errors import KubernetesError
from support.waiting import SECONDS

COLLECTION = "/api/v1/namespaces/shop/configmaps"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/a"
GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}

Watched = Callable[[web.StreamResponse], Awaitable[None]]


def item(name: str, version: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def line(kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


class Scripted:
    """Lists what `items` holds, and answers each watch as the next of `watches` says.

    Attributes:
        asked: `list`, or the version that a watch began behind.
    """

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.version = 1
        self.watches: list[Watched | int] = []
        self.asked: list[str] = []
        self.page: str | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.page is not None:
            return web.Response(text=self.page, content_type="text/html")
        if request.query.get("watch") != "true":
            self.asked.append("list")
            return web.json_response(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMapList",
                    "metadata": {"resourceVersion": str(self.version)},
                    "items": self.items,
                }
            )
        self.asked.append(request.query["resourceVersion"])
        wanted = self.watches.pop(0)
        if isinstance(wanted, int):
            return web.json_response(GONE, status=wanted)
        response = web.StreamResponse()
        await response.prepare(request)
        await wanted(response)
        return response


@pytest.fixture
def server() -> Scripted:
    return Scripted()


@pytest.fixture
async def kube(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Kube]:
    """Our connection to it; pauses are short."""
    monkeypatch.setattr(watch_module, "BACKOFF_MIN_SECONDS", 0.001)
    app = web.Application()
    app.router.add_get(COLLECTION, server.answer)
    app.router.add_get(LEASE, server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kubeconfig = tmp_path / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [
            {"name": "test", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}
        ],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    kubeconfig.write_text(yaml.safe_dump(document))
    connection = Kube(await Transport.connect("test", kubeconfig=str(kubeconfig)), "test")
    yield connection
    await connection.close()
    await runner.cleanup()


async def told(kube: Kube, count: int) -> list[str]:
    """The first so many things that a watch says, as short texts."""
    said = []
    async with asyncio.timeout(SECONDS):
        async for change in kube.watch("v1", "configmaps", "shop"):
            if isinstance(change, Listed):
                said.append("list: " + " ".join(one["metadata"]["name"] for one in change.items))
            elif isinstance(change, Changed):
                name = change.body["metadata"]["name"]
                said.append(f"{name} gone" if change.deleted else name)
            if len(said) == count:
                break
    return said


def says(*lines: bytes) -> Watched:
    """A watch that says something and ends."""

    async def write(response: web.StreamResponse) -> None:
        for one in lines:
            await response.write(one)

    return write


async def cut(response: web.StreamResponse) -> None:
    """Half a line, and the connection is gone."""
    await response.write(line("ADDED", item("half", 7))[:20])
    request = response._req
    assert request is not None
    assert request.transport is not None
    request.transport.close()


async def test_what_ends_without_a_word_goes_on_behind_what_it_said(
    server: Scripted, kube: Kube
) -> None:
    server.items = [item("a", 1)]
    server.watches = [
        says(),
        says(line("ADDED", item("b", 5))),
        says(line("BOOKMARK", {"metadata": {"resourceVersion": "9"}})),
        says(line("DELETED", item("b", 12))),
    ]
    assert await told(kube, 3) == ["list: a", "b", "b gone"]
    assert server.asked == ["list", "1", "1", "5", "9"]


async def test_a_line_that_was_cut_is_asked_for_again(server: Scripted, kube: Kube) -> None:
    server.watches = [
        says(line("ADDED", item("a", 5))), cut, says(line("ADDED", item("half", 7))),
    ]  # fmt: skip
    assert await told(kube, 3) == ["list: ", "a", "half"]
    assert server.asked == ["list", "1", "5", "5"]


@pytest.mark.parametrize("gone", [says(line("ERROR", GONE)), 410], ids=["said", "refused"])
async def test_who_lost_history_lists_again(
    server: Scripted, kube: Kube, gone: Watched | int
) -> None:
    """What is not in the new list is gone, though no watch ever said so."""
    server.items = [item("a", 1), item("b", 1)]

    async def compacted(response: web.StreamResponse) -> None:
        server.items, server.version = [item("b", 1), item("c", 40)], 50
        await response.write(line("MODIFIED", item("a", 6)))

    server.watches = [compacted, gone, says(line("ADDED", item("d", 51)))]
    assert await told(kube, 4) == ["list: a b", "a", "list: b c", "d"]
    assert server.asked == ["list", "1", "6", "list", "50"]


async def test_a_watch_that_is_open_and_silent_is_given_up(
    server: Scripted, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a connection: the other end is gone, and nothing says so."""
    monkeypatch.setattr(transport_module, "SILENCE_TIMEOUT_SECONDS", 0.2)
    given_up = asyncio.Event()

    async def silent(response: web.StreamResponse) -> None:
        await response.write(line("ADDED", item("a", 5)))
        await given_up.wait()

    server.watches = [silent, says(line("ADDED", item("b", 6)))]
    assert await told(kube, 3) == ["list: ", "a", "b"]
    assert server.asked == ["list", "1", "5"]
    given_up.set()


async def test_history_that_is_lost_at_once_each_time_is_listed_less_and_less_often(
    server: Scripted, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where more changes in the time of a list than the API server remembers."""
    pauses: list[float] = []

    def pause(failures: int, jitter: float) -> float:
        pauses.append(watched(failures, 0.0))
        return jittered(0.001, jitter)

    watched = watch_module.pause_seconds
    monkeypatch.setattr(watch_module, "pause_seconds", pause)
    server.watches = [
        *(says(line("ERROR", GONE)) for _ in range(5)),
        says(line("BOOKMARK", {"metadata": {"resourceVersion": "2"}}), line("ERROR", GONE)),
        says(line("ADDED", item("a", 5))),
    ]
    assert await told(kube, 8) == [*["list: "] * 7, "a"]
    assert pauses[:5] == sorted(set(pauses[:5])), "each is longer than the one before"
    assert pauses[5] == pauses[0], "it had been of use"


@pytest.mark.parametrize("page", ["<html>We are back soon</html>", "", "[]", "null"])
async def test_an_answer_that_is_no_object_is_no_answer(
    server: Scripted, kube: Kube, page: str
) -> None:
    """Of a proxy before the API server that says so with status 200."""
    server.page = page
    with pytest.raises(KubernetesError, match="no object"):
        await kube.lease("shop", "a")
    with pytest.raises(KubernetesError, match="no object"):
        await kube.list("v1", "configmaps", "shop")
