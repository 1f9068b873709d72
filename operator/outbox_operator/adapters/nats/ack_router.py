"""One connection to one stream, shared by several runs of messages.

Brings each answer of the server to the run it is for, and divides among the runs what may be in
flight.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from outbox_operator.adapters.nats.driver import OnDenied, WireClient
from outbox_operator.adapters.nats.frame_reader import NO_RESPONDERS, parse_headers
from outbox_operator.adapters.sink import Refusal
from outbox_operator.reasons import Reason
from outbox_operator.wire.subjects import covers

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Volume in flight at which a run waits. A message is sent whole, however large it is."""
CONNECTION_BYTES: Final = 4 * WINDOW_BYTES
"""Volume in flight of all runs of a connection; more of them at a time get smaller windows."""
ACK_SECONDS: Final = 5.0
"""Longest wait without progress while messages are unacknowledged."""


class Listener(Protocol):
    """A run, as far as answers are concerned. `tokens` are what it put behind its token."""

    @property
    def subjects(self) -> str:
        """Filter of what it publishes on."""

    def on_reply(self, tokens: list[bytes], document: Mapping[str, Any]) -> None:
        """An answer of the stream to the message that `tokens` name."""

    def on_no_responders(self, tokens: list[bytes]) -> None:
        """Nobody listens on the subject of that message."""

    def cut(self, refusal: Refusal) -> None:
        """No further answer can come, or none can be trusted."""

    def denied(self, refusal: Refusal) -> None:
        """The server did not let somebody publish on these subjects: this run, if it waits."""


class AckRouter:
    """Brings acknowledgements of one stream over one connection to the runs they are for.

    Args:
        why_lost: The loss of the connection in words.
        last_server_error: What the server complained about last, or ''.
    """

    def __init__(
        self,
        client: WireClient,
        *,
        stream: str,
        address: str,
        why_lost: Callable[[], str],
        last_server_error: Callable[[], str],
        ack_seconds: float = ACK_SECONDS,
    ) -> None:
        self.client = client
        self.stream = stream
        self.address = address
        self.ack_seconds = ack_seconds
        self.why_lost = why_lost
        self.last_server_error = last_server_error
        self._prefix = client.new_inbox()
        self._depth = self._prefix.count(".") + 1
        self._numbers = itertools.count()
        self._runs: dict[bytes, Listener] = {}

    @property
    def window_bytes(self) -> int:
        """Volume that each open run may have in flight.

        An eighth of the whole window at least: a batch that was opened with a whole window is
        acknowledged at every sixteenth of that.
        """
        share = CONNECTION_BYTES // max(1, len(self._runs))
        return max(WINDOW_BYTES // 8, min(WINDOW_BYTES, share))

    async def start(self, on_denied: OnDenied) -> None:
        """Listen for what the server answers.

        Args:
            on_denied: Called when it does not let us, now or later.

        Raises:
            nats.errors.Error: The connection is closed, or does not answer.
        """
        self.client.on_denied("subscribe", f"{self._prefix}.>", on_denied)
        await self.client.listen(f"{self._prefix}.>", self._on_reply)
        await self.client.confirm(self.ack_seconds)

    def register(self, run: Listener) -> tuple[bytes, str]:
        """Give a run a token; answers to subjects under the returned one reach it."""
        token = f"{next(self._numbers):x}"
        self._runs[token.encode()] = run
        return token.encode(), f"{self._prefix}.{token}"

    def forget(self, token: bytes) -> None:
        """The run with this token wants no more answers."""
        self._runs.pop(token, None)

    def lost(self) -> None:
        """The connection is gone: end all runs."""
        for run in tuple(self._runs.values()):
            run.cut(Refusal(Reason.CONNECTION_LOST, self.why_lost()))

    def denied(self, subject: str, refusal: Refusal) -> None:
        """The server did not let us publish there: tell the runs that may have tried."""
        for run in tuple(self._runs.values()):
            if covers(run.subjects, subject):
                run.denied(refusal)

    def _on_reply(self, subject: bytes, _reply: bytes, block: bytes, payload: bytes) -> None:
        tokens = subject.split(b".")
        run = self._runs.get(tokens[self._depth])
        if run is None:
            return  # of a run that was given up
        if block and parse_headers(block).get("Status") == NO_RESPONDERS:
            run.on_no_responders(tokens[self._depth + 1 :])
            return
        try:
            run.on_reply(tokens[self._depth + 1 :], json.loads(payload))
        except (ValueError, LookupError, TypeError, AttributeError):
            text = "a program other than JetStream answers on this subject"
            run.cut(Refusal(Reason.UNEXPECTED_REPLY, text))
