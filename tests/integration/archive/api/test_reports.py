"""Reports: counted by stretch of time, for one tenant or for the archive as a whole."""

from __future__ import annotations

import pytest

from support.archive_api import EVENTS, Client

pytestmark = pytest.mark.integration
TIME = "from=2026-03-01T00:00:00Z&to=2026-03-09T00:00:00Z"
ALL = {"scope": "reports:read tenants:all", "tenant": None}


async def test_what_happened_and_what_failed(client: Client) -> None:
    found = await client.found(f"/v1/reports/activity?{TIME}&interval=hour")
    assert sum(row["events"] for row in found["rows"]) == EVENTS * 4 // 5
    assert {row["type"] for row in found["rows"]} == {"order.placed", "auth.login.failed"}
    assert found["rows"][0]["from"] == "2026-03-01T00:00:00Z"
    failed = await client.found(f"/v1/reports/failures?{TIME}")
    assert {row["type"] for row in failed["rows"]} == {"auth.login.failed"}
    actors = await client.found(f"/v1/reports/actors?{TIME}&type=order.placed")
    assert {row["actor"] for row in actors["rows"]} == {"a0", "a1", "a2"}
    everybody = await client.found(f"/v1/reports/activity?{TIME}", **ALL)
    assert sum(row["events"] for row in everybody["rows"]) == EVENTS
    text = (await client.get(f"/v1/reports/activity?{TIME}&format=csv")).text
    assert text.splitlines()[0] == "from,type,events"
    nothing = await client.found("/v1/reports/activity?to=2025-01-01T00:00:00Z")
    assert nothing["rows"] == []


async def test_the_archive_itself_is_not_one_tenants_business(client: Client) -> None:
    kept = await client.found("/v1/reports/retention", **ALL)
    assert {row["class"]: row["keep_seconds"] for row in kept["rows"]} == {
        "orders": 400 * 86_400.0, "default": 10 * 86_400.0
    }  # fmt: skip
    assert all(row["partitions"] > 1 for row in kept["rows"])
    assert (await client.found("/v1/reports/completeness", **ALL))["rows"] == []
    for name in ("retention", "completeness"):
        assert (await client.get(f"/v1/reports/{name}")).status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("activity?interval=second", 400),
        ("activity?format=xls", 400),
        ("activity?from=2020-01-01T00:00:00Z", 400),
        ("activity?from=x", 400),
        ("activity?to=0001-01-01T00:00:00Z", 400),
        ("activity?limit=3", 400),
        ("retention?key=k", 400),
        ("secrets", 404),
    ],
)
async def test_what_cannot_be_reported(client: Client, path: str, status: int) -> None:
    assert (await client.get(f"/v1/reports/{path}")).status_code == status
    assert (await client.get("/v1/reports/activity", "events:read")).status_code == 403
