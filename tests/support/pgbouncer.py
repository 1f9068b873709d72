"""A real PgBouncer in front of a test server, in whichever pool mode."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from support.ports import free_port
from support.postgres import NOT_PAST_OUR_DEATH, PostgresServer
from support.waiting import SECONDS

START_SECONDS: Final = 60.0


def program() -> str:
    """Path of the installed PgBouncer.

    Raises:
        FileNotFoundError: It is not installed; says how to install it.
    """
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise FileNotFoundError("no PgBouncer found; install it: apt-get install -y pgbouncer")
    return found


@contextmanager
def pooler(
    server: PostgresServer, mode: Literal["session", "transaction", "statement"], size: int = 20
) -> Iterator[int]:
    """Run one for the server's superuser; yields its port on 127.0.0.1."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="outbox-pgbouncer-") as name:
        root = Path(name)
        users = root / "users.txt"
        users.write_text(f'"postgres" "{server.password}"\n')
        config = root / "pgbouncer.ini"
        log = root / "log"
        config.write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={server.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            f"pool_mode = {mode}\ndefault_pool_size = {size}\n"
        )
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # it refuses to run as root
            nobody = pwd.getpwnam("nobody")
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (root, users, config):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*NOT_PAST_OUR_DEATH, program(), "--quiet", str(config)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", **user,
            )  # fmt: skip
        try:
            _wait(port, process, log)
            yield port
        finally:
            process.kill()
            process.wait(SECONDS)


def through(port: int, url: str) -> str:
    """The same login and database by way of the pooler."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer did not start:\n{log.read_text()}") from None
            time.sleep(0.02)
        else:
            return
