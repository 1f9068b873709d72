"""A proxy in front of a real API server that can lose what a watch says, as networks do.

Requests pass unchanged; with `deafen`, watches of a resource stay open and keep their
bookmarks, but their events vanish: the failure that a healthy-looking connection hides. With
`lose`, requests reach the server and their answers nobody.
"""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web


class ApiProxy:
    """Listens on a loopback port; `kubeconfig` in `folder` points there.

    Args:
        kubeconfig: Admin credentials with file paths, used for every request that passes.
        folder: Where to write files.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        self._server = cluster["server"]
        self._tls = _client_context(cluster, document["users"][0]["user"], folder)
        self.kubeconfig = folder / "proxied"
        self._deaf: set[str] = set()
        self._lost = self._asked = 0

    def lose(self, every: int) -> None:
        """Lose every so many-th answer from now on, and hang up."""
        self._lost = every

    def deafen(self, plural: str) -> None:
        """Lose all events of this resource from now on."""
        self._deaf.add(plural)

    def heal(self) -> None:
        """Lose nothing any more; what was lost stays lost."""
        self._deaf.clear()

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            connector=TCPConnector(ssl=self._tls),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
            read_bufsize=2**21,
        )
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "proxy",
                    "clusters": [
                        {"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{port}"}}
                    ],
                    "users": [{"name": "proxy", "user": {}}],
                    "contexts": [
                        {"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}
                    ],
                }
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        sent = self._session.request(
            request.method,
            f"{self._server}{request.raw_path}",
            headers=headers,
            data=await request.read() or None,
        )
        self._asked += 1
        async with sent as answer:
            if self._lost and self._asked % self._lost == 0 and request.transport is not None:
                request.transport.close()
            kept = ("content-type", "content-encoding", "retry-after")
            response = web.StreamResponse(
                status=answer.status,
                headers={k: v for k, v in answer.headers.items() if k.lower() in kept},
            )
            await response.prepare(request)
            plural = request.path.rpartition("/")[2]
            if request.query.get("watch") == "true" and answer.status == 200:
                while line := await answer.content.readline():
                    if plural not in self._deaf or _is_bookmark(line):
                        await response.write(line)
            else:
                await response.write(await answer.read())
            await response.write_eof()
            return response


def _is_bookmark(line: bytes) -> bool:
    return bool(json.loads(line)["type"] == "BOOKMARK")


def _client_context(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext:
    def file(source: dict[str, Any], name: str) -> str:
        if name in source:
            return str(source[name])
        path = folder / name
        path.write_bytes(base64.b64decode(source[f"{name}-data"]))
        return str(path)

    context = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
    context.load_cert_chain(file(user, "client-certificate"), file(user, "client-key"))
    return context
