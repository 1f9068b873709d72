"""What a connection finds out about JetStream: account, streams, durable consumers.

Called by the controller for a `diagnose` task; `plan.doctor` judges. Changes nothing. Needs the
operator's rights; with the right to CONSUMER.LIST of a stream it also sees durable consumers that
no resource declared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from outbox_operator.adapters.nats.answers import moment
from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.nats.errors import ApiFaultError
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.errors import AccessDeniedError, NatsError
from outbox_operator.plan.doctor.certificates import (
    end_of_credentials,
    end_of_der,
    end_of_pem,
    last_end_of_pem,
)
from outbox_operator.plan.doctor.logins import Clock, Expiry, LoginFacts
from outbox_operator.plan.doctor.streams import AccountFacts, DurableFacts, Replica, StreamFacts
from outbox_operator.plan.jetstream.decide import mark_of
from outbox_operator.plan.state import Owner
from outbox_operator.reasons import Reason

_MOST_PAGES: Final = 4
"""Of the streams of an account, or the consumers of a stream: some hundreds each."""
_LONGEST_NAME: Final = 255
_MOST_FILTERS: Final = 8
_UNREADABLE: Final = {"name": ["?"], "stream_name": ["?"], "config": "?", "seq": "?"}
"""The types of none of these are as any request has them."""
_MALFORMED: Final = (LookupError, TypeError, AttributeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSeen:
    """A stream as the server described it.

    Attributes:
        mark: Whose it says it is; None: nobody's.
        clock: Of the server that answered.
    """

    facts: StreamFacts
    mark: Owner | None
    clock: Clock | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableSeen:
    """A durable consumer as the server described it.

    Attributes:
        filters: Subjects that it is given, the first of them; none: all.
        ack_floor: Up to this sequence all are done.
        mark: Whose it says it is; None: nobody's.
    """

    facts: DurableFacts
    filters: tuple[str, ...]
    ack_floor: int
    mark: Owner | None


class JetStreamLook:
    """One look over one connection. Every method raises as those of `JetStreamAdmin`.

    Args:
        client: A connection.
        auth: What it was made from.
    """

    def __init__(self, client: WireClient, auth: NatsAuth) -> None:
        self._client = client
        self._auth = auth
        self._api = JetStreamApi(client, auth, specified=True)

    @property
    def where(self) -> str:
        """The server, for people."""
        return f"NATS at {self._auth.address}"

    def login(self) -> LoginFacts:
        """How the connection stands; the clock comes with streams."""
        auth, peer = self._auth, self._client.peer_certificate
        ends = [
            ("the certificate of the server", None if peer is None else end_of_der(peer)),
            ("our client certificate", auth.cert_pem and end_of_pem(auth.cert_pem)),
            ("the last of the authorities", auth.ca_pem and last_end_of_pem(auth.ca_pem)),
            ("the JWT of the credentials", auth.creds and end_of_credentials(auth.creds)),
        ]
        return LoginFacts(
            where=self.where,
            encrypted=peer is not None,
            expiries=tuple(
                Expiry(what=what, ends=end) for what, end in ends if isinstance(end, datetime)
            ),
        )

    async def account(self) -> AccountFacts:
        """What the account may store, and stores."""
        answer = await self._api.request("INFO", None, "account")
        with self._understood("account"):
            limits = answer.get("limits") or {}
            return AccountFacts(
                where=self.where,
                storage=int(answer.get("storage") or 0),
                max_storage=int(limits.get("max_storage") or -1),
                memory=int(answer.get("memory") or 0),
                max_memory=int(limits.get("max_memory") or -1),
            )

    async def stream(self, name: str) -> StreamSeen | None:
        """A stream; None: there is none."""
        asked, started = datetime.now(UTC), time.monotonic()
        answer = await self._api.find(
            f"STREAM.INFO.{name}", None, f"stream {name}", FaultKind.STREAM_MISSING
        )
        took = time.monotonic() - started
        if answer is None:
            return None
        with self._understood(f"stream {name}"):
            theirs = moment(answer.get("ts"))
            ahead = None if theirs is None else (theirs - asked).total_seconds() - took / 2
            return StreamSeen(
                facts=_stream(answer),
                mark=mark_of(answer["config"]),
                clock=None if ahead is None else Clock(ahead=ahead, doubt=took / 2),
            )

    async def refused(self, verbs: Sequence[str]) -> list[str]:
        """What of the API we may not ask, each with the server's words.

        Asked with a body that no server can read, so that nothing happens whoever answers. Not
        for what is done without a body, such as deleting.

        Args:
            verbs: Such as `STREAM.CREATE.ORDERS`.
        """
        denied = []
        for verb in verbs:
            with suppress(ApiFaultError):
                try:
                    await self._api.ask(verb, _UNREADABLE, verb)
                except AccessDeniedError as error:
                    denied.append(error.message)
        return denied

    async def stream_names(self) -> list[str]:
        """Names of the account's streams, so many as are taken."""
        names: list[str] = []
        what = "the names of streams"
        for _ in range(_MOST_PAGES):
            answer = await self._api.request("STREAM.NAMES", {"offset": len(names)}, what)
            with self._understood(what):
                page = [str(name)[:_LONGEST_NAME] for name in answer.get("streams") or ()]
                names += page
                if not page or len(names) >= int(answer.get("total") or 0):
                    break
        return names

    async def durables(self, stream: str) -> list[DurableSeen]:
        """The durable consumers of a stream, so many as are taken."""
        found: list[DurableSeen] = []
        what, offset = f"durable consumers of stream {stream}", 0
        for _ in range(_MOST_PAGES):
            answer = await self._api.request(f"CONSUMER.LIST.{stream}", {"offset": offset}, what)
            with self._understood(what):
                page = list(answer.get("consumers") or ())
                found += [_durable(one) for one in page if one["config"].get("durable_name")]
                offset += len(page)
                if not page or offset >= int(answer.get("total") or 0):
                    break
        return found

    async def durable(self, stream: str, name: str) -> DurableSeen | None:
        """One durable consumer; None: there is none."""
        what = f"durable consumer {name} of stream {stream}"
        answer = await self._api.find(
            f"CONSUMER.INFO.{stream}.{name}", None, what,
            FaultKind.STREAM_MISSING, FaultKind.CONSUMER_MISSING,
        )  # fmt: skip
        with self._understood(what):
            return None if answer is None else _durable(answer)

    @contextmanager
    def _understood(self, what: str) -> Iterator[None]:
        """For what is made of an answer of a server that may say anything."""
        try:
            yield
        except _MALFORMED as error:
            raise NatsError(
                f"{what}: a program other than JetStream answers at {self._auth.address}",
                reason=Reason.JETSTREAM_ERROR,
            ) from error


def _stream(answer: Mapping[str, Any]) -> StreamFacts:
    config, state, cluster = answer["config"], answer["state"], answer.get("cluster") or {}
    replicas = [
        Replica(
            name=str(one["name"])[:_LONGEST_NAME],
            current=bool(one.get("current")),
            offline=bool(one.get("offline")),
            lag=int(one.get("lag") or 0),
        )
        for one in cluster.get("replicas") or ()
    ]
    return StreamFacts(
        name=str(config["name"])[:_LONGEST_NAME],
        retention=str(config.get("retention") or "limits"),
        discard=str(config.get("discard") or "old"),
        max_age=int(config.get("max_age") or 0) / 1e9,
        max_bytes=int(config.get("max_bytes") or -1),
        max_messages=int(config.get("max_msgs") or -1),
        max_per_subject=int(config.get("max_msgs_per_subject") or -1),
        messages=int(state["messages"]),
        bytes=int(state["bytes"]),
        first_sequence=int(state["first_seq"]),
        last_sequence=int(state["last_seq"]),
        first_at=moment(state.get("first_ts")) if state["messages"] else None,
        last_at=moment(state.get("last_ts")) if state["messages"] else None,
        replicas=tuple(replicas),
        leaderless=bool(cluster.get("name")) and not cluster.get("leader"),
    )


def _durable(answer: Mapping[str, Any]) -> DurableSeen:
    config = answer["config"]
    one = config.get("filter_subject")
    mark = mark_of(config)
    return DurableSeen(
        facts=DurableFacts(
            name=str(answer["name"])[:_LONGEST_NAME],
            stream=str(answer["stream_name"])[:_LONGEST_NAME],
            pending=int(answer.get("num_pending") or 0),
            ack_pending=int(answer.get("num_ack_pending") or 0),
            waiting=int(answer.get("num_waiting") or 0),
            push=bool(config.get("deliver_subject")),
            mark="" if mark is None else mark.key,
        ),
        filters=tuple(map(str, config.get("filter_subjects") or ([one] if one else ())))[
            :_MOST_FILTERS
        ],
        ack_floor=int((answer.get("ack_floor") or {}).get("stream_seq") or 0),
        mark=mark,
    )
