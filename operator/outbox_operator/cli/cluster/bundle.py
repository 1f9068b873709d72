"""What `outbox report` does: gathers what there is to see, takes out what is nobody's business."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.api import meta
from outbox_operator.cli.cluster import doctor, outside, versions
from outbox_operator.cli.cluster.refusals import explained
from outbox_operator.cli.cluster.report import Report, document
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.cluster.session import Session
from outbox_operator.counted import counted
from outbox_operator.errors import OutboxError, SpecError
from outbox_operator.plan.amounts import size
from outbox_operator.plan.doctor import redaction
from outbox_operator.plan.doctor.cluster import Seen
from outbox_operator.wire.config import HEALTH_PORT
from outbox_operator.wire.times import format_time

MOST_PODS: Final = 50
MOST_LINES: Final = 20_000
"""Of one page of metrics, or of one log."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Of one log, by the API server's own bound."""
_AT_ONCE: Final = 8

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The facts of `outbox report`.

    Attributes:
        left_out: What could not be read, and why.
    """

    file: str
    bytes: int
    files: tuple[str, ...]
    left_out: Mapping[str, str]


@dataclass(slots=True)
class _Files:
    at: datetime
    files: dict[str, bytes] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, text: str) -> None:
        """A file."""
        self.files[name] = text.encode("utf-8", "backslashreplace")

    def objects(self, name: str, bodies: Iterable[Body]) -> None:
        """Objects as YAML, redacted; no file where there are none."""
        import yaml

        shown = [redaction.body(one) for one in bodies]
        if shown:
            self.add(f"{name}.yaml", yaml.safe_dump_all(shown, sort_keys=False, allow_unicode=True))

    def packed(self) -> bytes:
        """All of them as a compressed archive."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name in sorted(self.files):
                entry = tarfile.TarInfo(f"outbox-report/{name}")
                entry.size, entry.mtime = len(self.files[name]), int(self.at.timestamp())
                entry.mode = 0o600
                archive.addfile(entry, io.BytesIO(self.files[name]))
        return packed.getvalue()


async def write(session: Session) -> Report:
    """Gather and write.

    Raises:
        SpecError: The file exists, or cannot be written.
        NotFoundError: There is no pipeline of `args.name`.
    """
    now = session.now()
    stamp = format_time(now, "seconds").replace(":", "")
    path = session.args.file or f"outbox-report-{stamp}.tar.gz"
    _check_new(path)
    files = _Files(now)
    found = await doctor.look(session)
    files.add("findings.json", json.dumps(_redacted(document(found.facts)), indent=2) + "\n")
    files.add("findings.txt", "\n".join(redaction.text(line) for line in found.lines(Screen())))
    seen = await outside.look(session)
    files.left_out |= seen.refused
    _objects(files, seen)
    about = await _guarded(session, files, "versions", versions.look(session))
    if about is not None:
        files.add("versions.json", json.dumps(document(about.facts), indent=2) + "\n")
    pods = [*seen.pods[:MOST_PODS], *await _operators(session, files, seen)]
    await _each(pods, lambda pod: _pod(session, files, pod))
    files.add("README.md", _readme(files, session))
    packed = files.packed()
    _store(path, packed)
    facts = Bundle(
        file=path, bytes=len(packed), files=tuple(sorted(files.files)),
        left_out=dict(files.left_out),
    )  # fmt: skip
    return Report(facts=facts, lines=lambda screen: _lines(facts, screen), names=[path])


def _check_new(path: str) -> None:
    """Before anything is gathered. Raises SpecError."""
    if os.path.lexists(path):
        raise SpecError(f"{path} exists; choose another --file")


def _store(path: str, packed: bytes) -> None:
    """Write a file that nobody else may read. Raises SpecError."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(packed)
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror}") from error


def _objects(files: _Files, seen: Seen) -> None:
    for kind in meta.PLURALS:
        found = [one for one in seen.objects if one["kind"] == kind]
        files.objects(f"objects/{meta.PLURALS[kind]}", found)
    files.objects("objects/operators", seen.operators or ())
    files.objects("objects/deployments", seen.workloads)
    files.objects("objects/pods", seen.pods)
    files.objects("objects/networkpolicies", seen.policies)
    files.objects("objects/events", _ours(seen))


def _ours(seen: Seen) -> list[Body]:
    """Events about our objects, workloads and pods; those of others are none of our business."""
    names = {str(one["metadata"]["name"]) for one in (*seen.objects, *seen.workloads, *seen.pods)}
    workloads = tuple(f"{one['metadata']['name']}-" for one in seen.workloads) or ("\0",)

    def is_ours(event: Body) -> bool:
        name = str((event.get("involvedObject") or {}).get("name") or "")
        return name in names or name.startswith(workloads)

    return [one for one in seen.events if is_ours(one)]


async def _operators(session: Session, files: _Files, seen: Seen) -> Sequence[Body]:
    found: list[Body] = []
    for deployment in seen.operators or ():
        namespace = deployment["metadata"]["namespace"]
        asked = session.kube.list("v1", "pods", namespace, outside.OPERATORS)
        page = await _guarded(session, files, f"pods of the operator in {namespace}", asked)
        found += page[0] if page is not None else []
    return found


async def _pod(session: Session, files: _Files, pod: Body) -> None:
    metadata = pod["metadata"]
    ref = Ref("v1", "pods", metadata["namespace"], metadata["name"])
    place = f"{ref.namespace}/{ref.name}"
    for container in (pod.get("spec") or {}).get("containers") or ():
        name = str(container["name"])
        for previous in (False, True):
            restarted = any(
                one.get("restartCount")
                for one in (pod.get("status") or {}).get("containerStatuses") or ()
                if one.get("name") == name
            )
            if previous and not restarted:
                continue
            query = {"container": name, "tailLines": str(session.args.tail)}
            query["limitBytes"] = str(MOST_BYTES)
            query |= {"previous": "true"} if previous else {}
            asked = _taken(session.kube.log(ref, query))
            file = f"logs/{place}.{name}{'.previous' if previous else ''}.jsonl"
            lines = await _guarded(session, files, file, asked)
            if lines is None:
                continue
            kept, others = redaction.log_lines(lines)
            files.add(file, "".join(f"{line}\n" for line in kept))
            if others:
                files.left_out[file] = f"{counted(others, 'line')} of other programs"
    asked = _taken(session.api.fetch_from_pod(ref, HEALTH_PORT, "metrics"))
    metrics = await _guarded(session, files, f"metrics/{place}.txt", asked)
    if metrics is not None:
        files.add(f"metrics/{place}.txt", "".join(f"{redaction.text(one)}\n" for one in metrics))


async def _taken(lines: Any) -> list[str]:
    """The lines of an answer, so many as are taken."""
    found: list[str] = []
    async for line in lines:
        found.append(line)
        if len(found) == MOST_LINES:
            break
    return found


async def _guarded(session: Session, files: _Files, what: str, asked: Awaitable[Any]) -> Any:
    """What was asked for; None: it is left out, and the bundle says why."""
    try:
        return await asked
    except OutboxError as error:
        files.left_out[what] = redaction.text(explained(error, session.kube.context).message)
        return None


async def _each(pods: Sequence[Body], do: Callable[[Body], Awaitable[None]]) -> None:
    for start in range(0, len(pods), _AT_ONCE):
        await asyncio.gather(*(do(pod) for pod in pods[start : start + _AT_ONCE]))


def _redacted(found: Any) -> Any:
    return redaction.body({"facts": found})["facts"]


def _readme(files: _Files, session: Session) -> str:
    left = (
        "".join(f"- {what}: {why}\n" for what, why in sorted(files.left_out.items()))
        or "- nothing\n"
    )
    listed = "".join(f"- {name}\n" for name in sorted(files.files))
    return (
        f"# Report of outbox-operator, {format_time(files.at, 'seconds')}\n\n"
        f"Context {session.kube.context}, "
        f"namespace {session.scope or 'all'}, pipeline {session.args.name or 'all'}.\n\n"
        "No Secret was read. Environment, arguments, headers, keys of events and annotations of "
        "others are left out of objects; lines of other programs, and what handlers said of "
        f"events, out of logs.\n\n## Files\n\n{listed}\n## Left out\n\n{left}"
    )


def _lines(facts: Bundle, screen: Screen) -> Iterable[str]:
    yield from screen.wrap(
        f"wrote {facts.file}: {counted(len(facts.files), 'file')}, {size(facts.bytes)}"
    )
    for what, why in sorted(facts.left_out.items()):
        yield from screen.wrap(f"left out: {what}: {why}", "  ", hang="    ")
    yield from screen.wrap("It holds no secret and no payload. Look into it before you send it.")
