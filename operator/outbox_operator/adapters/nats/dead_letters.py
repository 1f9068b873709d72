"""The dead letters of a stream: list, show, replay and purge them, and collect new ones.

Called by the controller and `outbox dev`, which collect what the server gave up on, and by the
command line. Reads messages by their sequence, because a reader's durable consumer would be one
thing more to own.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.adapters.nats.frame_reader import parse_headers
from outbox_operator.errors import NatsError
from outbox_operator.reasons import Reason
from outbox_operator.wire import dead_letters, headers

log = logging.getLogger(__name__)

_COLLECTED_AT_ONCE: Final = 500
_REASON_CHARACTERS: Final = 2000
_ASKED_AT_ONCE: Final = 8
_FEW_CHARACTERS: Final = 256 * 1024
"""Of a message as the server sends it; larger ones are read one by one, for a pod's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter.

    Attributes:
        sequence: In the dead-letter stream; names the letter.
        subject: Where the message was stored first; replayed there.
        stream_sequence: In the stream where it was stored first.
        headers: All of them.
    """

    sequence: int
    event_id: str
    event_type: str
    key: str
    reason: str
    error: str
    deliveries: int
    stream: str
    subject: str
    consumer: str
    time: str
    stream_sequence: str
    headers: Mapping[str, str]
    data: bytes


class DeadLetters:
    """The letters in one dead-letter stream.

    Args:
        client: A connection.
        auth: Its login, for messages.
        stream: Name of the dead-letter stream.
    """

    def __init__(self, client: WireClient, auth: NatsAuth, stream: str) -> None:
        self._stream = stream
        self._api = JetStreamApi(client, auth)

    async def letters(self, subject: str = ">") -> AsyncIterator[tuple[int, Letter | None]]:
        """All messages on a subject, oldest first, several asked for at a time.

        There may be tens of thousands after a night, and each costs an answer's way.

        Args:
            subject: With wildcards or without; without, what others have there costs nothing.

        Yields:
            Sequence and letter; None: the message is no dead letter.

        Raises:
            NatsError: NATS does not answer, or there is no such stream.
        """
        sequence, width = 1, 1
        while True:
            asked = [
                self._get(self._stream, {"seq": sequence + step, "next_by_subj": subject})
                for step in range(width)
            ]
            answers = await asyncio.gather(*asked)
            # Each is the first at or behind its sequence: together all up to the last of them.
            found = {int(one["seq"]): one for one in answers if one is not None}
            for number in sorted(found):
                yield number, _letter(found[number])
            if None in answers:
                return
            sequence = max(found) + 1
            large = max(len(one.get("data") or "") for one in found.values())
            width = 1 if large > _FEW_CHARACTERS else min(_ASKED_AT_ONCE, 2 * len(found))

    async def behind(self, sequence: int, subject: str) -> AsyncIterator[tuple[int, Letter | None]]:
        """The messages on a subject behind a sequence, oldest first.

        Yields:
            Sequence and letter; None: the message is no dead letter.

        Raises:
            NatsError: As `letters`.
        """
        async for message in self._messages(subject, sequence + 1):
            yield int(message["seq"]), _letter(message)

    async def show(self, sequence: int) -> Letter:
        """One letter.

        Raises:
            NatsError: There is none of that number, or NATS does not answer.
        """
        letter = await self.get(sequence)
        if letter is None:
            raise NatsError(f"stream {self._stream}: no dead letter {sequence}")
        return letter

    async def get(self, sequence: int) -> Letter | None:
        """One letter; None: there is none of that number. Raises NatsError."""
        message = await self._get(self._stream, {"seq": sequence})
        return None if message is None else _letter(message)

    async def replay(self, letter: Letter, subject: str, into: str) -> None:
        """Publish a letter again, then remove it.

        Twice is once for as long as the stream remembers ids (`duplicateWindow`).

        Args:
            letter: As it is in its stream.
            subject: Where to: where it was stored first, or what the stream makes that of.
            into: The stream that has to take it.

        Raises:
            NatsError: No stream takes it, or NATS does not answer; the letter stays.
        """
        published = {
            **dead_letters.replayed(letter.headers, self._stream, letter.sequence),
            headers.EXPECTED_STREAM: into,
        }
        await self._api.publish(subject, letter.data, published, f"letter {letter.sequence}")
        await self.purge(letter.sequence)

    async def replayed(
        self, letters: Iterable[Letter], stream: str, after: int, *, seconds: float
    ) -> tuple[set[int], bool]:
        """Which letters a stream holds that were published again.

        Args:
            letters: Those that may have been.
            stream: Where they came from.
            after: The sequence that was the last one before somebody began with them.
            seconds: So long it looks; a busy subject may have any number of messages.

        Returns:
            Sequences of the letters that are there, and whether all of the stream was looked
            through.
        """
        wanted: dict[str, dict[str, int]] = {}
        for letter in letters:
            name = dead_letters.replay_id(letter.headers, self._stream, letter.sequence)
            wanted.setdefault(letter.subject, {})[name] = letter.sequence
        found = set[int]()
        try:
            async with asyncio.timeout(seconds):
                for subject, ids in wanted.items():
                    async for message in self._messages(subject, after + 1, stream):
                        sequence = ids.pop(_headers(message).get(headers.MSG_ID, ""), None)
                        if sequence is not None:
                            found.add(sequence)
                        if not ids:
                            break
        except TimeoutError:
            return found, False
        return found, True

    async def purge(self, sequence: int) -> None:
        """Remove a letter for good. Raises NatsError."""
        verb, what = f"STREAM.MSG.DELETE.{self._stream}", f"stream {self._stream}"
        await self._api.find(verb, {"seq": sequence}, what, FaultKind.MESSAGE_MISSING)

    async def collect(self, source: str, durable: str, prefix: str) -> int:
        """Make letters of the messages that the server gave up on; how many.

        Args:
            source: The stream they are in.
            durable: The durable consumer it gave up for.
            prefix: Subject prefix of dead letters.

        Raises:
            NatsError: NATS does not answer; the rest is collected the next time.
        """
        collected = 0
        for subject in dead_letters.advisory_subjects(source, durable):
            async for advisory in self._messages(subject):
                collected += await self._collect(advisory, source, durable, prefix)
                if collected >= _COLLECTED_AT_ONCE:
                    return collected
        return collected

    async def waiting(self, source: str, durable: str) -> bool:
        """Whether something that the server gave up on was not collected, for whatever reason.

        Args:
            source: As for `collect`, like `durable`.

        Raises NatsError.
        """
        for subject in dead_letters.advisory_subjects(source, durable):
            async for _ in self._messages(subject):
                return True
        return False

    async def _collect(
        self, advisory: Mapping[str, Any], source: str, durable: str, prefix: str
    ) -> int:
        facts = _facts(advisory)
        if facts is None:
            # Whoever may publish can say such things; those of the server must not wait for it.
            log.warning(
                "stream %s: message %d on %s is no advisory, and removed",
                self._stream, advisory["seq"], advisory["subject"],
            )  # fmt: skip
            await self.purge(int(advisory["seq"]))
            return 0
        # On one line, since it becomes a header.
        why = " ".join(str(facts.get("reason") or "").split())[:_REASON_CHARACTERS]
        why = why.encode(errors="backslashreplace").decode()
        sequence = facts["stream_seq"]
        own = why.startswith(dead_letters.OWN_TERMINATION)
        message = None if own else await self._get(source, {"seq": sequence})
        if message is None:
            if not own:
                log.warning(
                    "stream %s: message %d, given up for %s, is gone and cannot be kept",
                    source, sequence, durable,
                )  # fmt: skip
            await self.purge(int(advisory["seq"]))
            return 0
        terminated = "terminated" in str(facts["type"])
        deliveries = facts["deliveries"]
        found = dead_letters.headers(
            _headers(message),
            reason=Reason.TERMINATED if terminated else Reason.MAX_DELIVER,
            error=why or ("terminated by the handler" if terminated else "not acknowledged"),
            deliveries=deliveries,
            stream=source,
            sequence=sequence,
            stored=_moment(message["time"]),
            subject=message["subject"],
            consumer=durable,
            now=dt.datetime.now(dt.UTC),
        )
        data = base64.b64decode(message.get("data") or "")
        try:
            await self._api.publish_letter(
                dead_letters.subject(prefix, durable), data, found, f"copy of {source}:{sequence}"
            )
        except NatsError as error:
            if error.reason is not Reason.MESSAGE_TOO_LARGE:
                raise
            # It keeps its advisory, and holds up no other.
            log.warning(
                "stream %s: message %d, given up for %s, cannot be kept: %s",
                source, sequence, durable, error.message,
            )  # fmt: skip
            return 0
        await self.purge(int(advisory["seq"]))
        return 1

    async def _messages(
        self, subject: str, sequence: int = 1, stream: str = ""
    ) -> AsyncIterator[Mapping[str, Any]]:
        while True:
            wanted = {"seq": sequence, "next_by_subj": subject}
            message = await self._get(stream or self._stream, wanted)
            if message is None:
                return
            yield message
            sequence = int(message["seq"]) + 1

    async def _get(self, stream: str, wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
        answer = await self._api.find(
            f"STREAM.MSG.GET.{stream}", wanted, f"stream {stream}", FaultKind.MESSAGE_MISSING
        )
        message: Mapping[str, Any] | None = None if answer is None else answer.get("message")
        return message


def _headers(message: Mapping[str, Any]) -> dict[str, str]:
    return parse_headers(base64.b64decode(message["hdrs"])) if message.get("hdrs") else {}


def _facts(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an advisory says; None: it is none."""
    try:
        facts = json.loads(base64.b64decode(message.get("data") or ""))
        facts = {"deliveries": 0, "type": "", **facts}
        numbers = facts["stream_seq"], facts["deliveries"] + 1
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not all(type(number) is int and 0 < number < 2**63 for number in numbers):
        return None
    return facts


def _moment(text: str) -> dt.datetime:
    # Nanoseconds are more than Python keeps.
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def _count(text: str) -> int:
    """Of a header that anybody may have written."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _letter(message: Mapping[str, Any]) -> Letter | None:
    found = _headers(message)
    if headers.DEAD_LETTER_REASON not in found:
        return None
    get = found.get
    return Letter(
        sequence=int(message["seq"]),
        event_id=headers.decode_value(get(headers.EVENT_ID, "")),
        event_type=headers.decode_value(get(headers.EVENT_TYPE, "")),
        key=headers.decode_value(get(headers.EVENT_KEY, "")),
        reason=found[headers.DEAD_LETTER_REASON],
        error=get(headers.DEAD_LETTER_ERROR, ""),
        deliveries=_count(get(headers.DEAD_LETTER_DELIVERIES, "")),
        stream=get(headers.DEAD_LETTER_STREAM, ""),
        subject=get(headers.DEAD_LETTER_SUBJECT, ""),
        consumer=get(headers.DEAD_LETTER_CONSUMER, ""),
        time=get(headers.DEAD_LETTER_TIME, ""),
        stream_sequence=get(headers.DEAD_LETTER_SEQUENCE, ""),
        headers=found,
        data=base64.b64decode(message.get("data") or ""),
    )
