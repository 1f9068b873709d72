"""The Kubernetes API as a person's command needs it, with that person's rights and no others.

Called by the command line. It reads as the operator does and writes what a person asked for under
a field manager of its own, so that the operator's fields stay the operator's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import aiohttp

from outbox_operator.adapters.kubernetes import in_pod
from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.in_pod import Ran
from outbox_operator.adapters.kubernetes.objects import Ref, collection_path, object_path, ref_of
from outbox_operator.adapters.kubernetes.transport import (
    JSON,
    MERGE_PATCH,
    NotFoundError,
    Transport,
)
from outbox_operator.api import meta
from outbox_operator.errors import KubernetesError, OutboxError, SpecError

FIELD_MANAGER: Final = "kubectl-outbox"
_UNKNOWN: Final = "strict decoding error: unknown field"

_PAUSES: Final = (0.2, 1.0)
"""Before a request is made again whose answer was lost."""
_REPEATABLE: Final = ("GET", "PATCH")
_NOBODY: Final = (aiohttp.ClientConnectorError, TimeoutError)


def lost(error: OutboxError) -> bool:
    """Whether a request may have been carried out although it failed, and may work when repeated.

    As while API servers roll over, or behind a load balancer: there was no answer, half of one, or
    one that says that it was too much, or not the request's fault.
    """
    return type(error) is KubernetesError


class _Patient(Transport):
    """Asks again when an answer was lost, where that does no harm."""

    async def request(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        """See `Transport.request`."""
        for pause in _PAUSES if method in _REPEATABLE or path.endswith("reviews") else ():
            try:
                return await super().request(method, path, **given)
            except KubernetesError as error:
                # Nobody there, or silence for half a minute: whoever waits shall hear of it.
                if not lost(error) or isinstance(error.__cause__, _NOBODY):
                    raise
            await asyncio.sleep(pause)
        return await super().request(method, path, **given)


class Caller(Kube):
    """A connection with the login of whoever runs the command."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, FIELD_MANAGER)

    @classmethod
    async def log_in(cls, *, kubeconfig: str | None = None, context: str | None = None) -> Caller:
        """Connect; see `login.find`.

        Raises:
            KubernetesError: No usable credentials were found.
        """
        return cls(await _Patient.connect(FIELD_MANAGER, kubeconfig=kubeconfig, context=context))

    @property
    def is_laptop(self) -> bool:
        """Whether nobody else works with it."""
        return False

    @property
    def away(self) -> str | None:
        """Why nothing of it can be asked: each question says so itself."""
        return None

    @property
    def context(self) -> str:
        """Name of the kubeconfig's context, for messages."""
        return self._transport.context

    @property
    def namespace(self) -> str | None:
        """Namespace of the context; None: it names none."""
        return self._transport.namespace

    async def patch(
        self,
        ref: Ref,
        change: Mapping[str, Any] | list[dict[str, Any]],
        content_type: str = MERGE_PATCH,
    ) -> dict[str, Any]:
        """Change an object: a merge patch, or a list of operations with `JSON_PATCH`.

        Raises:
            NotFoundError: There is none.
        """
        return await self._write("PATCH", object_path(ref), ref, change, content_type)

    async def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Make an object, its name or `generateName` given; as the API server has it then.

        Args:
            manifest: The object.
            dry_run: Have the API server check it and store nothing.
        """
        metadata = manifest["metadata"]
        named = {**manifest, "metadata": {"name": metadata.get("generateName"), **metadata}}
        ref = ref_of(named)
        path = collection_path(ref.api_version, ref.plural, ref.namespace)
        return await self._write("POST", path, ref, manifest, JSON, dry_run=dry_run)

    async def _write(
        self,
        method: str,
        path: str,
        ref: Ref,
        body: Mapping[str, Any] | list[dict[str, Any]],
        content_type: str,
        *,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Write an object, of ours with all that was said or not at all.

        Definitions of before leave out what they do not know, be it the filter of what is deleted.
        """
        query = {"fieldManager": FIELD_MANAGER}
        if dry_run:
            query["dryRun"] = "All"
        if ref.api_version == meta.API_VERSION:
            query["fieldValidation"] = "Strict"
        try:
            return await self._transport.request(
                method, path, query=query, body=body, content_type=content_type, subject=str(ref)
            )
        except SpecError as error:
            if _UNKNOWN not in error.message:
                raise
            raise SpecError(
                f"{error.message}; the resource definitions in this cluster are older than this "
                "program: `kubectl outbox version` shows both"
            ) from error

    async def user_name(self) -> str:
        """Who the API server says the caller is."""
        answer = await self._transport.request(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
            subject="selfsubjectreviews",
        )
        return str(((answer.get("status") or {}).get("userInfo") or {}).get("username") or "")

    async def server_version(self) -> str:
        """Version of the API server, such as `v1.34.1`; empty: it does not say."""
        answer = await self._transport.request("GET", "/version", subject="the version")
        return str(answer.get("gitVersion") or "")

    async def served(self, group: str) -> tuple[str, ...]:
        """Versions of an API group that the server has; none: it does not have the group."""
        try:
            answer = await self._transport.request("GET", f"/apis/{group}", subject=group)
        except NotFoundError:
            return ()
        return tuple(str(one.get("version")) for one in answer.get("versions") or ())

    async def kinds(self, api_version: str) -> tuple[str, ...]:
        """Kinds of a version of an API group."""
        answer = await self._transport.request("GET", f"/apis/{api_version}", subject=api_version)
        resources = answer.get("resources") or ()
        return tuple(sorted({str(one["kind"]) for one in resources if "/" not in one["name"]}))

    async def log(
        self, pod: Ref, query: Mapping[str, str], *, follow: bool = False
    ) -> AsyncIterator[str]:
        """Lines of a container's log; the query is that of the API (`tailLines`, `sinceTime`).

        Args:
            pod: Whose.
            query: With the container.
            follow: As they are written, until the container ends.
        """
        wanted = {**query, **({"follow": "true"} if follow else {})}
        path = object_path(pod, "log")
        async for line in self._transport.text(
            path, query=wanted, subject=f"{pod} log", endless=follow
        ):
            yield line

    async def fetch_from_pod(self, pod: Ref, port: int, path: str) -> AsyncIterator[str]:
        """Lines that a pod answers over HTTP, by way of the API server. Needs `pods/proxy`."""
        named = Ref(pod.api_version, pod.plural, pod.namespace, f"{pod.name}:{port}")
        async for line in self._transport.text(
            f"{object_path(named, 'proxy')}/{path}", query={}, subject=f"{pod} {path}"
        ):
            yield line

    async def run_in_pod(
        self,
        pod: Ref,
        container: str,
        command: Sequence[str],
        *,
        most_bytes: int,
        seconds: float,
        stdin: bytes = b"",
    ) -> Ran:
        """Run a command in a pod; see `in_pod.run`."""
        return await in_pod.run(
            self._transport, pod, container, command, most_bytes=most_bytes, seconds=seconds,
            stdin=stdin,
        )  # fmt: skip
