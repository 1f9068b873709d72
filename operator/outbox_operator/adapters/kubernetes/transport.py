"""HTTP to the Kubernetes API: credentials, timeouts, JSON in and out, errors in our words.

With `adapters.kubernetes.login` the only module that imports the `kubernetes` client. Of it only
configuration, token refresh and connection pool are used: requests and answers stay plain
dictionaries, because building a typed model for every object costs most of the client's processor
time. Called by the modules beside this one; it knows nothing of particular kinds.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from outbox_operator.adapters.kubernetes import answers, login
from outbox_operator.adapters.kubernetes.login import Credentials
from outbox_operator.adapters.kubernetes.territory import HowToGrant, namespace_of, with_cure
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
MOST_TEXT: Final = 16 * 1024 * 1024
MOST_REFUSAL: Final = 1024 * 1024
SILENCE_TIMEOUT_SECONDS: Final = 75.0
"""A watch that is silent for longer is dead: the API server sends a bookmark every minute."""

ANY: Final = "*/*"
JSON: Final = "application/json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_LIST: Final = (
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)

OnAnswer = Callable[[str, int], None]

_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError)


class NotFoundError(KubernetesError):
    """The object, its namespace or its kind does not exist."""

    reason = Reason.NOT_FOUND


class WriteConflictError(ConflictError):
    """Somebody wrote the object meanwhile, or created it anew; look again and decide anew."""

    reason = Reason.WRITE_CONFLICT
    retryable = True


class TooLargeError(KubernetesError):
    """An answer is longer than was asked for."""


class ExpiredError(KubernetesError):
    """The API server no longer has the history a watch asked for; list again."""

    reason = Reason.EXPIRED


class NotLedError(KubernetesError):
    """Another process may lead in the namespace by now: nothing is written there."""

    reason = Reason.LEASE_LOST


class Transport:
    """One connection pool to one API server.

    Attributes:
        on_answer: Told of each call: HTTP method and status, 0 when there was no answer.
        context: Name of the kubeconfig's context; see `login.Login`.
        namespace: That the context is in; None: it names none.
        acts_as: See `login.Login`.
        may_write: Whether anything may be written in a namespace now.
    """

    def __init__(self, client: ApiClient, how_to_grant: HowToGrant | None = None) -> None:
        self.context = ""
        self.namespace: str | None = None
        self.acts_as: str | None = None
        self.on_answer: OnAnswer = lambda method, status: None
        self.may_write: Callable[[str], bool] = lambda namespace: True
        self._client = client
        self._how_to_grant = how_to_grant
        self._room = asyncio.Semaphore(REQUESTS_AT_ONCE)

    @classmethod
    async def connect(
        cls,
        user_agent: str,
        how_to_grant: HowToGrant | None = None,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
    ) -> Transport:
        """Load credentials; see `login.find`.

        Args:
            user_agent: Who we are in the API server's log.
            how_to_grant: The command that gives us our rights in a namespace: part of what is said
                when one is missing.
            kubeconfig: A file; None: as the environment says.
            context: Of the kubeconfig.

        Raises:
            KubernetesError: No usable credentials were found.
        """
        found = await login.find(kubeconfig, context)
        client = ApiClient(found.configuration)
        client.user_agent = user_agent
        transport = cls(client, how_to_grant)
        transport.context, transport.namespace = found.context, found.namespace
        transport.acts_as = found.acts_as
        return transport

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._client.configuration.host)

    async def credentials(self) -> Credentials:
        """The current credentials, with a fresh token.

        Raises:
            KubernetesError: We act as somebody else, which no credentials say.
        """
        if self.acts_as is not None:
            raise KubernetesError(
                f"kubeconfig, context {self.context}: it acts as {self.acts_as} (`as`), and an "
                "operator works as itself; take a login without"
            )
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
        most_bytes: int | None = None,
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
            most_bytes: Longest answer; None: whatever comes.

        Raises:
            NotFoundError, ConflictError, AccessDeniedError, SpecError, KubernetesError;
            TooLargeError: The answer is longer than `most_bytes`.
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
                payload = await _read(response, most_bytes, verb)
        except _FAILURES as error:
            raise self._unreachable(verb, error) from error
        if response.status >= 300:
            raise self._refused(verb, path, response.status, await answers.document(payload))
        return await answers.an_object(payload, f"{verb}: Kubernetes API at {self.server}")

    async def stream(
        self, path: str, *, query: Mapping[str, str], lifetime_seconds: float, subject: str
    ) -> AsyncIterator[dict[str, Any]]:
        """Lines of a watch, decoded, until the server ends it or it goes silent."""
        timeout = aiohttp.ClientTimeout(
            total=lifetime_seconds,
            sock_connect=CONNECT_TIMEOUT_SECONDS,
            sock_read=SILENCE_TIMEOUT_SECONDS,
        )
        try:
            async with self._opened(f"watch {subject}", path, query, JSON, timeout) as response:
                async for line in answers.lines(response.content):
                    yield await answers.decoded_aside(line)
        except ValueError as error:
            raise self._unreachable(f"watch {subject}", error) from error

    async def text(
        self, path: str, *, query: Mapping[str, str], subject: str, endless: bool = False
    ) -> AsyncIterator[str]:
        """Lines of plain text, as logs are; `endless`: as they are written, silence no failure.

        They may be a pod's: long ones are cut, and what does not end is given up.
        """
        timeout = aiohttp.ClientTimeout(
            total=None if endless else REQUEST_TIMEOUT_SECONDS, sock_connect=CONNECT_TIMEOUT_SECONDS
        )
        verb, most = f"GET {subject}", None if endless else MOST_TEXT
        async with self._opened(verb, path, query, ANY, timeout) as response:
            async for line in answers.text_lines(response.content, most):
                if line is None:
                    raise TooLargeError(f"{verb}: the answer is over {most} bytes")
                yield line.decode("utf-8", "replace")

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, *, query: Sequence[tuple[str, str]], protocol: str, subject: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A connection of messages, as `exec` has; `protocol` says what they are."""
        client = self._client.rest_client
        if client.pool_manager is None:
            client.pool_manager = client._create_pool_manager()
        url, headers = f"{self.server}{path}?{urlencode(query)}", await self._authorization()
        connecting = client.pool_manager.ws_connect(
            url, headers=headers, protocols=(protocol,),
            server_hostname=self._client.configuration.tls_server_name,
        )  # fmt: skip
        verb = f"GET {subject}"
        try:
            async with connecting as connection:
                yield connection
        except aiohttp.WSServerHandshakeError as error:
            raise await self._why_not(path, query, error.status, subject) from error
        except _FAILURES as error:
            raise self._unreachable(verb, error) from error

    async def _why_not(
        self, path: str, query: Sequence[tuple[str, str]], code: int, subject: str
    ) -> OutboxError:
        """Why there is no connection of messages: the library throws away what the server says."""
        try:  # which refuses this as well, and if only because it is no connection of messages
            await self.request("GET", f"{path}?{urlencode(query)}", subject=subject)
        except SpecError:
            pass
        except OutboxError as error:
            return error
        return self._refused(f"GET {subject}", path, code, {})

    @contextlib.asynccontextmanager
    async def _opened(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        accept: str,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that comes bit by bit."""
        try:
            async with self._room:
                response = await self._send("GET", path, query, None, JSON, accept, timeout)
            async with response:
                if response.status >= 300:
                    answer = await answers.document(await _read(response, MOST_REFUSAL, verb))
                    raise self._refused(verb, path, response.status, answer)
                yield response
        except _FAILURES as error:
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
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        namespace = None if method == "GET" else namespace_of(path)
        if namespace is not None and not self.may_write(namespace):
            raise NotLedError(f"{method} {path}: this process does not lead {namespace} any more")
        status = 0
        try:
            answer = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=timeout
            )
            response: aiohttp.ClientResponse = answer.response
            status = response.status
        finally:
            self.on_answer(method, status)
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


async def _read(response: aiohttp.ClientResponse, most_bytes: int | None, verb: str) -> bytes:
    if most_bytes is None:
        return await response.read()
    payload = bytearray()
    async for chunk in response.content.iter_any():
        payload += chunk
        if len(payload) > most_bytes:
            response.close()  # not released: the rest is not wanted
            raise TooLargeError(f"{verb}: the answer is over {most_bytes} bytes")
    return bytes(payload)


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
