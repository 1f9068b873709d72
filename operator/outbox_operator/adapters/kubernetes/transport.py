"""HTTP to the Kubernetes API: credentials, timeouts, JSON in and out, errors in our words.

The one module that imports the `kubernetes` client. Only its configuration loading, token refresh
and connection pool are used: requests and answers stay plain dictionaries, because building
a typed model for every object costs most of the client's processor time. Called by `kube.Kube`
and `kube_watch`; it knows nothing of particular kinds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config
from kubernetes.aio.config.config_exception import ConfigException

from outbox_operator.errors import (
    AccessDeniedError,
    ConflictError,
    KubernetesError,
    OutboxError,
    SpecError,
)
from outbox_operator.reasons import Reason

CONNECT_TIMEOUT_SECONDS: Final = 10.0
REQUEST_TIMEOUT_SECONDS: Final = 30.0
REQUESTS_AT_ONCE: Final = 50
"""More wait their turn. A watch counts until it has begun: there may be thousands of them."""
SILENCE_TIMEOUT_SECONDS: Final = 75.0
"""A watch that is silent for longer is dead: the API server sends a bookmark every minute."""

JSON: Final = "application/json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
METADATA_LIST: Final = (
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)

HowToGrant = Callable[[str], str]
"""The command for a namespace."""

_NAMESPACE: Final = re.compile(r"/namespaces/([^/]+)/(?!leases)")
"""Of a path; the Lease is in the operator's own, and no matter of who owns another."""
_USER_CONFIG: Final = os.path.expanduser("~/.kube/config")
_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError)


class NotFoundError(KubernetesError):
    """The object, its namespace or its kind does not exist."""

    reason = Reason.NOT_FOUND


class WriteConflictError(ConflictError):
    """Somebody wrote the object meanwhile, or created it anew; look again and decide anew."""

    reason = Reason.WRITE_CONFLICT
    retryable = True


class ExpiredError(KubernetesError):
    """The API server no longer has the history a watch asked for; list again."""

    reason = Reason.EXPIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to reach and log in to the API server; for the other client of this process (kopf)."""

    server: str
    insecure: bool
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    authorization: str | None
    """Value of the Authorization header, such as `Bearer …`."""

    def __repr__(self) -> str:
        return f"Credentials(server={self.server!r})"


class Transport:
    """One connection pool to one API server."""

    def __init__(self, client: ApiClient, how_to_grant: HowToGrant | None = None) -> None:
        self._client = client
        self._how_to_grant = how_to_grant
        self._room = asyncio.Semaphore(REQUESTS_AT_ONCE)

    @classmethod
    async def connect(cls, user_agent: str, how_to_grant: HowToGrant | None = None) -> Transport:
        """Load credentials: `KUBECONFIG`, else the pod's service account, else `~/.kube/config`.

        Args:
            user_agent: Who we are in the API server's log.
            how_to_grant: The command that gives us our rights in a namespace: part of what is said
                when one is missing.

        Raises:
            KubernetesError: No usable credentials were found.
        """
        configuration = Configuration()
        configuration.connection_pool_maxsize = 0  # no limit: each watch keeps a connection
        path = os.environ.get("KUBECONFIG")
        try:
            if path or "KUBERNETES_SERVICE_HOST" not in os.environ:
                await load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=path or _USER_CONFIG,
                    client_configuration=configuration,
                    persist_config=False,
                )
            else:
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except (ConfigException, OSError) as error:
            raise KubernetesError(
                f"no access to a Kubernetes cluster: {error}; set KUBECONFIG or run in a pod"
            ) from error
        client = ApiClient(configuration)
        client.user_agent = user_agent
        return cls(client, how_to_grant)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._client.configuration.host)

    async def credentials(self) -> Credentials:
        """The current credentials, with a fresh token."""
        configuration = self._client.configuration
        return Credentials(
            server=self.server,
            insecure=not configuration.verify_ssl,
            ca_path=configuration.ssl_ca_cert,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            authorization=(await self._authorization()).get("authorization"),
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        subject: str,
        first: bool = False,
    ) -> dict[str, Any]:
        """One call.

        Args:
            method: HTTP method.
            path: Path on the API server.
            query: Query parameters.
            body: Object to send as JSON.
            content_type: Says which kind of patch `body` is.
            accept: Form of the answer.
            subject: Names what the call is about, for error messages.
            first: Do not wait behind other requests; for those that keep the process alive.

        Raises:
            NotFoundError, ConflictError, AccessDeniedError, SpecError, KubernetesError.
        """
        timeout = aiohttp.ClientTimeout(
            total=REQUEST_TIMEOUT_SECONDS, sock_connect=CONNECT_TIMEOUT_SECONDS
        )
        verb = f"{method} {subject}"
        room = contextlib.nullcontext() if first else self._room
        try:
            async with (
                room,
                await self._send(
                    method, path, query, body, content_type, accept, timeout
                ) as response,
            ):
                payload = await response.read()
        except _FAILURES as error:
            raise self._unreachable(verb, error) from error
        answer = _decode(payload)
        if response.status >= 300:
            raise self._refused(verb, path, response.status, answer)
        return answer

    async def stream(
        self, path: str, *, query: Mapping[str, str], lifetime_seconds: float, subject: str
    ) -> AsyncIterator[dict[str, Any]]:
        """Lines of a watch, decoded, until the server ends it or it goes silent."""
        timeout = aiohttp.ClientTimeout(
            total=lifetime_seconds,
            sock_connect=CONNECT_TIMEOUT_SECONDS,
            sock_read=SILENCE_TIMEOUT_SECONDS,
        )
        verb = f"watch {subject}"
        try:
            async with self._room:
                response = await self._send("GET", path, query, None, JSON, JSON, timeout)
            async with response:
                if response.status >= 300:
                    answer = _decode(await response.read())
                    raise self._refused(verb, path, response.status, answer)
                while line := await response.content.readline():
                    yield json.loads(line)
        except (*_FAILURES, ValueError) as error:
            raise self._unreachable(verb, error) from error

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | Sequence[Any] | None,
        content_type: str,
        accept: str,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {
            "Accept": accept,
            "Content-Type": content_type,
            "User-Agent": self._client.user_agent,
            **await self._authorization(),
        }
        url = f"{self.server}{path}"
        if query:
            url += f"?{urlencode(query)}"
        answer = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
            method, url, headers=headers, body=body, _request_timeout=timeout
        )
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _authorization(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        return headers

    def _refused(self, verb: str, path: str, code: int, answer: Mapping[str, Any]) -> OutboxError:
        error = error_of(verb, code, answer)
        return error if code != 403 else with_cure(error, path, self._how_to_grant)

    def _unreachable(self, verb: str, error: Exception) -> KubernetesError:
        cause = "timed out" if isinstance(error, asyncio.TimeoutError) else str(error)
        return KubernetesError(f"{verb}: Kubernetes API at {self.server}: {cause or repr(error)}")


def _decode(payload: bytes) -> dict[str, Any]:
    """The answer's JSON object; a proxy's HTML page or plain text becomes a message."""
    try:
        answer = json.loads(payload)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    return {"message": payload[:200].decode("utf-8", "replace").strip()}


_MISTYPED: Final = re.compile(
    r"field not declared in schema|failed to create typed patch|\.spec\.[\w.\[\]=\"]+: "
    r"|cannot unmarshal|quantities must match|unmarshalerDecoder|expected (map|list|string|numeric)"
)
"""What a server-side apply says, as an internal error, of a manifest that is no object."""


def error_of(verb: str, code: int, answer: Mapping[str, Any]) -> OutboxError:
    """The error that a refusal of the API server stands for.

    Args:
        verb: What was tried, such as `PATCH deployments shop/relay`.
        code: HTTP status.
        answer: The `Status` object of the API, or anything with a `message`.
    """
    details = answer.get("details") or {}
    causes = [cause for cause in details.get("causes") or () if isinstance(cause, dict)]
    message = str(answer.get("message") or f"HTTP {code}")
    if causes and code in (400, 422):
        message = "; ".join(
            f"{cause.get('field') or 'object'}: {cause.get('message', '')}" for cause in causes
        )
    text = f"{verb}: {message}"
    if code == 404:
        return NotFoundError(text)
    if code == 409:
        return WriteConflictError(text)
    if code == 410:
        return ExpiredError(text)
    if code == 403 and any(cause.get("reason") == Reason.NAMESPACE_TERMINATING for cause in causes):
        return AccessDeniedError(text, reason=Reason.NAMESPACE_TERMINATING)
    if code in (401, 403):
        return AccessDeniedError(text)
    if code in (400, 422) or (code == 500 and _MISTYPED.search(message)):
        return SpecError(text)
    return KubernetesError(f"{text} (HTTP {code})")


def with_cure(error: OutboxError, path: str, how_to_grant: HowToGrant | None) -> OutboxError:
    """A missing right that the owner of a namespace can give, with the command; others as they are.

    Args:
        error: The refusal.
        path: What was asked for.
        how_to_grant: The command; None: rights are not given by namespace.
    """
    place = _NAMESPACE.search(path)
    if how_to_grant is None or place is None or error.reason != Reason.PERMISSION_DENIED:
        return error
    return AccessDeniedError(
        f"the operator lacks rights in namespace {place[1]}; who owns it gives them: "
        f"{how_to_grant(place[1])} ({error.message})"
    )
