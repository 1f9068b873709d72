"""An archive asked over HTTP: who may see what, in which order, page by page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from support.archive_api import EVENTS, Client, FilledArchive, serving
from support.fences import fences
from support.waiting import eventually

pytestmark = pytest.mark.integration
MINE = EVENTS * 4 // 5
"""Events of tenant acme."""


async def pages(client: Client, path: str, **claims: Any) -> list[dict[str, Any]]:
    """All events that a question finds, page by page."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        answer = await client.found(f"{path}{after}", **claims)
        found += answer["events"]
        if answer["next"] is None:
            return found
        assert answer["events"], "a page that says there are more has some"
        after = f"&after={answer['next']}"


async def test_an_event_as_it_was_stored(client: Client) -> None:
    found = await client.found("/v1/events/00000000-0000-0000-0000-000000000002")
    assert found["type"] == "order.placed"
    assert found["stored_at"] == "2026-03-01T00:01:00+00:00"
    assert found["payload"] == {"n": 2, "note": "Word2 is here"}
    assert found["actor"] == "a2"
    assert found["raw"] is None
    missing = await client.get("/v1/events/00000000-0000-0000-0000-00000000ffff")
    assert missing.status_code == 404


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_pages_have_every_event_once_and_in_order(client: Client, order: str) -> None:
    found = await pages(client, f"/v1/events?limit=7&order={order}&fields=sequence,stored_at")
    numbers = [one["sequence"] for one in found]
    expected = [n for n in range(1, EVENTS + 1) if n % 5]
    assert numbers == (expected if order == "oldest" else expected[::-1])


async def test_an_entitys_life_in_order(client: Client) -> None:
    found = await pages(client, "/v1/entities/k/7/history?limit=3")
    assert [one["sequence"] for one in found] == list(range(7, EVENTS + 1, 10))
    encoded = await pages(client, "/v1/entities/k%2F7/history?limit=100")
    assert encoded == found
    assert await pages(client, "/v1/entities/a%2F%0A%E2%80%A8%09b/history") == []


CHOSEN: dict[str, Callable[[int], object]] = {
    "type=order.placed": lambda n: n % 2 == 0,
    "type=order.placed&type=auth.login.failed": lambda n: True,
    "type=auth.*&from=2026-03-01T00:00:00Z&to=2026-03-09T00:00:00Z": lambda n: False,
    "type=auth.>&from=2026-03-01T00:00:00Z&to=2026-03-09T00:00:00Z": lambda n: n % 2,
    "key=k/3": lambda n: n % 10 == 3,
    "actor=a1": lambda n: n % 3 == 1,
    "actor=a1&type=order.placed&key=k/4": lambda n: n % 30 == 4,
    "class=default": lambda n: n % 2,
    "from=2026-03-01T00:50:00Z&to=2026-03-01T01:00:00Z": lambda n: 50 <= n // 2 < 60,
    "source=/shop&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z": lambda n: True,
    "id=00000000-0000-0000-0000-000000000007": lambda n: n == 7,
    "q=word3": lambda n: n % 7 == 3,
    "q=%22word3 is%22 or 8&type=order.placed": lambda n: n % 2 == 0 and (n % 7 == 3 or n == 8),
    "q=here -word1 -word2 -word3&key=k/4": lambda n: n % 10 == 4 and n % 7 in (0, 4, 5, 6),
    "q=%22here is%22": lambda n: False,
    "q='%22)(:* %26 x|!": lambda n: False,
    "key=nobody's%27; DROP TABLE archive.events --": lambda n: False,
}  # fmt: skip


@pytest.mark.parametrize("question", CHOSEN)
async def test_what_is_asked_for_is_found(client: Client, question: str) -> None:
    found = await pages(client, f"/v1/events?limit=1000&order=oldest&{question}")
    expected = [n for n in range(1, EVENTS + 1) if n % 5 and CHOSEN[question](n)]
    assert [one["sequence"] for one in found] == expected


async def test_tenants_see_their_own_whatever_they_ask(client: Client) -> None:
    for question in ("limit=1000", "limit=1000&tenant=acme", "limit=1000&key=k/5"):
        found = await pages(client, f"/v1/events?{question}", tenant="globex")
        assert all(one["tenant"] == "globex" for one in found)
        assert len(found) == (0 if "acme" in question else 20 if "k/5" in question else EVENTS // 5)
    assert len(await pages(client, "/v1/events?limit=1000", tenant="nobody")) == 0
    other = await client.get("/v1/events/00000000-0000-0000-0000-000000000005")
    assert other.status_code == 404
    without = await client.get("/v1/events", tenant=None)
    assert without.status_code == 403
    everything = "events:read tenants:all"
    answer = await client.get("/v1/events?limit=1000", everything, tenant=None)
    assert len(answer.json()["events"]) == EVENTS


async def test_payloads_are_hidden_without_their_scope(client: Client) -> None:
    answer = await client.get("/v1/events?limit=1000", "events:read")
    assert answer.status_code == 200
    assert all("payload" not in one and "raw" not in one for one in answer.json()["events"])
    asked = await client.get("/v1/events?fields=id,payload", "events:read")
    assert asked.status_code == 400
    assert asked.json()["errors"][0] == {
        "field": "fields", "wanted": "a token with the scope payload:read", "found": "payload"
    }  # fmt: skip


REFUSED = {
    "limit=0": "limit", "limit=1001": "limit", "limit=ten": "limit", "limit=1&limit=2": "limit",
    "order=random": "order", "after=x": "after", "from=yesterday": "from", "colour=red": "colour",
    "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z": "from", "id=7": "id",
    "type=order..*": "type", "key=a%00b": "key", f"key={'k' * 1025}": "key",
    "fields=id,colour": "fields", "q=-word1": "q", "q=%20": "q", "q=a&q=b": "q",
    "after=o_0_0_00000000000000000000000000000000": "after",
}  # fmt: skip


async def test_words_find_for_those_alone_who_may_see_them(client: Client) -> None:
    """Not by a word, not by how many there are, not in a report, not of another tenant."""
    everything = "events:read events:export reports:read tenants:all"
    for path in ("/v1/events?q=word3", "/v1/entities/k/3/history?q=word3"):
        answer = await client.get(path, everything)
        assert answer.status_code == 403
        assert "payload:read" in answer.json()["detail"]
    headers = client.headers(everything)
    exported = await client.http.post("/v1/exports", json={"q": "word3"}, headers=headers)
    assert exported.status_code == 403
    assert (await client.get("/v1/reports/activity?q=word3")).status_code == 400
    assert await pages(client, "/v1/events?q=word3", tenant="nobody") == []
    of_another = await pages(client, "/v1/events?q=word3", tenant="globex")
    assert of_another
    assert {one["tenant"] for one in of_another} == {"globex"}
    answer = await client.http.post("/v1/exports", json={"q": "word3"}, headers=client.headers())
    assert len(answer.text.splitlines()) == sum(n % 7 == 3 and n % 5 > 0 for n in range(1, 201))


async def test_without_an_index_of_words_they_are_no_question(archive: FilledArchive) -> None:
    async with serving(archive.config, archive.issuer, text_search=False) as client:
        answer = await client.get("/v1/events?q=word3")
        assert answer.status_code == 400
        [error] = answer.json()["errors"]
        assert error["field"] == "q"
        assert "textSearch" in error["wanted"]
        described = (await client.http.get("/openapi.json")).json()
        names = {one["name"] for one in described["paths"]["/v1/events"]["get"]["parameters"]}
        assert "q" not in names


@pytest.mark.parametrize("question", REFUSED)
async def test_a_bad_question_names_field_wanted_and_found(client: Client, question: str) -> None:
    answer = await client.get(f"/v1/events?{question}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    [error] = answer.json()["errors"]
    assert error["field"] == REFUSED[question]
    assert error["wanted"]
    assert error["found"]


async def test_of_thousands_of_faults_the_first_are_named(client: Client) -> None:
    answer = await client.get(f"/v1/events?{'&'.join(f'x{n}=' for n in range(8000))}")
    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == 20
    assert len(answer.content) < 20_000


async def test_what_has_no_index_needs_a_time_unless_one_tenants_events_are_asked(
    client: Client,
) -> None:
    everybody = {"scope": "events:read tenants:all", "tenant": None}
    answer = await client.get("/v1/events?source=/shop", **everybody)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "from"
    assert (await client.get("/v1/events?source=/shop")).status_code == 200


async def test_nobody_is_told_anything_without_a_token(client: Client) -> None:
    for path in ("/v1/events", "/v1/entities/k/history"):
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}):
            answer = await client.http.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    assert (await client.get("/v1/events", "reports:read")).status_code == 403
    assert (await client.http.get("/v1/nothing")).status_code == 404
    assert (await client.http.post("/v1/events")).status_code == 405
    huge = await client.http.get("/v1/events", headers={"Authorization": f"Bearer {'x' * 30_000}"})
    assert huge.status_code == 401


async def test_who_asked_for_what_is_written_down(archive: FilledArchive, client: Client) -> None:
    async with archive.place:
        root = archive.place.root
        await root.execute("TRUNCATE archive.access_log")
        await client.get("/v1/events?limit=3&key=k/3", sub="eve", jti="t1")
        await client.get("/v1/events?limit=none", sub="eve")
        await client.get("/v1/entities/k/3/history", "openid", sub="eve")
        await client.http.get("/v1/events")
        *_, shown = fences("docs/how-to/query-the-archive.md", "sql")
        assert await root.fetch(shown)
        noted = await root.fetch("SELECT * FROM archive.access_log ORDER BY at")
    assert [(one["action"], one["outcome"], one["events"]) for one in noted] == [
        ("events", "ok", 3), ("events", "400 Bad question", 0), ("history", "403 Not allowed", 0)
    ]  # fmt: skip
    assert {one["subject"] for one in noted} == {"eve"}
    assert {one["tenant"] for one in noted} == {"acme"}
    assert noted[0]["token_id"] == "t1"
    assert noted[0]["client"] == "127.0.0.1"
    assert json.loads(noted[0]["question"]) == {"limit": "3", "key": "k/3"}


async def test_who_asks_too_often_is_told_to_wait(archive: FilledArchive) -> None:
    limits = dataclasses.replace(archive.config.limits, requests_per_second=0.1, burst=2)
    async with serving(archive.config, archive.issuer, limits=limits) as client:
        statuses = [(await client.get("/v1/events?limit=1")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await client.get("/v1/events?limit=1", sub="bob")).status_code == 200


async def test_a_key_that_the_issuer_takes_back_is_not_believed_and_a_new_one_is(
    archive: FilledArchive,
) -> None:
    async with serving(archive.config, archive.issuer) as client:
        assert (await client.get("/v1/events")).status_code == 200
        issuer = archive.issuer
        before, issuer.ed = issuer.ed, ed25519.Ed25519PrivateKey.generate()
        try:
            issuer.path.write_text(json.dumps({"keys": [
                {**one, "kid": "next"} for one in issuer.jwks()["keys"] if one["kid"] == "ed"
            ]}))  # fmt: skip

            async def asked() -> httpx.Response:
                return await client.get("/v1/events", kid="next")

            async def believed() -> bool:
                return (await asked()).status_code == 200

            await eventually(believed, "the new key is believed")
            assert (await client.get("/v1/events", kid="ed", key=before)).status_code == 401
        finally:
            issuer.ed = before
            issuer.publish()


async def test_it_describes_itself_to_everybody(client: Client) -> None:
    described = (await client.http.get("/openapi.json")).json()
    assert {"/v1/events", "/v1/exports", "/v1/reports/{name}"} <= described["paths"].keys()
    schemes = described["components"]["securitySchemes"]
    for operations in described["paths"].values():
        for operation in operations.values():
            assert operation["security"] == [{"token": []}]
    assert list(schemes) == ["token"]
