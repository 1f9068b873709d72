"""What the operator asks of a server of Redis, and does there: look, make, mark, trim, delete.

Called by the reconciler of EventStreams and by `outbox dev`. What changes a key looks at its mark
in the same script: a decision may be older than what is there.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from outbox_operator.adapters.redis.connection import Wire
from outbox_operator.adapters.redis.entries import LARGEST_NUMBER, companion, number, parse_id
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.redis.scripts import CLAIM, DROP, LOOK, TRIM, Script
from outbox_operator.errors import ConflictError, OutboxError, RedisError
from outbox_operator.plan.redis.observed import ObservedGroup, ObservedKey, ObservedServer
from outbox_operator.plan.state import Owner

MOST_ANSWER_BYTES: Final = 1024 * 1024
"""Of one answer: what we ask for takes a few kilobytes, whatever the entries."""
_MOST_GROUPS: Final = 64
_MOST_TEXT: Final = 400
_TRIMMED_AT_ONCE: Final = 50
"""Entries; while they go the server does nothing else."""
_NONE: Final[Mapping[str, str]] = {}
_VERSION: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}")


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What became of entries that are too many.

    Attributes:
        removed: So many went.
        kept_for: The group that needs the next; None: nobody does.
        more: Whether there are still too many that nobody needs.
    """

    removed: int
    kept_for: str | None = None
    more: bool = False


class RedisAdmin:
    """Administration over one connection. Make one with `RedisAdmin.open`.

    Attributes:
        login: Whose connection it is.
    """

    def __init__(self, wire: Wire, login: RedisLogin) -> None:
        self.login = login
        self._wire = wire
        self._tells_fsync = True

    @classmethod
    async def open(
        cls, login: RedisLogin, *, name: str, on_lost: Callable[[], None] = lambda: None
    ) -> RedisAdmin:
        """Connect and log in.

        Raises:
            OutboxError: The server is away or does not let us in, or the login is malformed.
        """
        wire = await Wire.open(login, name=name, on_lost=on_lost, most_bytes=MOST_ANSWER_BYTES)
        return cls(wire, login)

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self._wire.lost_as is not None

    async def close(self) -> None:
        """End the connection."""
        await self._wire.close()

    async def server(self) -> ObservedServer:
        """What the server says of itself.

        Raises:
            OutboxError: It is away, or the user may not ask (INFO).
        """
        text: bytes = await self._wire.ask("ask what the server is", "INFO")
        with self.understood("what the server is"):
            lines = _fields(text)
        version = lines.get("valkey_version") or lines.get("redis_version", "")
        compatible = lines.get("redis_version", "")
        return ObservedServer(
            product="Valkey" if "valkey_version" in lines else "Redis",
            version=version[:_MOST_TEXT],
            compatible=tuple(map(int, compatible.split(".")))
            if _VERSION.fullmatch(compatible)
            else (),
            writes=lines.get("role") != "slave",
            policy=lines.get("maxmemory_policy", "")[:_MOST_TEXT],
            used_memory=_number(lines, "used_memory"),
            max_memory=_number(lines, "maxmemory"),
            appends=lines.get("aof_enabled") == "1",
            fsync=await self._fsync(),
            replicas=_number(lines, "connected_slaves"),
        )

    async def _fsync(self) -> str:
        """`appendfsync`, asked no more where the user may not: each refusal is logged there."""
        if not self._tells_fsync:
            return ""
        try:
            found = await self._wire.ask("ask for appendfsync", "CONFIG", "GET", "appendfsync")
        except OutboxError:
            if self.lost:
                raise
            self._tells_fsync = False
            return ""
        with self.understood("appendfsync"):
            return found[1].decode("utf-8", "replace")[:20] if len(found) == 2 else ""

    async def key(self, name: str) -> ObservedKey:
        """What there is at a key.

        Raises:
            OutboxError: The server is away, or does not say.
        """
        found = await self._wire.run(
            f"look at key {name}", LOOK, [name, companion(name)], _MOST_GROUPS, _MOST_TEXT
        )
        with self.understood(f"key {name}"):
            return _key(name, found)

    async def claim(self, wanted: Mapping[str, Any]) -> ObservedKey:
        """Make a stream, or put a mark on one; as `plan.redis.keys` says it.

        Raises:
            ConflictError: Somebody else was faster.
            OutboxError: The server is away, or refuses.
        """
        name, note = str(wanted["key"]), companion(str(wanted["key"]))
        answer = await self._wire.run(
            f"make stream {name}", CLAIM, [name, note],
            datetime.now(UTC).isoformat(), str(wanted["replaces"]), str(wanted["uid"]),
            str(wanted["name"]), str(wanted["cluster"]),
        )  # fmt: skip
        with self.understood(f"key {name}"):
            what, found, where = (text.decode("utf-8", "replace") for text in answer)
        if what == "TYPE":
            raise ConflictError(
                f"Redis at {self.login.address}: key {where[:_MOST_TEXT]} holds a "
                f"{found[:_MOST_TEXT]}, which is in the way of stream {name}"
            )
        if what == "MARK":
            raise ConflictError(
                f"Redis at {self.login.address}: key {name} has just got the mark of another "
                "resource"
            )
        return await self.key(name)

    async def trim(
        self, name: str, uid: str, most: int, groups: Mapping[str, str] = _NONE
    ) -> Trimmed:
        """Remove some of the oldest entries that are too many and that no group needs.

        Args:
            name: Of the key.
            uid: Of its mark.
            most: Entries that shall stay, at least 1.
            groups: Groups without which nothing goes, each with a reader that has to be in it.

        Raises:
            OutboxError: The server is away, or refuses.
        """
        answer = await self._wire.run(
            f"trim key {name}", TRIM, [name, companion(name)], uid, most, _TRIMMED_AT_ONCE,
            *(text for pair in groups.items() for text in pair),
        )  # fmt: skip
        with self.understood(f"key {name}"):
            what, count, group = answer
            kept = group.decode("utf-8", "replace")[:_MOST_TEXT] if what == b"KEPT" else None
            return Trimmed(number(count), kept, more=what == b"MORE")

    async def letters(self, name: str) -> int:
        """How many dead letters there are at a key.

        Raises:
            OutboxError: The server is away, or refuses.
        """
        found = await self._wire.ask(f"count key {name}", "XLEN", name)
        with self.understood(f"key {name}"):
            return number(found)

    async def drop(self, name: str, uid: str, letters: str) -> bool:
        """Delete a key with its companion and dead letters, if it has a mark. Whether it had."""
        keys = [name, companion(name), letters]
        return bool(await self._wire.run(f"delete key {name}", DROP, keys, uid))

    async def ask(self, doing: str, *command: bytes | str | int) -> Any:
        """Send a command and wait for its answer. Raises OutboxError."""
        return await self._wire.ask(doing, *command)

    async def run(
        self, doing: str, script: Script, keys: list[str], *texts: bytes | str | int
    ) -> Any:
        """Run a script. Raises OutboxError."""
        return await self._wire.run(doing, script, keys, *texts)

    @contextlib.contextmanager
    def understood(self, what: str) -> Any:
        """Within it, an answer that makes no sense is an error of the server. Raises RedisError."""
        try:
            yield
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise RedisError(
                f"Redis at {self.login.address}: no answer about {what} as Redis gives "
                f"({type(error).__name__})"
            ) from error


def _fields(text: bytes) -> dict[str, str]:
    """The lines of INFO."""
    lines = text.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _number(lines: Mapping[str, str], name: str) -> int:
    text = lines.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _key(name: str, found: list[Any]) -> ObservedKey:
    kind = found[0].decode()
    created, uid, key, cluster = (text.decode("utf-8", "replace") for text in found[1])
    mark = Owner(uid=uid, key=key, cluster=cluster) if uid else None
    if kind != "stream":
        return ObservedKey(name=name, kind=kind, created=created or None, mark=mark)
    entries, first, last, size, removed = found[2]
    last_id = parse_id(last)[0]
    return ObservedKey(
        name=name,
        created=created or None,
        mark=mark,
        entries=number(entries),
        bytes=number(size) if size >= 0 else None,
        first_id=parse_id(first)[0] if first else 0,
        last_id=last_id,
        is_spent=last_id > LARGEST_NUMBER,
        removed=number(removed) if removed >= 0 else None,
        groups=tuple(
            ObservedGroup(
                name=group.decode("utf-8", "replace"),
                pending=number(pending),
                lag=number(lag) if lag >= 0 else None,
                delivered=parse_id(delivered)[0],
            )
            for group, pending, lag, delivered in found[3]
        ),
    )
