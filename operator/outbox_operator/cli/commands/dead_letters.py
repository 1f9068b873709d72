"""`outbox dead-letters`: print dead letters as JSON lines, with a pod's own logins, within bounds.

`kubectl outbox dlq list` and `show` run it in a relay's or consumer's pod. It reads only.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from outbox_operator.counted import counted

if TYPE_CHECKING:
    from outbox_operator.adapters.nats.dead_letters import Letter
    from outbox_operator.adapters.postgres.dead_letters import DeadLetter
    from outbox_operator.adapters.redis.letter_admin import GroupLetter
    from outbox_operator.wire.config import ConsumerConfig, RelayConfig

HELP: Final = "print dead letters as JSON lines, for `kubectl outbox dlq`"
EXTRA: Final = "relay"

MOST_LETTERS: Final = 1000
MOST_ERROR_CHARACTERS: Final = 4096
MOST_PAYLOAD_BYTES: Final = 256 * 1024
_SECONDS: Final = 30.0
"""The longest run: also where a stream holds millions of other consumers' letters."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--config", metavar="FILE", help="JSON configuration (default: the value of OUTBOX_CONFIG)"
    )
    parser.add_argument(
        "--stream", metavar="NAME",
        help="read this dead-letter stream, in Redis its key (default: the table of the relay)",
    )  # fmt: skip
    parser.add_argument("--durable", metavar="NAME", help="of this consumer alone")
    parser.add_argument(
        "--subject", metavar="SUBJECT", default=">",
        help="with --stream: look at the messages on this subject alone (default: all)",
    )  # fmt: skip
    parser.add_argument("--id", metavar="ID", help="the letters of this event, with all headers")
    parser.add_argument("--type", metavar="TYPE", help="of this event type alone")
    parser.add_argument("--key", metavar="KEY", help="of this partition key alone")
    parser.add_argument("--reason", metavar="REASON", help="of this reason alone")
    parser.add_argument(
        "--limit", type=int, default=100, metavar="N",
        help=f"at most so many, oldest first; up to {MOST_LETTERS} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--payload", action="store_true", help="with --id: the payload as well")
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS, metavar="N",
        help="look no longer than this, and say how far it came (default: %(default)g)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print them, and at the end whether there are more."""
    args.limit = max(1, min(args.limit, MOST_LETTERS))
    asyncio.run(_run(args))
    return 0


async def _run(args: argparse.Namespace) -> None:
    from outbox_operator.errors import DependencyError

    found, looked = 0, Looked()
    try:
        async with asyncio.timeout(args.seconds):
            async for letter in _letters(args, looked):
                if found == args.limit:
                    print(json.dumps({"more": True}))
                    return
                found += 1
                print(json.dumps(letter), flush=True)
    except TimeoutError as error:
        raise DependencyError(
            f"not all was read within {args.seconds:g} s: {looked}; {found} of them are what was "
            "asked for"
        ) from error


@dataclass(slots=True)
class Looked:
    """How far a look came.

    Attributes:
        messages: So many were looked at.
        last: Sequence of the last one; in Redis its id.
    """

    messages: int = 0
    last: int | str = 0

    def __str__(self) -> str:
        """For whoever has to know."""
        if not self.messages:
            return "nothing was looked at"
        what = "sequence" if isinstance(self.last, int) else "entry"
        return (
            f"{counted(self.messages, 'message was', 'messages were')} looked at, up to "
            f"{what} {self.last}"
        )


def _letters(args: argparse.Namespace, looked: Looked) -> AsyncIterator[dict[str, Any]]:
    config = _config(args.config)
    if args.stream is None:
        return _of_table(config, args)
    of_broker = _of_stream if config.redis is None else _of_key
    return of_broker(config, args, looked)


def _config(path: str | None) -> RelayConfig | ConsumerConfig:
    """Of a relay or of a consumer, whichever pod this is."""
    from outbox_operator import documents
    from outbox_operator.wire.config import ConsumerConfig, RelayConfig

    text, name = documents.read(path, "pod")
    try:
        fields = json.loads(text)
    except ValueError:
        fields = {}
    if isinstance(fields, dict) and "durable" in fields:
        return documents.parse(ConsumerConfig, text, name)
    return documents.parse(RelayConfig, text, name)


async def _of_table(
    config: RelayConfig | ConsumerConfig, args: argparse.Namespace
) -> AsyncIterator[dict[str, Any]]:
    from outbox_operator.adapters.postgres import connection as postgres
    from outbox_operator.adapters.postgres.dead_letters import DeadLetterFilter, DeadLetterStore
    from outbox_operator.adapters.postgres.url import Login, resolve
    from outbox_operator.errors import SpecError
    from outbox_operator.wire.config import RelayConfig

    if not isinstance(config, RelayConfig):
        raise SpecError("this pod has no outbox; give --stream")
    target = resolve(Login.from_files(config.database))
    connection = await postgres.connect(
        target,
        application_name="outbox-dead-letters",
        statement_timeout=_SECONDS,
        statements_of_others=True,
    )
    try:
        store = DeadLetterStore(connection, target, config.database.schema, config.payload_type)
        wanted = DeadLetterFilter(
            event_ids=_one(args.id), event_types=_one(args.type), keys=_one(args.key),
            reasons=_one(args.reason),
        )  # fmt: skip
        for letter in await store.find(wanted, limit=args.limit + 1):
            said = _of_row(letter)
            if args.id is not None:
                whole = await store.show(letter.position)
                if whole is None:
                    continue  # it was released meanwhile
                said["headers"] = headers_of(whole.headers)
                said |= _payload(whole.payload, shown=args.payload)
            yield said
    finally:
        await connection.close()


async def _of_stream(
    config: RelayConfig | ConsumerConfig, args: argparse.Namespace, looked: Looked
) -> AsyncIterator[dict[str, Any]]:
    from outbox_operator.adapters.nats import connection as nats
    from outbox_operator.adapters.nats.auth import NatsAuth
    from outbox_operator.adapters.nats.dead_letters import DeadLetters

    auth = NatsAuth.from_files(config.jetstream)
    client = await nats.connect(auth, name="outbox-dead-letters")
    try:
        source = DeadLetters(client, auth, args.stream)
        async for sequence, letter in source.letters(args.subject):
            looked.messages, looked.last = looked.messages + 1, sequence
            if letter is None or not _meant(letter, args):
                continue
            said = _of_message(letter)
            if args.id is not None:
                said["headers"] = dict(letter.headers)
                said |= _payload(letter.data, shown=args.payload)
            yield said
            if args.id is not None and args.durable is not None:
                return  # one event is one letter of a consumer: who replays it removes it
    finally:
        await nats.finish(client)


async def _of_key(
    config: RelayConfig | ConsumerConfig, args: argparse.Namespace, looked: Looked
) -> AsyncIterator[dict[str, Any]]:
    from outbox_operator.adapters.redis.admin import RedisAdmin
    from outbox_operator.adapters.redis.letter_admin import FIRST, LATEST, LetterAdmin
    from outbox_operator.adapters.redis.login import RedisLogin

    assert config.redis is not None  # noqa: S101 - what the caller sees to
    admin = await RedisAdmin.open(RedisLogin.from_files(config.redis), name="outbox-dead-letters")
    try:
        letters = LetterAdmin(admin, args.stream)
        async for letter in letters.behind(FIRST, LATEST):
            looked.messages, looked.last = looked.messages + 1, letter.id
            if not letter.reason or not _meant(letter, args):
                continue
            said = _of_entry(letter)
            if args.id is not None:
                whole = await letters.show(letter.id, MOST_PAYLOAD_BYTES)
                if whole is None:
                    continue  # it was handed over meanwhile
                said["headers"] = dict(whole.headers)
                said |= _payload(whole.data, shown=args.payload, size=whole.size)
            yield said
            if args.id is not None and args.durable is not None:
                return
    finally:
        await admin.close()


def _meant(letter: Letter | GroupLetter, args: argparse.Namespace) -> bool:
    asked = (
        (args.durable, letter.consumer), (args.id, letter.event_id), (args.type, letter.event_type),
        (args.key, letter.key), (args.reason, letter.reason),
    )  # fmt: skip
    return all(wanted in (None, has) for wanted, has in asked)


def _of_row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.event_id,
        "type": letter.event_type,
        "key": letter.partition_key,
        "reason": letter.reason,
        "error": letter.error[:MOST_ERROR_CHARACTERS],
        "deadAt": _time(letter.dead_at),
        "position": letter.position,
        "shard": letter.shard,
        "createdAt": _time(letter.created_at),
        "blocked": letter.blocked,
    }


def _of_message(letter: Letter) -> dict[str, Any]:
    return _of_consumer(letter, {"sequence": letter.sequence}, {"subject": letter.subject})


def _of_entry(letter: GroupLetter) -> dict[str, Any]:
    return _of_consumer(letter, {"entry": letter.id}, {"number": letter.number})


def _of_consumer(
    letter: Letter | GroupLetter, place: dict[str, Any], origin: dict[str, Any]
) -> dict[str, Any]:
    """A letter of a consumer.

    Args:
        place: Where it is.
        origin: Where in its stream the event is from.
    """
    return {
        "id": letter.event_id,
        "type": letter.event_type,
        "key": letter.key,
        "reason": letter.reason,
        "error": letter.error[:MOST_ERROR_CHARACTERS],
        "deadAt": letter.time,
        **place,
        "consumer": letter.consumer,
        "deliveries": letter.deliveries,
        "stream": letter.stream,
        **origin,
    }


def headers_of(text: str) -> dict[str, str] | str:
    """Headers of a row; the beginning of their text where they are no texts by name."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # numbers of 5000 digits, 3000 levels: jsonb holds that
        found = None
    if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
        return found
    return text[:MOST_ERROR_CHARACTERS]


def _payload(data: bytes, *, shown: bool, size: int | None = None) -> dict[str, Any]:
    """Size of a payload, and if it is asked for what it is, cut where it is long.

    Args:
        data: The payload, or its beginning.
        shown: Whether it is asked for.
        size: Of the whole; None: `data` is.
    """
    size = len(data) if size is None else size
    said: dict[str, Any] = {"payloadBytes": size}
    if not shown:
        return said
    kept = data[:MOST_PAYLOAD_BYTES]
    said["payloadCut"] = size > len(kept)
    try:
        said["payload"] = kept.decode()
    except UnicodeDecodeError:
        said["payloadBase64"] = base64.b64encode(kept).decode()
    return said


def _time(moment: datetime) -> str:
    from outbox_operator.wire.times import format_time

    return format_time(moment, "milliseconds")


def _one(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else (text,)
