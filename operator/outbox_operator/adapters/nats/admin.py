"""Administration of JetStream: streams and durable consumers, by the raw JSON API.

Called by the controller. Raw, so that a field the driver does not know still reaches the server.
Decides nothing: what to write comes from plan.jetstream.streams and plan.jetstream.consumers.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from nats.errors import NoRespondersError

from outbox_operator.adapters.nats import answers
from outbox_operator.adapters.nats.answers import StoredMessage
from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import server_version
from outbox_operator.adapters.nats.dead_letters import DeadLetters
from outbox_operator.adapters.nats.diagnose import JetStreamLook
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.nats.errors import ApiFaultError, translate
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.adapters.nats.stream_list import StreamList
from outbox_operator.adapters.nats.tail import TailReader
from outbox_operator.errors import ConflictError, OutboxError, SpecError
from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.jetstream.decide import Config, moment
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.reasons import Reason

__all__ = ["AccountInfo", "JetStreamAdmin", "StoredMessage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountInfo:
    """What an account may use and uses. Bytes; -1: no limit.

    Attributes:
        reserved_storage: Promised to streams with maxBytes, used or not.
    """

    api_level: int
    max_memory: int
    max_storage: int
    memory: int
    storage: int
    reserved_memory: int
    reserved_storage: int

    def left(self, storage: str) -> int | None:
        """Bytes that a new stream could reserve in "file" or "memory"; None: no limit here."""
        most, used, reserved = (
            (self.max_memory, self.memory, self.reserved_memory)
            if storage == "memory"
            else (self.max_storage, self.storage, self.reserved_storage)
        )
        return None if most < 0 else max(most - max(used, reserved), 0)


_LONGEST_NAME: Final = 256
_MOST_PAGES: Final = 20
"""Of a few hundred consumers each."""
_GONE: Final = (FaultKind.STREAM_MISSING, FaultKind.CONSUMER_MISSING)


class JetStreamAdmin:
    """Streams and durable consumers of one account.

    All methods raise NatsError when the server is away or faulty, UnsupportedServerError without
    JetStream, AccessDeniedError when the user may not call the API.

    Args:
        client: A connection; stays the caller's.
        auth: What it was made from: address for messages, JetStream domain.
    """

    def __init__(self, client: WireClient, auth: NatsAuth) -> None:
        self._client = client
        self._auth = auth
        self._api = JetStreamApi(client, auth, specified=True)
        self._list = StreamList(self._api, self.stream_info)
        self._account: tuple[object, str | None] | None = None
        """By session, because a server may put a user elsewhere: the answer to `whereabouts`."""

    @property
    def auth(self) -> NatsAuth:
        """The login."""
        return self._auth

    @property
    def api_level(self) -> int:
        """JetStream API level of the connected server: 0 for 2.10, 1 for 2.11, 4 for 2.14."""
        level = self._client.greeting.get("api_lvl")
        if level is None:
            # 2.11 has level 1 but does not say so when greeting.
            return 1 if server_version(self._client) >= (2, 11, 0) else 0
        return level if isinstance(level, int) else 0

    async def account_info(self) -> AccountInfo:
        """Limits and use of the account."""
        answer = await self._api.request("INFO", None, "account")
        limits = answer.get("limits") or {}
        return AccountInfo(
            api_level=int((answer.get("api") or {}).get("level") or 0),
            max_memory=limits.get("max_memory", -1),
            max_storage=limits.get("max_storage", -1),
            memory=answer.get("memory", 0),
            storage=answer.get("storage", 0),
            reserved_memory=_reserved(answer.get("reserved_memory", 0)),
            reserved_storage=_reserved(answer.get("reserved_storage", 0)),
        )

    async def whereabouts(self) -> tuple[str | None, str | None]:
        """Name of the servers' cluster, and the account of the login; None: nobody says."""
        greeting = self._client.greeting
        session = greeting.get("server_id"), greeting.get("client_id")
        if self._account is None or self._account[0] != session:
            account: object = None
            # A right that few grant, asked for once in a session: it must keep nobody waiting.
            with suppress(OutboxError, ApiFaultError, NoRespondersError):
                account = (await self._api.user_info()).get("account")
            self._account = session, _short(account)
        return _short(greeting.get("cluster")), self._account[1]

    async def stream_info(self, name: str) -> ObservedStream | None:
        """A stream, or None when there is none."""
        found = await self._api.find(
            f"STREAM.INFO.{name}", None, f"stream {name}", FaultKind.STREAM_MISSING
        )
        return (
            None if found is None else self._api.understood(answers.stream, found, f"stream {name}")
        )

    async def streams(self, names: Collection[str]) -> dict[str, ObservedStream]:
        """Those of some streams that exist, as `StreamList.find`."""
        return await self._list.find(names)

    async def create_stream(self, config: Config) -> ObservedStream:
        """Create a stream; one that exists with the same configuration is fine.

        Raises:
            ConflictError: Its subjects overlap another stream, which is named, or it exists
                with another configuration.
            SpecError: The server refuses the configuration; or it needs more room than there is.
        """
        return await self._write_stream("CREATE", config)

    async def update_stream(self, config: Config) -> ObservedStream:
        """Replace the configuration of a stream; raises as `create_stream`.

        Raises:
            UnsafeChangeError: The server cannot change this in place.
        """
        return await self._write_stream("UPDATE", config)

    async def delete_stream(self, name: str) -> None:
        """Delete a stream and its messages; one that is gone already is fine."""
        await self._api.find(
            f"STREAM.DELETE.{name}", None, f"stream {name}", FaultKind.STREAM_MISSING
        )

    async def consumer_info(self, stream: str, durable: str) -> ObservedConsumer | None:
        """A durable consumer, or None when it or its stream does not exist."""
        what = f"durable consumer {durable} of stream {stream}"
        verb = f"CONSUMER.INFO.{stream}.{durable}"
        found = await self._api.find(verb, None, what, *_GONE)
        return None if found is None else self._api.understood(answers.consumer, found, what)

    async def durables(self, stream: str) -> tuple[str, ...]:
        """Names of the durable consumers of a stream, the first few thousand of them.

        Readers that end with their program, such as a relay's that takes over, are not among them.
        """
        what, found, offset = f"stream {stream}", list[str](), 0
        for _ in range(_MOST_PAGES):
            body = {"offset": offset}
            answer = await self._api.find(
                f"CONSUMER.LIST.{stream}", body, what, FaultKind.STREAM_MISSING
            )
            names, count, total = self._api.understood(answers.durables, answer or {}, what)
            found += names
            offset += count
            if not count or offset >= total:
                break
        return tuple(found)

    async def create_consumer(
        self, stream: str, config: Config, *, until: float | None = None
    ) -> ObservedConsumer:
        """Create a durable consumer; one that exists with the same configuration is fine.

        Args:
            until: By the clock of the loop: nothing is changed later than that.

        Raises:
            ConflictError: It exists with another configuration, or a work-queue stream already
                has a consumer of these subjects.
            SpecError: The server refuses the configuration.
        """
        return await self._write_consumer(stream, config, "create", until=until)

    async def update_consumer(self, stream: str, config: Config) -> ObservedConsumer:
        """Replace the configuration of a durable consumer that exists.

        Raises:
            UnsafeChangeError: The server cannot change this in place.
            SpecError: The server refuses the configuration.
        """
        observed = await self._write_consumer(stream, config, "update")
        wanted = config.get("pause_until")
        if moment(wanted) == moment(observed.config.get("pause_until")):
            return observed
        # The server leaves a pause alone when a consumer is updated; it has a request of its own.
        name = config["name"]
        what = f"durable consumer {name} of stream {stream}"
        body = {"pause_until": wanted} if wanted else {}
        await self._api.request(f"CONSUMER.PAUSE.{stream}.{name}", body, what)
        return await self.consumer_info(stream, name) or observed

    async def delete_consumer(
        self, stream: str, durable: str, *, until: float | None = None
    ) -> None:
        """Delete a durable consumer; one that is gone already is fine; `until` as creating."""
        what = f"durable consumer {durable} of stream {stream}"
        verb = f"CONSUMER.DELETE.{stream}.{durable}"
        await self._api.find(verb, None, what, *_GONE, until=until)

    async def check_reset(self, stream: str, durable: str) -> None:
        """See that the user may reset a durable consumer that exists, and the server can.

        Raises:
            AccessDeniedError: The user may not.
            NatsError: The server that leads it does not know of it.
        """
        what = f"reset of durable consumer {durable} of stream {stream}"
        verb = f"CONSUMER.RESET.{stream}.{durable}"
        with suppress(ApiFaultError):  # what is no sequence is refused before anything else
            await self._api.ask(verb, {"seq": "none"}, what)

    async def reset_consumer(
        self, stream: str, durable: str, sequence: int, *, until: float | None = None
    ) -> ObservedConsumer:
        """Have a durable consumer go on with a message; API level 4 (`RESET_LEVEL`).

        It forgets what it has delivered and what was acknowledged. One that is missing gives no
        answer.

        Args:
            sequence: Of that message; not before the place where the durable consumer began.
            until: By the clock of the loop: nothing is changed later than that.

        Raises:
            SpecError: Its deliver policy does not allow the place.
        """
        what = f"durable consumer {durable} of stream {stream}"
        verb = f"CONSUMER.RESET.{stream}.{durable}"
        answer = await self._api.request(verb, {"seq": sequence}, what, until=until)
        return self._api.understood(answers.consumer, answer, what)

    def dead_letters(self, stream: str) -> DeadLetters:
        """The letters in a dead-letter stream."""
        return DeadLetters(self._client, self._auth, stream)

    @property
    def look(self) -> JetStreamLook:
        """What can be found out about the account and its streams."""
        return JetStreamLook(self._client, self._auth)

    def tail(self, stream: str) -> TailReader:
        """The reader of what is in a stream, without payloads."""
        return TailReader(self._api, stream)

    async def stream_names_for_subject(self, subject: str) -> tuple[str, ...]:
        """Names of the streams whose subjects overlap a subject filter."""
        answer = await self._api.request("STREAM.NAMES", {"subject": subject}, f"subject {subject}")
        return tuple(answer.get("streams") or ())

    async def subject_message_count(self, stream: str, subject_filter: str) -> int | None:
        """How many messages of a stream match a subject filter; None without such a stream."""
        what = f"stream {stream}"
        count = offset = 0
        while True:
            body = {"subjects_filter": subject_filter, "offset": offset}
            answer = await self._api.find(
                f"STREAM.INFO.{stream}", body, what, FaultKind.STREAM_MISSING
            )
            if answer is None:
                return None
            counts, total = self._api.understood(answers.subject_counts, answer, what)
            count += sum(counts)
            offset += len(counts)
            if not counts or offset >= total:
                return count

    async def first_message(
        self, stream: str, subject_filter: str, sequence: int
    ) -> StoredMessage | None:
        """The first message from a sequence on that matches a filter; None: there is none."""
        what = f"stream {stream}"
        wanted = {"seq": sequence, "next_by_subj": subject_filter}
        answer = await self._api.find(
            f"STREAM.MSG.GET.{stream}", wanted, what,
            FaultKind.MESSAGE_MISSING, FaultKind.STREAM_MISSING,
        )  # fmt: skip
        return None if answer is None else self._api.understood(answers.stored, answer, what)

    async def first_since(self, stream: ObservedStream, since: datetime) -> int:
        """Sequence of the first message stored at a time or later; behind the last: none is.

        Asks as often as there are binary digits in the number of sequences.
        """
        low, high = max(1, stream.first_sequence), stream.last_sequence + 1
        while low < high:
            middle = (low + high) // 2
            found = await self.first_message(stream.name, ">", middle)
            if found is None or found.sequence >= high or found.stored_at >= since:
                high = middle
            else:
                low = found.sequence + 1
        return low

    async def _write_stream(self, verb: str, config: Config) -> ObservedStream:
        what = f"stream {config['name']}"
        try:
            answer = await self._api.ask(f"STREAM.{verb}.{config['name']}", config, what)
            return self._api.understood(answers.stream, answer, what)
        except ApiFaultError as fault:
            if fault.kind is FaultKind.SUBJECT_OVERLAP:
                raise await self._overlap(config) from fault
            if fault.kind is FaultKind.NO_ROOM:
                raise await self._no_room(config, fault) from fault
            updating = verb == "UPDATE"
            raise translate(fault, self._auth, what, specified=True, updating=updating) from fault

    async def _write_consumer(
        self, stream: str, config: Config, action: str, *, until: float | None = None
    ) -> ObservedConsumer:
        what = f"durable consumer {config['name']} of stream {stream}"
        body = {"stream_name": stream, "config": config, "action": action}
        verb = f"CONSUMER.CREATE.{stream}.{config['name']}"
        updating = action == "update"
        answer = await self._api.request(verb, body, what, updating=updating, until=until)
        return self._api.understood(answers.consumer, answer, what)

    async def _overlap(self, config: Config) -> OutboxError:
        """Which stream has our subjects already; the server does not say."""
        for subject in config["subjects"]:
            for other in await self.stream_names_for_subject(subject):
                if other != config["name"]:
                    return ConflictError(
                        f"stream {config['name']}: subject {subject!r} overlaps the subjects of "
                        f"stream {other}; a subject can be stored in one stream only",
                        reason=Reason.SUBJECT_OVERLAP,
                    )
        return ConflictError(
            f"stream {config['name']}: one of its subjects {config['subjects']} overlaps those of "
            "another stream",
            reason=Reason.SUBJECT_OVERLAP,
        )

    async def _no_room(self, config: Config, fault: ApiFaultError) -> OutboxError:
        """How much was wanted and how much there is."""
        info = await self.account_info()
        kind = str(config["storage"])
        left = info.left(kind)
        wanted = config["max_bytes"] * config["num_replicas"]
        most = info.max_memory if kind == "memory" else info.max_storage
        if left is None:
            room = f"more than the server's own limit (max_{'mem' if kind == 'memory' else 'file'})"
        else:
            room = f"but {left} bytes of the account's {most} are left"
        asked = f"maxBytes wants {wanted} bytes of {kind} storage" if wanted > 0 else "it needs"
        return SpecError(
            f"stream {config['name']}: {asked}, {room}; lower maxBytes or raise the limit "
            f"({fault})",
            reason=Reason.STORAGE_EXCEEDED,
        )


def _reserved(value: int) -> int:
    # nats-server 2.10 counts "no maxBytes" as -1 and answers the sum without a sign.
    return value if value < 2**63 else 0


def _short(name: object) -> str | None:
    """A name that a server gives, which goes into a status."""
    return name[:_LONGEST_NAME] if isinstance(name, str) and name else None
