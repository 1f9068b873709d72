"""Exports: equal to a SELECT of their moment, whoever writes meanwhile, and safe to open."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import hashlib
import io
import json
import uuid
from typing import Any

import asyncpg
import httpx
import pytest
from arro3.io import read_parquet

from outbox_operator.wire.advisory_locks import schema_lock
from support.archive_api import EVENTS, Client, FilledArchive, serving
from support.waiting import eventually

pytestmark = pytest.mark.integration
ALL = {"scope": "events:export payload:read tenants:all", "tenant": None}
ADD = """
INSERT INTO archive.events (class, stored_at, id, type, key, source, subject, sequence, occurred_at,
                            headers, payload, payload_bytes, actor, tenant)
VALUES ('default', now(), $1, $2, 'formulas', '/shop', 'x.y', 10000, now(), '{}', $3, 1, $4, 'acme')
"""

LARGE = """
INSERT INTO archive.events (class, stored_at, id, type, key, source, subject, sequence, occurred_at,
                            headers, payload, payload_bytes)
SELECT 'default', now(), gen_random_uuid(), 't', 'large', '/shop', 'x.y', n, now(), '{}',
       to_jsonb(repeat(md5(n::text), 1000)), 1
FROM generate_series(1, 1000) n
"""
END_COPY = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'COPY%'
"""


async def export(client: Client, claims: Any = None, **body: Any) -> httpx.Response:
    """An export."""
    headers = client.headers(**(claims or {}))
    return await client.http.post("/v1/exports", json=body, headers=headers)


async def manifest(client: Client, answer: httpx.Response, claims: Any = None) -> dict[str, Any]:
    """Of an export that has ended."""
    found = await client.http.get(
        answer.headers["location"], headers=client.headers(**(claims or {}))
    )
    assert found.status_code == 200, found.text
    document: dict[str, Any] = found.json()
    return document


async def test_lines_and_their_manifest(client: Client) -> None:
    answer = await export(client, type="order.placed", fields=["id", "sequence", "payload"])
    assert answer.status_code == 200, answer.text
    events = [json.loads(line) for line in answer.text.splitlines()]
    expected = [n for n in range(1, EVENTS + 1) if n % 5 and n % 2 == 0]
    assert [one["sequence"] for one in events] == expected
    assert events[0]["payload"]["n"] == 2
    said = await manifest(client, answer)
    assert said["events"] == len(expected)
    assert said["bytes"] == len(answer.content)
    assert said["sha256"] == hashlib.sha256(answer.content).hexdigest()
    assert said["moment"].startswith(answer.headers["outbox-export-moment"][:19])
    others = await client.http.get(answer.headers["location"], headers=client.headers(sub="bob"))
    assert others.status_code == 404


async def test_parquet_has_the_same_events_with_their_types(
    archive: FilledArchive, client: Client
) -> None:
    odd = "tab\t, line\n, back\\slash \\N and \u00e4"
    newcomer = uuid.uuid4()
    fields = ["id", "sequence", "stored_at", "type", "actor", "payload", "emission", "headers"]
    async with archive.place:
        try:
            await archive.place.root.execute(ADD, newcomer, "odd", '{"x": 1.10}', odd)
            lines, file = [
                await export(client, ALL, format=form, fields=fields)
                for form in ("ndjson", "parquet")
            ]
        finally:
            await archive.place.root.execute("DELETE FROM archive.events WHERE id = $1", newcomer)
    assert file.headers["content-type"] == "application/vnd.apache.parquet"
    assert file.headers["content-disposition"].endswith('"events.parquet"')
    table = read_parquet(io.BytesIO(file.content)).read_all()
    assert set(table.schema.names) == set(fields)
    found = {name: table.column(name).to_pylist() for name in fields}
    wanted = [json.loads(line) for line in lines.text.splitlines()]
    assert len(wanted) > EVENTS
    for name in ("id", "sequence", "type", "actor", "emission"):
        assert found[name] == [one[name] for one in wanted]
    for name in ("payload", "headers"):
        assert [json.loads(text) for text in found[name] if text] == [
            one[name] for one in wanted if one[name] is not None
        ]
    assert '{"x": 1.10}' in found["payload"], "numbers are as they were written"
    assert odd in found["actor"]
    moments = [dt.datetime.fromisoformat(one["stored_at"]) for one in wanted]
    assert found["stored_at"] == moments
    said = await manifest(client, file, ALL)
    assert (said["events"], said["bytes"], said["format"]) == (
        len(wanted), len(file.content), "parquet",
    )  # fmt: skip
    assert said["sha256"] == hashlib.sha256(file.content).hexdigest()
    nothing = await export(client, ALL, format="parquet", key="nobody", fields=["id"])
    assert len(read_parquet(io.BytesIO(nothing.content)).read_all()) == 0


async def test_it_goes_on_where_it_was_cut_whatever_came_since(
    archive: FilledArchive, client: Client
) -> None:
    for form in ("ndjson", "csv"):
        whole = await export(client, format=form, fields=["id", "sequence"])
        lines = whole.text.splitlines()
        had = lines[:50]
        async with archive.place:
            newcomer = uuid.uuid4()
            await archive.place.root.execute(ADD, newcomer, "order.placed", "{}", "a")
            moment = whole.headers["outbox-export-moment"]
            rest = await export(
                client, format=form, fields=["id", "sequence"], moment=moment,
                skip=50 if form == "ndjson" else 49,
            )  # fmt: skip
            await archive.place.root.execute("DELETE FROM archive.events WHERE id = $1", newcomer)
        assert had + rest.text.splitlines() == lines
        assert (await manifest(client, rest))["skipped"] in (49, 50)


async def test_a_moment_that_is_not_over_is_refused(client: Client) -> None:
    """What is archived until then would be in it when it goes on, and shift what is skipped."""
    told = (await export(client, fields=["id"])).headers["outbox-export-moment"]
    ahead = (dt.datetime.fromisoformat(told) + dt.timedelta(hours=1)).isoformat()
    answer = await client.http.post("/v1/exports", json={"moment": ahead}, headers=client.headers())
    assert answer.status_code == 400
    [fault] = answer.json()["errors"]
    assert fault["field"] == "moment"
    assert fault["wanted"].startswith("that of an export")
    assert (await export(client, fields=["id"], moment=told)).status_code == 200


async def test_a_batch_that_is_being_stored_is_in_it_whole_or_not_at_all(
    archive: FilledArchive, client: Client
) -> None:
    """Its rows have their time before they can be seen: an export waits for their commit."""
    newcomer = uuid.uuid4()
    async with archive.place:
        root = archive.place.root
        async with root.transaction():
            await root.execute(
                "SELECT pg_advisory_xact_lock($1)", schema_lock("archive", "archive")
            )
            await root.execute(ADD, newcomer, "order.placed", "{}", "a")
            asked = asyncio.create_task(export(client, key="formulas", fields=["id"]))
            look = await archive.place.open(None)

            async def waits() -> bool:
                return bool(await look.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ))  # fmt: skip

            await eventually(waits, "the export waits for the batch")
        answer = await asked
        await root.execute("DELETE FROM archive.events WHERE id = $1", newcomer)
    assert [json.loads(line)["id"] for line in answer.text.splitlines()] == [str(newcomer)]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
async def test_no_cell_is_a_formula(archive: FilledArchive, client: Client, text: str) -> None:
    newcomer = uuid.uuid4()
    async with archive.place:
        try:
            await archive.place.root.execute(ADD, newcomer, text, json.dumps(text), text)
            answer = await export(
                client, format="csv", key="formulas", fields=["type", "payload", "actor", "key"]
            )
        finally:
            await archive.place.root.execute("DELETE FROM archive.events WHERE id = $1", newcomer)
    # `newline`, because a carriage return in a cell is one.
    header, row = csv.reader(io.StringIO(answer.text, newline=""))
    cells = dict(zip(header, row, strict=True))
    assert cells["type"] == cells["actor"] == f"'{text}"
    assert cells["payload"] == json.dumps(text, ensure_ascii=False)
    assert cells["key"] == "formulas"


async def test_who_may_not_gets_nothing(client: Client) -> None:
    assert (await client.http.post("/v1/exports", json={})).status_code == 401
    assert (await export(client, {"scope": "events:read"})).status_code == 403
    hidden = await export(client, {"scope": "events:export"}, fields=["payload"])
    assert hidden.status_code == 400
    plain = await export(client, {"scope": "events:export"}, key="k/1")
    assert all("payload" not in json.loads(line) for line in plain.text.splitlines())
    everything = await export(client, ALL, fields=["id"])
    assert len(everything.text.splitlines()) == EVENTS
    mine = await export(client, fields=["tenant"])
    assert {json.loads(line)["tenant"] for line in mine.text.splitlines()} == {"acme"}


BAD: dict[str, bytes] = {
    "format": b'{"format": "xlsx"}', "skip": b'{"skip": -1, "moment": "2026-01-01T00:00:00Z"}',
    "moment": b'{"skip": 3}', "body": b"[", "colour": b'{"colour": "red"}', "key": b'{"key": 7}',
    "limit": b'{"limit": "3"}', "actor": rb'{"actor": "\ud800"}',
}  # fmt: skip


@pytest.mark.parametrize("field", BAD)
async def test_a_bad_wish_names_field_wanted_and_found(client: Client, field: str) -> None:
    answer = await client.http.post("/v1/exports", content=BAD[field], headers=client.headers())
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    huge = await client.http.post("/v1/exports", content=b" " * 70_000, headers=client.headers())
    assert huge.status_code == 413


async def test_a_client_that_goes_away_leaves_nothing_behind(archive: FilledArchive) -> None:
    async with serving(archive.config, archive.issuer) as client, archive.place:
        root = archive.place.root
        await root.execute("TRUNCATE archive.access_log")
        request = client.http.build_request(
            "POST", "/v1/exports", json={"fields": ["id"]}, headers=client.headers()
        )
        answer = await client.http.send(request, stream=True)
        assert answer.status_code == 200
        await answer.aclose()

        async def noted() -> list[asyncpg.Record]:
            return await root.fetch(
                "SELECT outcome FROM archive.access_log WHERE action = 'export ended'"
            )

        await eventually(noted, "the end of the export is written down")


async def test_a_database_that_ends_the_session_cuts_it_off_and_it_goes_on(
    archive: FilledArchive, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(archive.config, archive.issuer) as client, archive.place:
        root = archive.place.root
        body: dict[str, Any] = {"fields": ["id", "payload"], "key": "large"}
        await root.execute(LARGE)
        try:
            whole = (await export(client, ALL, **body)).content.splitlines()
            lines = list[bytes]()

            async def read() -> None:
                rest = b""
                headers = client.headers(**ALL)
                async with client.http.stream(
                    "POST", "/v1/exports", json=body, headers=headers
                ) as answer:
                    body["moment"] = answer.headers["outbox-export-moment"]
                    async for piece in answer.aiter_raw():
                        *more, rest = (rest + piece).split(b"\n")
                        if more and not lines:
                            assert await root.fetchval(END_COPY) == 1
                        lines.extend(more)

            with pytest.raises(httpx.RemoteProtocolError):
                await read()
            assert 0 < len(lines) < len(whole)
            answer = await export(client, ALL, skip=len(lines), **body)
            assert lines + answer.content.splitlines() == whole
        finally:
            await root.execute("DELETE FROM archive.events WHERE key = 'large'")
    [said] = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "an export was cut off" in said.getMessage()
    assert said.exc_info is None, "it is no fault of ours"
