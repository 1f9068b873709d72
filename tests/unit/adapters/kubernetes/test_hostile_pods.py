"""A pod is asked by way of the API server: what it answers is a pod's word, wherever it leads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from outbox_operator.adapters.kubernetes.caller import Caller
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.errors import KubernetesError

POD = Ref("v1", "pods", "shop", "evil")
PROXY = "/api/v1/namespaces/shop/pods/evil:8080/proxy/metrics"
LOG = "/api/v1/namespaces/shop/pods/evil/log"


class Api:
    """An API server that hands on what a pod says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sent = 0

    async def secrets(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("Authorization", ""))
        return web.Response(text="hunter2\n")

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        match request.query_string or self.says:
            case "elsewhere":
                where = f"{request.scheme}://{request.host.replace('127.0.0.1', 'localhost')}"
                return web.Response(status=302, headers={"Location": f"{where}/api/v1/secrets"})
            case "here":
                return web.Response(status=307, headers={"Location": "/api/v1/secrets"})
        response = web.StreamResponse(status=500 if self.says == "error" else 200)
        await response.prepare(request)
        line = b"a" * 31 + b"\n" if self.says == "lines" else b"a" * 32
        for _ in range(200):
            await response.write(line * 16384)
            self.sent += 1
        return response

    says = ""


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def caller(api: Api, tmp_path: Path) -> AsyncIterator[Caller]:
    app = web.Application()
    app.router.add_get("/api/v1/secrets", api.secrets)
    app.router.add_get(PROXY, api.metrics)
    app.router.add_get(LOG, api.metrics)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {"token": "admins"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    caller = await Caller.log_in(kubeconfig=str(path))
    yield caller
    await caller.close()
    await runner.cleanup()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_a_pod_sends_who_asks_it_nowhere(api: Api, caller: Caller, where: str) -> None:
    """With the rights of who asks it would read what it may not, into a file that is sent on."""
    api.says = where
    with pytest.raises(KubernetesError, match="it sends elsewhere, which is not followed"):
        [line async for line in caller.fetch_from_pod(POD, 8080, "metrics")]
    assert api.asked == []


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("endless", "the answer is over"),
        ("lines", "the answer is over"),
        ("error", "the answer is over"),
    ],
)
async def test_of_what_a_pod_says_so_much_is_taken(
    api: Api, caller: Caller, says: str, words: str
) -> None:
    api.says = says
    with pytest.raises(KubernetesError, match=words):
        [line async for line in caller.fetch_from_pod(POD, 8080, "metrics")]


async def test_a_line_of_a_log_that_is_followed_is_cut(api: Api, caller: Caller) -> None:
    found = [len(line) async for line in caller.log(POD, {}, follow=True)]
    assert found == [256 * 1024]
    assert api.sent == 200
