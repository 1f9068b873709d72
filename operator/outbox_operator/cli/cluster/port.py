"""What verbs ask about pipelines: an API server, or the laptop on which `outbox dev` runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from outbox_operator.adapters.kubernetes.in_pod import Ran
from outbox_operator.adapters.kubernetes.objects import Ref


class Cluster(Protocol):
    """Objects and pods, as far as verbs need them that have a meaning on a laptop.

    `adapters.kubernetes.caller.Caller` says what each method does.
    """

    @property
    def is_laptop(self) -> bool:
        """Whether nobody else works with it."""
        ...

    @property
    def away(self) -> str | None:
        """Why nothing of it can be asked, although it is known what there is; None: it can be."""
        ...

    @property
    def context(self) -> str:
        """Its name, for messages."""
        ...

    @property
    def namespace(self) -> str | None:
        """The namespace that is meant if none is named."""
        ...

    async def get(self, ref: Ref) -> dict[str, Any] | None:
        """An object; None: there is none."""
        ...

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Make an object."""
        ...

    async def delete(self, ref: Ref, uid: str | None = None) -> bool:
        """Delete an object."""
        ...

    def log(
        self, pod: Ref, query: Mapping[str, str], *, follow: bool = False
    ) -> AsyncIterator[str]:
        """Lines of a container's log."""
        ...

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
        """Run a command in a pod."""
        ...

    async def user_name(self) -> str:
        """Who asks."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...

    async def list(
        self,
        api_version: str,
        plural: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        *,
        field_selector: str | None = None,
        metadata_only: bool = False,
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects of a kind, and the version of the collection."""
        ...
