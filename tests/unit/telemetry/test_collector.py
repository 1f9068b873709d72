"""What a collector answers is not read, whatever it is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from outbox_operator.telemetry.collector import BoundedSession

LENGTH = b"Content-Length: 999999999\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n" + LENGTH
TRAILERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
ENOUGH = 64 * 1024 * 1024


@contextmanager
def collector(head: bytes, part: bytes, pause_seconds: float) -> Iterator[tuple[str, list[int]]]:
    """A server that answers one request without end; its URL, and the bytes it got rid of."""
    sent: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(30)
                connection.recv(65536)
                connection.sendall(head)
                try:
                    while part and sum(sent) < ENOUGH:
                        connection.sendall(part)
                        sent.append(len(part))
                        time.sleep(pause_seconds)
                except OSError:
                    pass  # it has hung up

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", sent
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("head", "part", "pause_seconds"),
    [(HEAD, b"x" * 65536, 0.0), (HEAD, b"x", 0.05), (TRAILERS, b"x: y\r\n" * 1000, 0.0)],
    ids=["long", "slow", "trailers"],
)
def test_an_answer_without_end_ends(head: bytes, part: bytes, pause_seconds: float) -> None:
    with collector(head, part, pause_seconds) as (url, sent), BoundedSession() as session:
        assert session.post(url, data=b"spans", timeout=20).status_code == 200
    assert sum(sent) < ENOUGH


@pytest.mark.parametrize(
    ("head", "part", "pause_seconds"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n" + LENGTH, b"x" * 65536, 0.0),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.0),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05),
        (b"", b"H", 0.05),
    ],
    ids=["redirect", "continue", "slow continue", "slow header", "slow status"],
)
def test_what_is_no_answer_without_end_ends_too(
    head: bytes, part: bytes, pause_seconds: float
) -> None:
    with collector(head, part, pause_seconds) as (url, sent), BoundedSession() as session:
        with pytest.raises(requests.RequestException):
            session.post(url, data=b"spans", timeout=1, allow_redirects=False)
        assert sum(sent) < ENOUGH


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_what_leads_elsewhere_is_no_success(status: int) -> None:
    """The SDK takes all below 400 for one; a login page or an ingress gets the spans then."""
    head = b"HTTP/1.1 %d Moved\r\nLocation: https://a:secret@otel.example/v1?token=secret\r\n"
    head = head % status + b"Content-Length: 0\r\n\r\n"
    with collector(head, b"", 0.0) as (url, _), BoundedSession() as session:
        with pytest.raises(requests.RequestException) as caught:
            session.post(url, data=b"spans", timeout=20, allow_redirects=False)
        assert (
            str(caught.value) == f"wanted a status of 2xx, found {status} to https://otel.example"
        )


def test_a_connection_is_used_again_and_keeps_nothing() -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for _ in range(2):
                    asked.append(connection.recv(65536))
                    connection.sendall(
                        b"HTTP/1.1 400 Bad\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}"
                    )

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with BoundedSession() as session:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            assert [session.get(url, timeout=20).status_code for _ in range(2)] == [400, 400]
            assert not session.cookies
        thread.join(20)
    assert len(asked) == 2
    assert b"cookie" not in asked[1].lower()
