"""What `outbox psql` and `nats` do: a client with a pipeline's logins, in a pod for one session.

`kubectl` connects it with the terminal. Nothing of a Secret passes through this process.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator import aio
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.api.resource import Pipeline, parse_pipeline
from outbox_operator.cli import endings
from outbox_operator.cli.cluster import logins, pods, reading, throwaway, throwaway_pods
from outbox_operator.cli.cluster.report import Report
from outbox_operator.cli.cluster.session import Session
from outbox_operator.errors import OutboxError, SpecError
from outbox_operator.plan import names
from outbox_operator.plan.kubernetes import secret_files

_LOGIN_SECONDS: Final = 30.0
_MOST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a client ended; `code`: its exit code."""

    pod: str
    code: int


async def psql(session: Session) -> Report:
    """`psql` with the login of the relay, or with the one that makes the tables."""
    pipeline = await _pipeline(session)
    what: dict[str, Any] = {}
    if session.args.login == "migrations":
        what = logins.as_migrations(pipeline)
    return await _client(session, "psql", ["psql", *session.args.passed_on], what)


async def nats(session: Session) -> Report:
    """`nats` with the login of the relay; without a command a shell that has it."""
    pipeline = await _pipeline(session)
    if not session.kube.is_laptop and not secret_files.nats_files(pipeline.spec.jetstream):
        session.say(f"{pipeline.meta.name}: spec.nats names no login; connecting without one")
    passed_on = session.args.passed_on
    return await _client(session, "nats", ["nats", *passed_on] if passed_on else ["sh"], {})


async def _pipeline(session: Session) -> Pipeline:
    target = session.args.target
    if target.kind != meta.PIPELINE:
        raise SpecError("name the pipeline whose login is meant")
    return parse_pipeline(await reading.one(session, meta.PIPELINE, target.name), stored=True)


async def _client(session: Session, verb: str, command: list[str], what: dict[str, Any]) -> Report:
    args = session.args
    if session.kube.is_laptop:
        return await _here(session, verb, command)
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise SpecError("kubectl is not on the path; it connects the terminal with the pod")
    deployment = await throwaway_pods.deployment(session, names.relay_name(args.target.name))
    with endings.ended_by_signals():
        async with throwaway_pods.made(
            session, deployment, timeout=args.timeout, verb=verb, pipeline=args.target.name,
            seconds=math.ceil(args.lifetime), image=args.image, **what,
        ) as pod:  # fmt: skip
            code = await _attached([kubectl, *exec_arguments(session, pod, command)])
    return Report(facts=Ended(pod=pod.name, code=code), lines=lambda screen: (), well=code == 0)


async def _here(session: Session, verb: str, command: list[str]) -> Report:
    """The client of this machine, with the logins of a relay that runs on it."""
    name = session.args.target.name
    pod = await pods.ready_relay(session, name)
    if pod is None:
        raise NotFoundError(f"there is no relay of {name} here")
    if shutil.which(command[0]) is None:
        raise SpecError(f"{command[0]} is not on the path: install it, it is no part of this")
    with tempfile.TemporaryDirectory(prefix="outbox-") as folder:
        ran = await session.kube.run_in_pod(
            pod.ref, pod.container, ["outbox", "login-files", verb, folder],
            most_bytes=_MOST_BYTES, seconds=_LOGIN_SECONDS,
        )  # fmt: skip
        if ran.code:
            raise OutboxError(ran.err.strip())
        code = await _attached(throwaway.command(command, folder))
    return Report(facts=Ended(pod=pod.name, code=code), lines=lambda screen: (), well=code == 0)


def exec_arguments(session: Session, pod: Ref, command: Sequence[str]) -> list[str]:
    """Arguments of `kubectl` that run a client in its pod, at this terminal if there is one."""
    args = session.args
    where = [f"--{name}={getattr(args, name)}" for name in ("kubeconfig", "context")
             if getattr(args, name) is not None]  # fmt: skip
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    return [
        *where, "-n", pod.namespace, "exec", "-i", *terminal, pod.name,
        "-c", throwaway.CONTAINER, "--", *throwaway.command(command),
    ]  # fmt: skip


async def _attached(command: Sequence[str]) -> int:
    """Run a program at this terminal; its exit code."""
    process = await asyncio.create_subprocess_exec(*command)
    try:
        return await process.wait()
    finally:
        await aio.end(process, endings.END_SECONDS)
