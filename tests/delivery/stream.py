"""Every message of a stream as the server has it, byte for byte.

Called by `delivery.run`. Speaks the NATS protocol by itself, over a plain socket: a client library
would parse headers, and what it tidies up could not be told from what the relay wrote.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from delivery.expected import Stored

_BATCH: Final = 2000
_TIMEOUT_SECONDS: Final = 20.0
_MOST_UNHEARD: Final = 100
_PAUSE_SECONDS: Final = 0.05
_INBOX: Final = "_INBOX.delivery"


class _Session:
    """One connection, request by request."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS)
        self._file: BinaryIO = self._socket.makefile("rb")
        self._file.readline()  # INFO
        options = {"headers": True, "no_responders": True, "verbose": False, "pedantic": False}
        self._send(f"CONNECT {json.dumps(options)}\r\nSUB {_INBOX}.* 1\r\n".encode())

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, subject: str, body: dict[str, Any], inbox: str) -> None:
        """Publish a request; answers come out of `receive`."""
        data = json.dumps(body).encode()
        self._send(f"PUB {subject} {_INBOX}.{inbox} {len(data)}\r\n".encode() + data + b"\r\n")

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
