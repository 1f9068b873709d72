"""An HTTP server in the place of an API server, for answers that a real one gives seldom."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


def kubeconfig(
    folder: Path, server: str, user: dict[str, Any] | None = None, **cluster: Any
) -> Path:
    """Of a cluster at an address.

    Args:
        folder: Where it is written.
        server: The address.
        user: Its login; None: a token.
        cluster: Further fields of the cluster.
    """
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": {"server": server, **cluster}}],
                "users": [{"name": "ann", "user": user or {"token": "hidden"}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "ann"}}],
            }
        )
    )
    return path


@contextmanager
def answering(
    answer: Callable[[BaseHTTPRequestHandler], None], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A server that gives one answer to all, by TLS if wanted; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # who has heard enough hangs up
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)


def pipelines(handler: BaseHTTPRequestHandler) -> None:
    """An API server with two of whatever is asked for."""
    items = [{"metadata": {"name": name, "namespace": "shop"}} for name in ("orders", "returns")]
    listed = {"kind": "OutboxPipelineList", "apiVersion": "v1", "metadata": {}, "items": items}
    body = json.dumps(listed).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
