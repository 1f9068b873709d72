"""What `outbox archive verify NAME` and `export NAME` do with the archive of an EventConsumer.

It is checked in a pod; it is exported on a laptop alone.

The pod has the login of whoever owns the archive's tables, or that of a Secret that is named, and
nothing else; it is removed at the end. Keys that verify signatures are public, and come from here.
What is to be kept for how long, the resource says, which is not in the database.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from outbox_operator.adapters.kubernetes.in_pod import Ran
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer, parse_consumer
from outbox_operator.api.v1alpha1.archive import ArchiveHandler
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.database import LoginSecretRef
from outbox_operator.cli import endings
from outbox_operator.cli.cluster import pods, reading, throwaway, throwaway_pods
from outbox_operator.cli.cluster.report import Report
from outbox_operator.cli.cluster.session import EXIT_USAGE, Session
from outbox_operator.cli.cluster.target import Target
from outbox_operator.errors import (
    CredentialsError,
    KubernetesError,
    OutboxError,
    SpecError,
)
from outbox_operator.plan import names
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.kubernetes import secret_files
from outbox_operator.plan.kubernetes.runtime_config import archive_config
from outbox_operator.plan.sources import Source
from outbox_operator.wire.archive import ArchiveSealing
from outbox_operator.wire.config import encode

_MOST_BYTES: Final = 1024 * 1024
_MOST_KEY_BYTES: Final = 64 * 1024
_NOBODY: Final = Source(stream="", nats=NatsConnection(url="nats://127.0.0.1:4222"))
"""Verifying asks no stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What came of it.

    Attributes:
        namespace: Of the consumer.
        consumer: Its name.
        well: Whether nothing is wrong.
        findings: What was said, line by line; what is wrong first.
    """

    namespace: str
    consumer: str
    well: bool
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        namespace: Of the consumer.
        consumer: Its name.
        file: Where it is.
        said: How many events, and how large it is.
    """

    namespace: str
    consumer: str
    file: str
    said: str


async def verify(session: Session) -> Report:
    """Check the archive; exit code 0 when nothing is wrong."""
    args = session.args
    consumer, archive = await _archive(session)
    options = [
        *(f"--public-key={_key(path)}" for path in args.public_key),
        *(f"--known={one}" for one in (*args.known, *remembered(consumer))),
        *(f"--kept={one}" for one in args.kept),
    ]
    with endings.ended_by_signals():
        async with AsyncExitStack() as stack:
            pod, container = await _pod(session, stack, consumer, archive)
            ran = await session.kube.run_in_pod(
                pod, container, ["outbox", "archive", "verify", "--log-level=error", *options],
                most_bytes=_MOST_BYTES, seconds=args.timeout,
            )  # fmt: skip
    facts = told(ran, pod.name, session.namespace, args.name)
    return Report(
        facts=facts,
        lines=lambda screen: [one for line in facts.findings for one in screen.wrap(line, "")],
        names=[f"eventconsumer.{meta.GROUP}/{args.name}"],
        well=facts.well,
    )


async def export(session: Session) -> Report:
    """On a laptop: write its events into a file there; exit code 0 when it is whole."""
    args = session.args
    await _archive(session)
    pod, container = await _here(session)
    where = [f"--where={name}={value}" for name, value in args.where]
    with endings.ended_by_signals():
        ran = await session.kube.run_in_pod(
            pod, container,
            ["outbox", "archive", "export", "--log-level=error", f"--into={args.into}", *where],
            most_bytes=_MOST_BYTES, seconds=args.timeout,
        )  # fmt: skip
    if ran.code:
        kind = SpecError if ran.code == EXIT_USAGE else OutboxError
        raise kind(ran.err.strip().removeprefix("outbox archive: ") or f"exit {ran.code}")
    facts = Exported(
        namespace=session.namespace,
        consumer=args.name,
        file=args.into,
        said=ran.out.decode().strip(),
    )
    return Report(
        facts=facts,
        lines=lambda screen: screen.wrap(facts.said, ""),
        names=[args.into],
    )


async def _archive(session: Session) -> tuple[Consumer, ArchiveHandler]:
    """The consumer that is named, and its archive."""
    name = session.args.name
    consumer = parse_consumer(await reading.one(session, meta.CONSUMER, name), stored=True)
    archive = archive_of(consumer.spec)
    if archive is None:
        raise SpecError(f"EventConsumer {name} keeps no archive (spec.handler.archive)")
    return consumer, archive


def remembered(consumer: Consumer) -> tuple[str, ...]:
    """The last seal as the status has it, which is not in the database; none: nobody knows one."""
    state = consumer.status.archive
    return () if state is None or state.lastSeal is None else (state.lastSeal,)


def told(ran: Ran, pod: str, namespace: str, name: str) -> Verified:
    """What the command in a pod says.

    Raises:
        KubernetesError: It could not verify.
    """
    lines = ran.out.decode(errors="replace").splitlines()
    if not lines or ran.code not in (0, 1):
        said = " ".join(ran.err.split())[-1000:] or f"exit code {ran.code}"
        raise KubernetesError(f"pod {pod}: {said}")
    return Verified(namespace=namespace, consumer=name, well=ran.code == 0, findings=tuple(lines))


def with_login(consumer: Consumer, archive: ArchiveHandler, secret: str | None) -> dict[str, Any]:
    """Arguments of `throwaway.pod` for one that verifies.

    Args:
        consumer: Whose archive it is.
        archive: As declared.
        secret: Name of a Secret with the login of a reader; None: the owner's.
    """
    login: dict[str, Any] = {"backfill": None}
    if secret is not None:
        login["connectionSecretRef"] = LoginSecretRef(name=secret)
    elif archive.migrationSecretRef is not None:
        login["connectionSecretRef"] = archive.migrationSecretRef
        login["tls"] = archive.migrationTls or archive.tls
    changed = archive.model_copy(update=login)
    config = archive_config(consumer, changed, _NOBODY)
    if archive.sealing is not None:
        sealing = ArchiveSealing(every_seconds=seconds(archive.sealing.every))
        config = dataclasses.replace(config, sealing=sealing)
    return {"config": encode(config), "files": secret_files.archive_files(changed)}


async def _pod(
    session: Session, stack: AsyncExitStack, consumer: Consumer, archive: ArchiveHandler
) -> tuple[Ref, str]:
    args = session.args
    if session.kube.is_laptop:
        return await _here(session)
    deployment = await throwaway_pods.deployment(session, names.workload_name(args.name))
    pod = await stack.enter_async_context(
        throwaway_pods.made(
            session, deployment, timeout=throwaway_pods.START_SECONDS, verb="archive-verify",
            pipeline=consumer.meta.labels.get(meta.PIPELINE_LABEL, ""),
            seconds=math.ceil(args.timeout + throwaway_pods.START_SECONDS),
            **with_login(consumer, archive, args.login_secret),
        )
    )  # fmt: skip
    return pod, throwaway.CONTAINER


async def _here(session: Session) -> tuple[Ref, str]:
    """What writes the archive on a laptop."""
    name = session.args.name
    found: Sequence[pods.Pod] = await pods.of_target(session, Target(meta.CONSUMER, name))
    if not found:
        raise NotFoundError(f"what writes the archive of {name} does not run here")
    return found[0].ref, found[0].container


def _key(path: str) -> str:
    """A public key, as text. Raises CredentialsError."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MOST_KEY_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise CredentialsError(f"{path}: {error.strerror}") from error
    if not text.startswith("-----BEGIN PUBLIC KEY-----"):
        raise CredentialsError(
            f"{path}: wanted a public key in PEM (openssl pkey -in key.pem -pubout), which may "
            "stand in the command of a pod; found something else"
        )
    return text
