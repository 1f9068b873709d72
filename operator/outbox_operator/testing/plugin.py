"""Fixtures for users' own tests: real PostgreSQL, real NATS or Redis, a pipeline per test.

Loaded by pytest on its own wherever this distribution is installed. Needs the extra `[dev]`, and
`[dev-redis]` for pipelines that publish to Redis. The servers start with the first test that asks
for them, and not otherwise.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from outbox_operator.embedded.nats import EmbeddedNats
    from outbox_operator.embedded.postgres import EmbeddedPostgres
    from outbox_operator.embedded.redis import EmbeddedRedis
    from outbox_operator.testing.live import LivePipeline

_DEFAULT_MANIFEST: Final[Mapping[str, Any]] = {
    "apiVersion": "outbox.dev/v1alpha1",
    "kind": "OutboxPipeline",
    "metadata": {"name": "test"},
    "spec": {
        "database": {"connectionSecretRef": {"name": "database"}},
        "nats": {"url": "nats://nats:4222"},
        "stream": {"name": "TEST", "subject": "test.{event_type}"},
    },
}


@pytest.fixture(scope="session")
def outbox_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server for the whole run."""
    from outbox_operator.embedded.postgres import EmbeddedPostgres

    # Its data do not outlive the run, so it need not wait for a disk.
    with (
        _folder("postgres") as folder,
        EmbeddedPostgres(folder, fsync="off", full_page_writes="off") as server,
    ):
        yield server


@pytest.fixture(scope="session")
def outbox_nats() -> Iterator[EmbeddedNats]:
    """A nats-server with JetStream for the whole run."""
    from outbox_operator.embedded.nats import EmbeddedNats

    with _folder("nats") as folder, EmbeddedNats(folder) as server:
        yield server


@pytest.fixture(scope="session")
def outbox_redis() -> Iterator[EmbeddedRedis]:
    """A Valkey server for the whole run."""
    from outbox_operator.embedded.redis import EmbeddedRedis

    with _folder("redis") as folder, EmbeddedRedis(folder) as server:
        yield server


@pytest.fixture(scope="session")
def outbox_manifest() -> Mapping[str, Any] | str | Path:
    """The pipeline to test with: a manifest, or a file that holds one. Override it for your own."""
    return _DEFAULT_MANIFEST


@pytest.fixture(scope="session")
def outbox_prepare() -> Callable[[str], None]:
    """Called once with the URL of the databases' template. Override it to make your tables."""
    return lambda _: None


@pytest.fixture
def outbox_endpoints() -> Mapping[str, str]:
    """URLs of HTTP handlers by consumer. Override it: consumers that are left out do not run."""
    return {}


@pytest.fixture(scope="session")
def outbox_template(
    outbox_postgres: EmbeddedPostgres,
    outbox_manifest: Mapping[str, Any] | str | Path,
    outbox_prepare: Callable[[str], None],
) -> str:
    """Name of the migrated and prepared database that each test's own is a copy of."""
    from outbox_operator.dev import setup
    from outbox_operator.testing.live import in_thread

    name = f"template_{uuid.uuid4().hex[:10]}"
    resources = _resources(outbox_manifest, "template")
    in_thread(setup.create_database(outbox_postgres.url(), name))
    in_thread(setup.set_up_database(resources, outbox_postgres.url(name)))
    outbox_prepare(outbox_postgres.url(name))
    return name


@pytest.fixture
def outbox_pipeline(
    request: pytest.FixtureRequest,
    outbox_postgres: EmbeddedPostgres,
    outbox_template: str,
    outbox_manifest: Mapping[str, Any] | str | Path,
    outbox_endpoints: Mapping[str, str],
) -> Iterator[LivePipeline]:
    """A pipeline of the test's own: a copy of the template, a new stream, relay and consumers."""
    from outbox_operator.dev import secrets, setup
    from outbox_operator.dev.processes import jobs
    from outbox_operator.dev.servers import Servers
    from outbox_operator.testing.live import BackgroundProcesses, LivePipeline, in_thread

    prefix = f"t{uuid.uuid4().hex[:10]}"
    resources = _resources(outbox_manifest, prefix)
    pipeline = resources.pipelines[0]
    nats_url, redis_url = _brokers(request, resources)
    administrator = outbox_postgres.url()
    in_thread(setup.create_database(administrator, prefix, template=outbox_template))
    with _folder("pipeline") as folder:
        url = outbox_postgres.url(prefix)
        servers = Servers(folder=folder, database_url=url, nats_url=nats_url, redis_url=redis_url)
        in_thread(setup.set_up_streams(resources, nats_url, redis_url))
        servers.tell()
        endpoints = {
            resources.consumer_with_http_handler(name): endpoint
            for name, endpoint in outbox_endpoints.items()
        }
        left_out = {
            f"consumer-{name}" for name in resources.http_consumers() if name not in endpoints
        }
        secrets.make(folder, resources)
        work = [job for job in jobs(resources, servers, endpoints) if job.name not in left_out]
        with BackgroundProcesses(work, folder / "run"):
            yield LivePipeline(
                pipeline,
                resources.stream_of(pipeline),
                database_url=url,
                nats_url=nats_url,
                redis_url=redis_url,
                logs=folder / "run",
                secrets=folder / secrets.FOLDER,
            )
    in_thread(setup.remove_streams(resources, nats_url, redis_url))
    in_thread(setup.drop_database(administrator, prefix))


def _brokers(request: pytest.FixtureRequest, resources: Any) -> tuple[str, str | None]:
    """URLs of NATS and Redis; a server that no stream is in is not started."""
    nats_url, redis_url = "", None
    if resources.needs_nats:
        nats_url = request.getfixturevalue("outbox_nats").url
    if resources.needs_redis:
        redis_url = request.getfixturevalue("outbox_redis").url
    return nats_url, redis_url


def _resources(manifest: Mapping[str, Any] | str | Path, prefix: str) -> Any:
    """The resources of a manifest, with streams and subjects that no other test has."""
    import yaml

    from outbox_operator.dev.manifest import read

    if isinstance(manifest, Mapping):
        where, documents = "outbox_manifest", [copy.deepcopy(dict(manifest))]
    else:
        where = str(manifest)
        documents = [d for d in yaml.safe_load_all(Path(manifest).read_text("utf-8")) if d]
    for document in documents:
        spec = document.get("spec", {})
        stream = spec.get("stream")
        if document.get("kind") == "OutboxPipeline" and isinstance(stream, dict):
            for field in ("name", "subject"):
                if field in stream:
                    separator = "-" if field == "name" and "redis" not in spec else "."
                    stream[field] = f"{prefix}{separator}{stream[field]}"
            if "subjects" in stream:
                stream["subjects"] = [f"{prefix}.{subject}" for subject in stream["subjects"]]
    return read(documents, where)


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """A temporary folder; as root, one that the user PostgreSQL runs as can reach."""
    parent = "/var/tmp" if os.geteuid() == 0 else None  # noqa: S108 - a folder of our own in it
    folder = Path(tempfile.mkdtemp(prefix=f"outbox-{name}-", dir=parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
