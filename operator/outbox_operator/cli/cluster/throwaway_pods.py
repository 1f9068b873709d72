"""Makes pods that live for one session, waits until they run, and removes them at the end.

The caller needs the right to create, get, list and delete pods, and to create `pods/exec`. What is
not removed, because this process was killed, ends by itself; the next one here removes the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.cli.cluster import throwaway
from outbox_operator.cli.cluster.refusals import explained
from outbox_operator.cli.cluster.session import Session
from outbox_operator.errors import (
    AccessDeniedError,
    KubernetesError,
    NotSupportedError,
    OutboxError,
)
from outbox_operator.plan.names import selector_text

START_SECONDS: Final = 120.0
"""It may have to pull its image."""
_LOOK_SECONDS: Final = 0.3


async def deployment(session: Session, name: str) -> dict[str, Any]:
    """The Deployment by which a pod can be made, whatever runs of it.

    Raises:
        NotFoundError: There is none yet.
        NotSupportedError: Its pods do not run our program.
    """
    found = await session.kube.get(Ref("apps/v1", "deployments", session.namespace, name))
    if found is None:
        raise NotFoundError(
            f"no Deployment {name} in namespace {session.namespace}, by which a pod could be "
            "made; `kubectl outbox status` says why"
        )
    if throwaway.container_of(found["spec"]["template"]["spec"]) is None:
        raise NotSupportedError(f"the pods of Deployment {name} do not run our program")
    return found


@asynccontextmanager
async def made(
    session: Session, pattern: Mapping[str, Any], *, timeout: float, **what: Any
) -> AsyncIterator[Ref]:
    """A pod that runs, for the length of a block.

    Args:
        session: The verb's.
        pattern: The Deployment by which it is made.
        timeout: Longest wait until it runs, in seconds.
        what: Other arguments of `throwaway.pod`.

    Raises:
        KubernetesError: It does not run.
    """
    await _sweep(session)
    manifest = throwaway.pod(
        pattern, user=await _user(session), suffix=secrets.token_hex(3), **what
    )
    metadata = manifest["metadata"]
    pod = Ref("v1", "pods", metadata["namespace"], metadata["name"])
    there = True
    try:
        try:
            await session.kube.create(manifest)
        except OutboxError:
            there = False
            raise
        await _running(session, pod, timeout)
        yield pod
    finally:
        if there:
            await _remove(session, pod, manifest["spec"]["activeDeadlineSeconds"])


async def _running(session: Session, pod: Ref, timeout: float) -> None:
    body: Mapping[str, Any] = {}
    try:
        async with asyncio.timeout(timeout):
            while True:
                found = await session.kube.get(pod)
                if found is None:
                    raise KubernetesError(f"pod {pod.name} was deleted before it ran")
                body = found
                if throwaway.runs(body):
                    return
                if (why := throwaway.trouble(body)) is not None:
                    raise KubernetesError(f"pod {pod.name} does not run: {why}")
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        why = throwaway.waits_for(body)
        raise KubernetesError(
            f"pod {pod.name} does not run after {timeout:g} s ({why}); --timeout waits longer"
        ) from None


async def _remove(session: Session, pod: Ref, seconds: int) -> None:
    try:
        await session.kube.delete(pod)
    except OutboxError as error:
        why = explained(error, session.kube.context).message
        session.say(f"pod {pod.name} is not removed, and ends within {seconds} s: {why}")


async def _user(session: Session) -> str:
    """As the API server knows the caller; a cluster before 1.28 does not say."""
    try:
        return await session.kube.user_name()
    except (NotFoundError, AccessDeniedError):
        return "unknown"


async def _sweep(session: Session) -> None:
    """Remove pods that have ended and whose commands could not; without the right they stay."""
    labels = selector_text({meta.MANAGED_BY_LABEL: throwaway.MANAGED_BY})
    with contextlib.suppress(AccessDeniedError):
        found, _ = await session.kube.list("v1", "pods", session.namespace, labels)
        for body in found:
            name, uid = body["metadata"]["name"], body["metadata"]["uid"]
            if (body.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
                await session.kube.delete(Ref("v1", "pods", session.namespace, name), uid)
