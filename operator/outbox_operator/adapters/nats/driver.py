"""The client of NATS, with what nats-py does not offer: frames, and the errors between requests.

Made by `adapters.nats.connection.connect`. nats-py spends 20 µs on a message it publishes and
10 µs on one it delivers; a relay has 3 µs for an event. It also drops what the server complains
about between requests. Connecting, login, pings, reconnecting and every request stay its own
business.

Nothing outside this module and `frame_reader` touches a private attribute of nats-py;
tests/contract/test_driver.py holds the installed version to those named here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from outbox_operator.adapters.nats.frame_reader import AnswerRoom, FrameReader, Sink
from outbox_operator.aio import heed_cancellation
from outbox_operator.wire.subjects import covers

log = logging.getLogger(__name__)

_MOST_TEXTS: Final = 50
"""Different complaints of a server that are logged and remembered for a connection."""
_MOST_SERVERS: Final = 100
"""Of a cluster, learned from its members."""
_CLOSE_SECONDS: Final = 2.0
"""How long what is unsent at the end may take."""
_LONGEST_TEXT: Final = 500
"""So much of a complaint is logged. Its subject may have 4 KiB, each byte written as four."""
_DENIED: Final = re.compile(
    r'Permissions Violation for (Publish|Subscription) to "((?:[^"\\]|\\.)+)"', re.IGNORECASE
)
_ESCAPED: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_NAMED: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Denial:
    """The server did not let us do something.

    Attributes:
        action: What.
        subject: Where; of a subscription it may hold wildcards.
        text: The server's words, not more than fit into a log line.
    """

    action: Literal["publish", "subscribe"]
    subject: str
    text: str


OnDenied = Callable[[Denial], None]


class WireClient(Client):
    """A client that also writes frames as they are and hands messages over as they come.

    Args:
        address: For the log; holds no secret.
        wants_tls: Refuse to log in over clear text.
        room: As of `FrameReader`.
    """

    def __init__(self, *, address: str, wants_tls: bool, room: AnswerRoom | None = None) -> None:
        super().__init__()
        self._address = address
        self._wants_tls = wants_tls
        self._frames = FrameReader(self, self._server_said, room)
        self._ps = self._frames
        self._watches: list[tuple[Denial, OnDenied]] = []
        self._said: set[str] = set()
        self._answers: Subscription | None = None
        """Where the answers to requests come."""
        self._deaf = False
        """Whether the server did not accept that."""
        self.complaint = ""
        """What the server complained about last, in its words; or nothing."""

    @property
    def greeting(self) -> dict[str, Any]:
        """What the connected server said of itself: version, jetstream, max_payload, …"""
        return dict(self._server_info)

    @property
    def peer_certificate(self) -> bytes | None:
        """The server's certificate in DER; None: the connection is not encrypted."""
        writer = getattr(self._transport, "_io_writer", None)
        tls = None if writer is None else writer.get_extra_info("ssl_object")
        found: bytes | None = None if tls is None else tls.getpeercert(True)
        return found

    async def listen(self, subject: str, sink: Sink) -> Subscription:
        """Call `sink` at once, inside the reading task, for each message on `subject`.

        It must not raise and must not take long: nothing else is read meanwhile.

        Raises:
            nats.errors.Error: The connection is closed.
        """
        subscription = await self.subscribe(subject)
        self._frames.route(subscription._id, sink)
        return subscription

    async def unlisten(self, subscription: Subscription, *, drain_seconds: float = 0) -> None:
        """Undo `listen`; does nothing when the connection is closed.

        Args:
            drain_seconds: So long, messages that are on their way may still arrive.
        """
        with contextlib.suppress(TimeoutError, nats.errors.Error, OSError):
            if drain_seconds and self.is_connected:
                async with asyncio.timeout(drain_seconds):
                    await subscription.drain()  # type: ignore[no-untyped-call]
        self._frames.unroute(subscription._id)
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()

    def on_denied(
        self, action: Literal["publish", "subscribe"], subjects: str, on_denied: OnDenied
    ) -> Callable[[], None]:
        """Call `on_denied` each time the server does not let us publish or subscribe there.

        It is called inside the reading task, and must not raise and must not take long. The server
        speaks of a subscription once, so watch before you subscribe. What nobody watches is
        logged, each text once for a connection; who watches says it in words of its own.

        Args:
            subjects: A filter.

        Returns:
            Undoes it.
        """
        watch = (Denial(action, subjects, ""), on_denied)
        self._watches.append(watch)

        def forget() -> None:
            with contextlib.suppress(ValueError):
                self._watches.remove(watch)

        return forget

    def write(self, frames: bytes) -> None:
        """Send complete protocol frames over this very connection, never over a later one.

        Does not wait: the caller bounds what is on the way by counting acknowledgements.

        Raises:
            nats.errors.ConnectionClosedError: There is no connection.
        """
        if not self.is_connected or self._transport is None:
            raise nats.errors.ConnectionClosedError
        self._transport.write(frames)

    def enqueue(self, frames: bytes, count: int) -> None:
        """Send complete frames of `count` messages soon; while there is no connection, keep them
        for the next. The caller bounds them by `pending_data_size`."""
        self.stats["out_msgs"] += count
        self.stats["out_bytes"] += len(frames)
        self._pending.append(frames)
        self._pending_data_size += len(frames)
        queue = self._flush_queue
        if self.is_connected and queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    async def confirm(self, timeout: float) -> None:
        """Wait until the server has taken, or complained of, all that was handed over until now.

        Raises:
            nats.errors.Error: The connection is lost, or there is no answer in time.
        """
        # The ping of nats-py's `flush` alone would overtake what waits to be sent.
        pending = asyncio.wait_for(self._flush_pending(force_flush=True), timeout)  # noqa: TID251
        await heed_cancellation(pending)
        await heed_cancellation(super().flush(timeout))  # type: ignore[arg-type]  # any number of seconds

    async def flush(self, timeout: float = 10) -> None:
        """`confirm`: whoever calls it by the name that nats-py gave it means just that."""
        await self.confirm(timeout)

    def discard_unsent(self) -> None:
        """Forget what was published and not sent; a reconnection would send it, however late."""
        self._pending = []
        self._pending_data_size = 0

    def abort(self) -> None:
        """Drop the connection and all that it has not sent, without a goodbye."""
        for name in ("_io_writer", "_bare_io_writer"):
            writer = getattr(self._transport, name, None)
            if writer is not None:
                writer.transport.abort()

    async def close(self) -> None:
        """As nats-py, but a server that hangs is not waited for until it takes what is unsent, nor
        for the goodbye of its TLS."""
        cut = asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self.abort)
        try:
            if self.is_connected and self._transport is not None and self._pending:
                self._transport.write(b"".join(self._pending))  # sent before the end
                self.discard_unsent()
            await super().close()
        finally:
            cut.cancel()
            self._frames.reset()  # and what has come of a message

    async def abandon(self) -> None:
        """Close at once, whatever state it is in; what is not sent yet never will be."""
        self._closed_cb = None
        self._disconnected_cb = None
        # nats-py waits for a polite goodbye, which a failed TLS handshake never says, and until
        # everything is sent, which a peer that hangs never allows.
        self.abort()
        self._transport = None
        await self.close()

    def _server_said(self, line: bytes) -> None:
        """The server complained, outside of any request."""
        whole = line.decode(errors="replace").strip().strip("'")
        denial = denial_of(whole)
        text = self.complaint = whole[:_LONGEST_TEXT]
        owners = [] if denial is None else [w for w in self._watches if _concerns(w[0], denial)]
        answers = self._answers
        if denial is not None and answers is not None and answers.subject == denial.subject:
            self._deaf = True  # the next request says so
        elif not owners and text not in self._said and len(self._said) < _MOST_TEXTS:
            self._said.add(text)
            log.warning("NATS at %s said: %s", self._address, text)
        if denial is None:
            return
        for _, on_denied in owners:
            on_denied(denial)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py, which however uses the inbox of its first request for ever, although the
        server did not accept it, or has withdrawn the right to it."""
        if self._deaf:
            self._deaf, self._resp_sub_prefix = False, None
        return await heed_cancellation(
            super().request(subject, payload, timeout, old_style, headers)
        )

    async def _init_request_sub(self) -> None:
        before, known = self._answers, set(self._subs)
        await super()._init_request_sub()
        self._answers = next(sub for sid, sub in self._subs.items() if sid not in known)
        if before is not None:  # it would be asked for again at each reconnection
            with contextlib.suppress(nats.errors.Error):
                await before.unsubscribe()

    async def _process_op_err(self, e: Exception) -> None:
        # Before it reconnects, nats-py waits until the broken connection has taken all that
        # was written to it. One that hangs never does, and one that comes back to life would
        # deliver it late.
        if self.is_connected:
            self.abort()
        await super()._process_op_err(e)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # Called before the credentials are sent.
        if initial_connection:
            if self._wants_tls and not info.get("tls_required", False):
                raise nats.errors.SecureConnWantedError
            self._said.clear()  # rights may be others on a new connection
        if not isinstance(info.get("max_payload", 0), int):
            raise TypeError("max_payload")  # nats-py would compare it at each message
        # Other servers of its cluster, which nats-py remembers for good.
        room = max(0, _MOST_SERVERS - len(self._server_pool))
        info["connect_urls"] = list(info.get("connect_urls") or ())[:room]
        await super()._process_info(info, initial_connection)


def denial_of(text: str) -> Denial | None:
    """What the server does not let us do, in its words; None: it complains of something else."""
    found = _DENIED.search(text)
    if found is None:
        return None
    action: Literal["publish", "subscribe"] = (
        "publish" if found[1].lower() == "publish" else "subscribe"
    )
    return Denial(action, unquoted(found[2]), text[:_LONGEST_TEXT])


def unquoted(text: str) -> str:
    """A subject as it is, from how servers print it: as Go's `%q` does, here without the quotes.

    A byte that is no UTF-8 becomes a replacement character.
    """
    if "\\" not in text:
        return text
    return _ESCAPED.sub(_meant, text)


def _meant(escaped: re.Match[str]) -> str:
    byte, short, long, name = escaped.groups()
    if name is not None:
        return _NAMED.get(name, name)
    code = int(byte or short or long, 16)
    if (byte is not None and code >= 0x80) or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return "\ufffd"
    return chr(code)


def _concerns(watch: Denial, denial: Denial) -> bool:
    return watch.action == denial.action and covers(watch.subject, denial.subject)
