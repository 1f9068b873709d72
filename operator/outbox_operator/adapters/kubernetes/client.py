"""The Kubernetes API as the controller needs it: generic verbs over plain dictionaries.

Called by the controller and the command line. It makes no decisions and keeps no cache; what it
writes is server-side apply with our field manager, so that what others own stays theirs.
"""

from __future__ import annotations

import base64
import binascii
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal

from outbox_operator.adapters.kubernetes.events import EventRecorder, EventType
from outbox_operator.adapters.kubernetes.lease import LeaseRecord, lease_manifest, parse_lease
from outbox_operator.adapters.kubernetes.login import Credentials
from outbox_operator.adapters.kubernetes.objects import (
    Ref,
    collection_path,
    object_path,
    ref_of,
    selectors,
)
from outbox_operator.adapters.kubernetes.territory import HowToGrant
from outbox_operator.adapters.kubernetes.transport import (
    APPLY_PATCH,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    METADATA,
    METADATA_LIST,
    NotFoundError,
    OnAnswer,
    TooLargeError,
    Transport,
)
from outbox_operator.adapters.kubernetes.watch import Changed, Listed, watch
from outbox_operator.api import meta
from outbox_operator.errors import ConflictError, CredentialsError, KubernetesError
from outbox_operator.reasons import Reason

PAGE = 500
MOST_PAGE_BYTES = 8 * 1024 * 1024
"""A page with more, of objects that somebody made large, is asked for again in smaller ones."""

Propagation = Literal["Background", "Foreground", "Orphan"]


class Kube:
    """A connection to the API server. All methods raise the errors of `Transport.request`."""

    def __init__(self, transport: Transport, instance: str) -> None:
        self._transport = transport
        self._events = EventRecorder(transport, instance)

    @classmethod
    async def connect(
        cls,
        *,
        instance: str | None = None,
        how_to_grant: HowToGrant | None = None,
        on_answer: OnAnswer | None = None,
    ) -> Kube:
        """Connect with the credentials of the environment; see `Transport.connect`.

        Args:
            instance: Who we are in Events; default: the host name, which is the pod's name.
            how_to_grant: The command that gives us our rights in a namespace, for messages.
            on_answer: See `Transport`.
        """
        transport = await Transport.connect(user_agent=meta.MANAGED_BY, how_to_grant=how_to_grant)
        transport.on_answer = on_answer or transport.on_answer
        return cls(transport, instance or socket.gethostname())

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    def write_only_where(self, may_write: Callable[[str], bool]) -> None:
        """From now on refuse (NotLedError) to write in other namespaces."""
        self._transport.may_write = may_write

    @property
    def server(self) -> str:
        """Address of the API server, for messages."""
        return self._transport.server

    async def credentials(self) -> Credentials:
        """What another client needs to log in as we do."""
        return await self._transport.credentials()

    async def get(self, ref: Ref, *, first: bool = False) -> dict[str, Any] | None:
        """The object, or None when there is none; `first`: ahead of other requests."""
        path = object_path(ref)
        try:
            return await self._transport.request("GET", path, subject=str(ref), first=first)
        except NotFoundError:
            return None

    async def list(
        self,
        api_version: str,
        plural: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        *,
        field_selector: str | None = None,
        metadata_only: bool = False,
        most: int | None = None,
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects of a kind, and the version of the collection.

        Args:
            api_version: Such as `apps/v1`.
            plural: Such as `deployments`.
            namespace: None for the whole cluster.
            label_selector: Only objects with these labels.
            field_selector: Only objects with these fields.
            metadata_only: Leave spec and status out.
            most: Not all: the first ones, at most so many, or as fit an answer.
        """
        query, limit = selectors(label_selector, field_selector), most or PAGE
        items: list[dict[str, Any]] = []
        while True:
            try:
                page = await self._transport.request(
                    "GET",
                    collection_path(api_version, plural, namespace),
                    query={**query, "limit": str(limit)},
                    accept=METADATA_LIST if metadata_only else JSON,
                    subject=f"{plural} in {namespace or 'all namespaces'}",
                    most_bytes=MOST_PAGE_BYTES if limit > 1 else None,
                )
            except TooLargeError:
                limit = max(1, limit // 8)
                continue
            if not str(page.get("kind", "")).endswith("List") or "metadata" not in page:
                raise KubernetesError(
                    f"{plural}: the answer of {self.server} is no list: {str(page)[:200]}"
                )
            # The API leaves both out of the items of built-in kinds.
            kind = page["kind"].removesuffix("List")
            named = {"apiVersion": page["apiVersion"], "kind": kind}
            items += [{**named, **item} for item in page.get("items") or ()]
            if not (token := page["metadata"].get("continue")) or most is not None:
                return items, page["metadata"].get("resourceVersion", "")
            query["continue"] = token

    async def apply(
        self,
        manifest: Mapping[str, Any],
        field_manager: str = meta.FIELD_MANAGER,
        force: bool = True,
    ) -> dict[str, Any]:
        """Server-side apply: makes the object as the manifest says, leaves other fields alone.

        Args:
            manifest: Everything we want to own of the object; fields left out since the last
                time are removed.
            field_manager: Owner of the fields.
            force: Take fields over that others own; else that is a ConflictError.

        Returns:
            The object as it is now.
        """
        return await self._apply(ref_of(manifest), "", manifest, field_manager, force)

    async def apply_status(self, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
        """Server-side apply of a status; the metadata then, None when the object is gone.

        Args:
            manifest: apiVersion, kind, metadata (name, namespace, uid if known) and the whole
                status.

        Raises:
            ConflictError: The object is not the one with this uid but a namesake created since.
                The API server ignores the uid here, so the namesake carries this status until
                its own pass.
        """
        ref = ref_of(manifest)
        try:
            written = await self._apply(
                ref, "status", manifest, meta.STATUS_FIELD_MANAGER, force=True, accept=METADATA
            )
        except NotFoundError:
            return None
        if manifest["metadata"].get("uid") not in (None, found := written["metadata"]["uid"]):
            raise ConflictError(f"PATCH {ref} status: the object was created anew (uid {found})")
        return written

    async def _apply(
        self,
        ref: Ref,
        subresource: str,
        manifest: Mapping[str, Any],
        manager: str,
        force: bool,
        accept: str = JSON,
    ) -> dict[str, Any]:
        return await self._transport.request(
            "PATCH",
            object_path(ref, subresource),
            query={"fieldManager": manager, "force": "true" if force else "false"},
            body=manifest,
            content_type=APPLY_PATCH,
            accept=accept,
            subject=f"{ref} {subresource}".rstrip(),
        )

    async def merge_metadata(
        self,
        ref: Ref,
        *,
        resource_version: str | None = None,
        finalizers: Sequence[str] | None = None,
        annotations: Mapping[str, str | None] | None = None,
    ) -> dict[str, Any] | None:
        """Change finalizers or annotations and nothing else.

        Returns the metadata then, None when the object is gone.

        Args:
            ref: The object.
            resource_version: Refuse (ConflictError) if the object changed since.
            finalizers: The whole list; give `resource_version` with it.
            annotations: Those to set; the value None removes one.
        """
        metadata: dict[str, Any] = {}
        if resource_version is not None:
            metadata["resourceVersion"] = resource_version
        if finalizers is not None:
            metadata["finalizers"] = list(finalizers)
        if annotations is not None:
            metadata["annotations"] = dict(annotations)
        try:
            return await self._transport.request(
                "PATCH",
                object_path(ref),
                query={"fieldManager": meta.FIELD_MANAGER},
                body={"metadata": metadata},
                content_type=MERGE_PATCH,
                accept=METADATA,
                subject=str(ref),
            )
        except NotFoundError:
            return None

    async def remove_fields(self, ref: Ref, pointers: Sequence[str], resource_version: str) -> None:
        """Remove what others added to an object, whoever owns it.

        Args:
            ref: The object.
            pointers: JSON pointers, the last item of a list first.
            resource_version: Refuse (ConflictError) if the object changed since.
        """
        version = {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version}
        await self._transport.request(
            "PATCH",
            object_path(ref),
            query={"fieldManager": meta.FIELD_MANAGER},
            body=[version, *({"op": "remove", "path": pointer} for pointer in pointers)],
            content_type=JSON_PATCH,
            subject=str(ref),
        )

    async def delete(
        self, ref: Ref, uid: str | None = None, propagation: Propagation = "Background"
    ) -> bool:
        """Delete an object.

        Args:
            ref: The object.
            uid: Only this one, not a namesake created since.
            propagation: What happens to its dependants.

        Returns:
            Whether there was something to delete.
        """
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._transport.request(
                "DELETE", object_path(ref), body=options, subject=str(ref)
            )
        except NotFoundError:
            return False
        except ConflictError:
            found = await self.get(ref)
            if found is None or uid not in (None, found["metadata"]["uid"]):
                return False
            raise
        return True

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Contents of a Secret, or None when there is none. Never log the values."""
        body = await self.get(Ref("v1", "secrets", namespace, name))
        if body is None:
            return None
        if (problem := (body.get("data") or {}).get(meta.LEFT_OUT)) is not None:
            raise CredentialsError(
                f"Secret {namespace}/{name} is not read: {problem}", reason=Reason.INVALID_SECRET
            )
        try:
            return {key: base64.b64decode(v) for key, v in (body.get("data") or {}).items()}
        except binascii.Error:
            # Without the cause: its text may quote the value.
            raise CredentialsError(f"Secret {namespace}/{name}: data is not base64") from None

    async def record_event(
        self,
        regarding_body: Mapping[str, Any],
        *,
        type: EventType,
        reason: Reason,
        note: str,
        action: str,
    ) -> None:
        """Write a Kubernetes Event; the same again within ten minutes is counted in it."""
        await self._events.record(
            regarding_body, type=type, reason=reason, note=note, action=action
        )

    def watch(
        self,
        api_version: str,
        plural: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        *,
        field_selector: str | None = None,
        ends_when_denied: bool = False,
    ) -> AsyncIterator[Listed | Changed]:
        """Follow a collection for ever: `Listed` first and after lost history, then `Changed`.

        With `ends_when_denied` a right that goes later ends it, too, by an AccessDeniedError.
        """

        async def list_all() -> tuple[list[dict[str, Any]], str]:
            return await self.list(
                api_version, plural, namespace, label_selector, field_selector=field_selector
            )

        query = selectors(label_selector, field_selector)
        return watch(
            self._transport,
            list_all,
            api_version,
            plural,
            namespace,
            query,
            ends_when_denied=ends_when_denied,
        )

    async def served_plurals(self, api_version: str) -> set[str]:
        """Plurals that the API server serves of a group; empty when it does not know the group."""
        try:
            answer = await self._transport.request(
                "GET", f"/apis/{api_version}", subject=f"API group {api_version}"
            )
        except NotFoundError:
            return set()
        return {resource["name"] for resource in answer.get("resources") or ()}

    async def rights(self, namespace: str) -> Sequence[Mapping[str, Any]]:
        """The rules by which we may do things in a namespace, as the API server sees them."""
        version, kind = "authorization.k8s.io/v1", "SelfSubjectRulesReview"
        review = {"apiVersion": version, "kind": kind, "spec": {"namespace": namespace}}
        answer = await self._transport.request(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            body=review,
            subject=f"our rights in {namespace}",
        )
        return (answer.get("status") or {}).get("resourceRules") or ()

    async def lease(self, namespace: str, name: str) -> LeaseRecord | None:
        """The record of a Lease, or None when there is none."""
        ref = Ref("coordination.k8s.io/v1", "leases", namespace, name)
        body = await self.get(ref, first=True)
        return parse_lease(body) if body is not None else None

    async def put_lease(self, namespace: str, name: str, record: LeaseRecord) -> LeaseRecord:
        """Write a Lease if nobody wrote it since `record` was read; else ConflictError."""
        manifest = lease_manifest(namespace, name, record)
        ref = ref_of(manifest)
        create = record.version is None
        path = (
            collection_path(ref.api_version, ref.plural, namespace) if create else object_path(ref)
        )
        method = "POST" if create else "PUT"
        written = await self._transport.request(
            method, path, body=manifest, subject=str(ref), first=True
        )
        return parse_lease(written)
