"""What tests of the archive's API need: an archive with events in it, and who asks."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from outbox_operator.archive.api.app import ArchiveApiApp
from outbox_operator.wire.archive_api import ApiLimits, ArchiveApiConfig, JwtConfig
from support.archiving import RULES, ArchivePlace
from support.postgres import PostgresServer
from support.tokens import AUDIENCE, ISSUER, Issuer
from support.waiting import ended, eventually

EXTRACT = {**RULES.extract, "tenant": "$.tenant"}
FILL = """
INSERT INTO archive.events (class, stored_at, id, type, key, source, subject, sequence, occurred_at,
                            headers, payload, payload_bytes, actor, tenant)
SELECT CASE WHEN n % 2 = 0 THEN 'orders' ELSE 'default' END,
       timestamptz '2026-03-01T00:00:00Z' + n / 2 * interval '1 minute',
       ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid,
       CASE WHEN n % 2 = 0 THEN 'order.placed' ELSE 'auth.login.failed' END,
       'k/' || n % 10, '/shop', 'x.y', n, timestamptz '2026-03-01T00:00:00Z',
       '{"Ce-Type": "a"}', jsonb_build_object('n', n, 'note', 'Word' || n % 7 || ' is here'), 10,
       'a' || n % 3,
       CASE WHEN n % 5 = 0 THEN 'globex' ELSE 'acme' END
FROM generate_series(1, $1) n
"""
EVENTS = 200
"""That an archive of tests has: two at each minute from 2026-03-01 on, 160 of tenant acme."""


@dataclasses.dataclass(frozen=True, slots=True)
class FilledArchive:
    """An archive with events, by tenant.

    Attributes:
        place: Where it is; its connections are closed.
        config: Of what answers.
        issuer: Of tokens.
    """

    place: ArchivePlace
    config: ArchiveApiConfig
    issuer: Issuer


def fill(server: PostgresServer, url: str, folder: Path, *, events: int = EVENTS) -> FilledArchive:
    """Make an archive in an empty database, with an API that tells tenants apart."""

    async def made() -> FilledArchive:
        issuer = Issuer(folder)
        place = ArchivePlace(server, url, folder)
        async with place:
            place.rules(extract=EXTRACT)
            database = place.with_api("tenant")
            place.change(text_search=True)
            await place.migrate()
            await place.root.execute(FILL, events)
        config = ArchiveApiConfig(
            namespace="shop",
            consumer="audit",
            database=database,
            jwt=JwtConfig(issuer=ISSUER, audience=AUDIENCE, jwks_file=str(issuer.path)),
            extracted=tuple(sorted(EXTRACT)),
            tenant_column="tenant",
            text_search=True,
            limits=ApiLimits(requests_per_second=10_000.0, burst=10_000),
            port=0,
            health_port=0,
        )
        return FilledArchive(place, config, issuer)

    return asyncio.run(made())


class Client:
    """Somebody who asks, with a token or without.

    Args:
        http: Where.
        issuer: Of the token.
    """

    def __init__(self, http: httpx.AsyncClient, issuer: Issuer) -> None:
        self.http = http
        self._issuer = issuer

    def headers(self, scope: str | None = None, **claims: Any) -> dict[str, str]:
        """With a token of tenant acme, or of what the claims say."""
        said = {"tenant": "acme", **claims}
        token = self._issuer.token(**said) if scope is None else self._issuer.token(scope, **said)
        return {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, scope: str | None = None, **claims: Any) -> httpx.Response:
        """Ask."""
        return await self.http.get(path, headers=self.headers(scope, **claims))

    async def found(self, path: str, **claims: Any) -> dict[str, Any]:
        """What is answered, which is all right."""
        answer = await self.get(path, **claims)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@asynccontextmanager
async def serving(
    config: ArchiveApiConfig, issuer: Issuer, **changes: Any
) -> AsyncIterator[Client]:
    """The process that answers, within this one; with other values in its configuration."""
    app = ArchiveApiApp(dataclasses.replace(config, **changes))
    task = asyncio.create_task(app.run())
    try:
        await eventually(lambda: task.done() or app.port != 0, "a port to ask at")
        if task.done():
            await task
        address = f"http://127.0.0.1:{app.port}"
        async with httpx.AsyncClient(base_url=address, timeout=30.0) as http:
            yield Client(http, issuer)
    finally:
        app.stop()
        await ended(task, "the API's end")
