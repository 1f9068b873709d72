"""Every message of a stream as the server has it, byte for byte.

Called by `delivery.run`. Speaks the NATS protocol by itself, over a plain socket: a client library
would parse headers, and what it tidies up could not be told from what the relay wrote.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from delivery.expected import Stored

_BATCH: Final = 2000
_PULL_SECONDS: Final = 1.0
_TIMEOUT_SECONDS: Final = 60.0
_MOST_UNHEARD: Final = 100
_PAUSE_SECONDS: Final = 0.05
TAKER: Final = "taker"
_TAKEN_AT_ONCE: Final = 50


class _Session:
    """One connection, request by request."""

    def __init__(self, host: str, port: int, *, seconds: float = _TIMEOUT_SECONDS) -> None:
        self._socket = socket.create_connection((host, port), timeout=seconds)
        self._file: BinaryIO = self._socket.makefile("rb")
        # Nobody else's: sessions would get each other's answers.
        self._inbox = f"_INBOX.{uuid.uuid4().hex}"
        self._file.readline()  # INFO
        options = {"headers": True, "no_responders": True, "verbose": False, "pedantic": False}
        self._send(f"CONNECT {json.dumps(options)}\r\nSUB {self._inbox}.* 1\r\n".encode())

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, subject: str, body: dict[str, Any], inbox: str) -> None:
        """Publish a request; answers come out of `receive`."""
        data = json.dumps(body).encode()
        self._send(f"PUB {subject} {self._inbox}.{inbox} {len(data)}\r\n".encode() + data + b"\r\n")

    def answer(self, reply: str) -> None:
        """Acknowledge a message."""
        self._send(f"PUB {reply} 4\r\n+ACK\r\n".encode())

    def receive(self) -> tuple[str, str, bytes, bytes]:
        """The next message: subject, reply, header block, payload."""
        while True:
            line = self._file.readline()
            if not line:
                raise ConnectionError("the server closed the connection while the stream was read")
            verb, _, rest = line.decode().rstrip("\r\n").partition(" ")
            if verb == "PING":
                self._send(b"PONG\r\n")
            elif verb in ("MSG", "HMSG"):
                parts = rest.split(" ")
                sizes = parts[-2:] if verb == "HMSG" else ["0", parts[-1]]
                reply = parts[2] if len(parts) == (5 if verb == "HMSG" else 4) else ""
                head, total = map(int, sizes)
                data = self._file.read(total + 2)
                return parts[0], reply, data[:head], data[head:total]
            elif verb == "-ERR":
                raise ConnectionError(f"the server said {rest}")

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)


class Taker:
    """Consumes a stream in a thread of its own, and keeps what it got.

    Args:
        port: Where the server is.

    Attributes:
        config: The request that makes its consumer.
        found: Messages by sequence.
    """

    def __init__(self, stream: str, port: Callable[[], int]) -> None:
        self.found: dict[int, Stored] = {}
        self.config = {
            "stream_name": stream,
            "config": {
                "durable_name": TAKER, "ack_policy": "explicit", "ack_wait": 2_000_000_000,
                "deliver_policy": "all", "max_ack_pending": 1000,
            },
        }  # fmt: skip
        self._stream = stream
        self._port = port
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when it has ended."""
        self._stopping.set()
        self._thread.join(2 * _PULL_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            with contextlib.suppress(OSError, ValueError):
                session = _Session("127.0.0.1", self._port(), seconds=2 * _PULL_SECONDS)
                with contextlib.closing(session):
                    self._take(session)

    def _take(self, session: _Session) -> None:
        request = {"batch": _TAKEN_AT_ONCE, "expires": int(_PULL_SECONDS * 1e9)}
        while not self._stopping.is_set():
            session.ask(f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{TAKER}", request, "next")
            for _ in range(_TAKEN_AT_ONCE):
                subject, reply, head, payload = session.receive()
                if not reply.startswith("$JS.ACK."):
                    self._stopping.wait(_PAUSE_SECONDS)
                    break
                sequence = int(reply.split(".")[-4])
                self.found[sequence] = Stored(sequence, subject, tuple(_headers(head)), payload)
                session.answer(reply)


def read_stream(host: str, port: int, stream: str) -> list[Stored]:
    """All messages in order."""
    session = _Session(host, port)
    try:
        config = {"ack_policy": "none", "deliver_policy": "all", "mem_storage": True}
        create = {"stream_name": stream, "config": {**config, "inactive_threshold": 60_000_000_000}}
        session.ask(f"$JS.API.CONSUMER.CREATE.{stream}", create, "create")
        answer = json.loads(session.receive()[3])
        if "error" in answer:
            raise ConnectionError(f"stream {stream}: no consumer: {answer['error']}")
        return list(_messages(session, stream, answer["name"]))
    finally:
        session.close()


def _messages(session: _Session, stream: str, consumer: str) -> Iterator[Stored]:
    unheard = 0
    while True:
        request = {"batch": _BATCH, "no_wait": True}
        session.ask(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", request, "next")
        for _ in range(_BATCH):
            subject, reply, head, payload = session.receive()
            if not reply.startswith("$JS.ACK."):
                status = head.split(b"\r\n")[0]
                if b" 404" in status:
                    return
                if b" 408" in status:
                    break
                if b" 503" in status and unheard < _MOST_UNHEARD:
                    # The consumer is announced a moment before it listens.
                    unheard += 1
                    time.sleep(_PAUSE_SECONDS)
                    break
                raise ConnectionError(f"stream {stream}: reading it: {status.decode()}")
            sequence = int(reply.split(".")[-4])
            yield Stored(sequence, subject, tuple(_headers(head)), payload)


def _headers(block: bytes) -> Iterator[tuple[str, str]]:
    """Lines of a header block as they are; a value begins after one space."""
    for line in block.decode("utf-8", "surrogateescape").split("\r\n")[1:]:
        if line:
            name, _, value = line.partition(":")
            yield name, value.removeprefix(" ")
