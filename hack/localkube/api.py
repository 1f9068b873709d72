"""The few questions localkube asks the API server, with an administrator's certificate."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class ApiClient:
    """A client for one cluster; `server` is a URL, `pki` the cluster's key folder."""

    def __init__(self, server: str, pki: Path) -> None:
        self._server = server
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        # The cluster is on this machine: a proxy of the environment must not get in between.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
        )

    def get(self, path: str) -> bytes | None:
        """Body of an answered GET; None when the server is away or answers an error."""
        try:
            with self._opener.open(self._server + path, timeout=5) as answer:
                body: bytes = answer.read()
                return body
        except (OSError, urllib.error.URLError):
            return None

    def get_json(self, path: str) -> dict[str, Any] | None:
        """Like `get`, decoded."""
        body = self.get(path)
        return None if body is None else json.loads(body)

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Create an object; one that already exists is left as it is.

        Raises:
            urllib.error.HTTPError: the server refused it.
        """
        request = urllib.request.Request(
            self._server + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        try:
            self._opener.open(request, timeout=5).close()
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
