"""As whom a kubeconfig logs in, and by which way, as the API server sees it."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.adapters.kubernetes.transport import Transport
from outbox_operator.errors import KubernetesError, OutboxError
from support.answering import answering, kubeconfig

ALL = {
    "token": "t", "as": "bob", "as-uid": "7", "as-groups": ["devs", "ops"],
    "as-user-extra": {"example.org/why so": ["a", "b"]},
}  # fmt: skip


async def told(path: Path, handlers: list[BaseHTTPRequestHandler]) -> list[list[tuple[str, str]]]:
    """What the API server is told of who asks: for an object, for lines of a log, for `exec`."""
    transport = await Transport.connect("test", kubeconfig=str(path))
    try:
        await transport.request("GET", "/api", subject="it")
        async for _ in transport.text("/log", query={}, subject="it"):
            pass
        with pytest.raises(OutboxError):  # it says no, and is asked why
            async with transport.websocket("/exec", query=[], protocol="x", subject="it"):
                pass
    finally:
        await transport.close()
    mine = ("authorization", "impersonate-")
    return [
        [(name, value) for name, value in one.headers.items() if name.lower().startswith(mine)]
        for one in handlers
    ]


def taking(into: list[BaseHTTPRequestHandler]) -> Any:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        into.append(handler)
        handler.send_response(200)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    return answer


@pytest.mark.parametrize(
    ("user", "headers"),
    [
        ({"token": "t"}, [("authorization", "Bearer t")]),
        ({"token": "t", "as": ""}, [("authorization", "Bearer t")]),
        ({"token": "t\n"}, [("authorization", "Bearer t")]),
        ({"token": "t", "as": "bob"}, [("Impersonate-User", "bob"), ("authorization", "Bearer t")]),
        (
            ALL,
            [
                ("Impersonate-User", "bob"), ("Impersonate-Uid", "7"),
                ("Impersonate-Group", "devs"), ("Impersonate-Group", "ops"),
                ("Impersonate-Extra-example.org%2Fwhy%20so", "a"),
                ("Impersonate-Extra-example.org%2Fwhy%20so", "b"),
                ("authorization", "Bearer t"),
            ],
        ),
    ],
)  # fmt: skip
async def test_who_asks(
    tmp_path: Path, user: dict[str, Any], headers: list[tuple[str, str]]
) -> None:
    seen: list[BaseHTTPRequestHandler] = []
    with answering(taking(seen)) as server:
        assert await told(kubeconfig(tmp_path, server, user), seen) == [headers] * 4


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"token": "t", "as-groups": ["system:masters"]}, "want a user in `as`"),
        ({"token": "t", "as-uid": "7"}, "want a user in `as`"),
        ({"token": "t", "as": ["bob"]}, "as: wants text"),
        ({"token": "t", "as": "bob", "as-groups": "devs"}, "as-groups: wants a list"),
        ({"token": "t", "as": "bob", "as-user-extra": ["a"]}, "wants a map of lists"),
        ({"token": "t", "as": "bob", "as-user-extra": {"a": "b"}}, "wants a list"),
        ({"token": "t", "as": "bob\nAccept: x"}, "as: there is a control character"),
        ({"token": "hush\nhush"}, "token: there is a control character"),
    ],
)
async def test_what_nobody_can_be(tmp_path: Path, user: dict[str, Any], said: str) -> None:
    path = kubeconfig(tmp_path, "http://127.0.0.1:1", user)
    with pytest.raises(KubernetesError) as refused:
        await Transport.connect("test", kubeconfig=str(path))
    assert said in refused.value.message
    assert str(path) in refused.value.message
    assert "hush" not in refused.value.message


async def test_an_operator_works_as_itself(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "http://127.0.0.1:1", {"token": "t", "as": "bob"})
    transport = await Transport.connect("test", kubeconfig=str(path))
    with pytest.raises(KubernetesError, match="acts as bob"):
        await transport.credentials()
    await transport.close()


async def test_a_proxy_is_taken_by_all_connections(tmp_path: Path) -> None:
    seen: list[BaseHTTPRequestHandler] = []
    with answering(taking(seen)) as proxy:
        path = kubeconfig(tmp_path, "http://api.invalid", None, **{"proxy-url": proxy})
        await told(path, seen)
    assert [one.path for one in seen] == [
        "http://api.invalid/api", "http://api.invalid/log", "http://api.invalid/exec",
        "http://api.invalid/exec",
    ]  # fmt: skip


@pytest.mark.parametrize("proxy", ["", "http://proxy:3128"])
async def test_only_where_there_is_a_proxy_requests_look_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """aiohttp does so at each request, and reads ~/.netrc as well."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    path = kubeconfig(tmp_path, "http://127.0.0.1:1")
    transport = await Transport.connect("test", kubeconfig=str(path))
    session = transport._client.rest_client._create_pool_manager()
    assert session.trust_env is bool(proxy)
    await session.close()
    await transport.close()
