"""The page of an archive in a real Chromium, by keyboard, and what may be done with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Page, expect

from support.archive_api import Client, FilledArchive, serving
from support.browser import barriers, browser, opened

pytestmark = pytest.mark.integration
HOSTILE = """
INSERT INTO archive.events (class, stored_at, id, type, key, source, subject, sequence, occurred_at,
                            headers, payload, payload_bytes, actor, tenant)
VALUES ('default', now(), 'ffffffff-0000-0000-0000-000000000001',
        '<img src=x onerror=alert(1)>', E'a/\\u202Eb\\n%2F?#', '/s', 's', 1, now(), '{}',
        '{"n": 12345678901234567890123, "at": 1.10}', 9, '</td><script>alert(1)</script>', 'evil')
"""


def token_of(client: Client, **claims: Any) -> str:
    """A token as a person has it."""
    return client.headers(**claims)["Authorization"].removeprefix("Bearer ")


async def log_in(page: Page, token: str) -> None:
    """As who has no mouse does it: the field is the third place that the key leads to."""
    for _ in range(3):
        await page.keyboard.press("Tab")
    await expect(page.get_by_label("Token", exact=True)).to_be_focused()
    await page.keyboard.insert_text(token)
    await page.keyboard.press("Enter")


async def test_somebody_searches_and_reads_by_keyboard(client: Client) -> None:
    address = f"{client.http.base_url}/"
    token = token_of(client)
    async with browser() as chromium, opened(chromium, address) as (page, wrong):
        status, heading = page.get_by_role("status"), page.locator("#heading")
        await expect(status).to_have_text("Give a token to see events.")
        await log_in(page, token)
        await expect(status).to_have_text("50 events; there are more.")
        await expect(heading).to_be_focused()
        assert await barriers(page) == []

        # Page by page, with the browser's own way back.
        await page.get_by_role("link", name="Next page").focus()
        await page.keyboard.press("Enter")
        await expect(status).to_have_text("50 events on this page; there are more.")
        await expect(page.get_by_role("link", name="First page")).to_be_visible()
        await page.go_back()
        await expect(status).to_have_text("50 events; there are more.")

        # By filters, the last with Enter.
        await page.get_by_label("type", exact=True).focus()
        await page.keyboard.insert_text("order.*")
        await page.get_by_label("from", exact=True).focus()
        await page.keyboard.insert_text("2026-03-01 00:01")
        await page.get_by_label("to", exact=True).focus()
        await page.keyboard.insert_text("2026-03-02")
        await page.get_by_label("key", exact=True).focus()
        await page.keyboard.insert_text("k/2")
        await page.keyboard.press("Enter")
        await expect(status).to_have_text("20 events.")
        assert "from=2026-03-01T00%3A01%3A00Z&to=2026-03-02T00%3A00%3A00Z" in page.url
        assert await page.locator("tbody tr").count() == 20

        # One event, then the life of its entity, the oldest first.
        await page.get_by_role("link", name="order.placed").last.focus()
        await page.keyboard.press("Enter")
        await expect(heading).to_have_text("Event 00000000-0000-0000-0000-000000000002")
        await expect(page.get_by_label("payload")).to_contain_text('"n": 2')
        await page.get_by_role("link", name="All events of its key").focus()
        await page.keyboard.press("Enter")
        await expect(heading).to_have_text("History of k/2")
        await expect(page.get_by_role("listitem").first).to_contain_text("2026-03-01 00:01:00 UTC")
        assert await barriers(page) == []
        await page.get_by_role("link", name="Back to the search").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("key", exact=True)).to_have_value("k/2")

        # The token is nowhere that outlives the page.
        kept = await page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie,"
            " history.state, location.href, document.documentElement.outerHTML])"
        )
        assert token not in kept
        assert json.loads(kept)[:4] == [{}, {}, "", None]
        await page.reload()
        await expect(status).to_have_text("Give a token to see events.")
        assert await page.locator("tbody").count() == 0
        assert wrong == []


async def test_what_is_wrong_is_said_where_it_is(client: Client) -> None:
    address = f"{client.http.base_url}/"
    how = {"color_scheme": "dark", "viewport": {"width": 360, "height": 800}}
    async with browser() as chromium, opened(chromium, address, **how) as (page, wrong):
        alert, login = page.get_by_role("alert"), page.get_by_label("Token", exact=True)
        await log_in(page, "a.b.c")
        await expect(alert).to_contain_text("Not authenticated")
        await expect(login).to_be_focused()
        await page.keyboard.insert_text("“a.b.c”")
        await page.keyboard.press("Enter")
        await expect(alert).to_contain_text("This is no token")
        await page.keyboard.insert_text(token_of(client, exp=1))
        await page.keyboard.press("Enter")
        await expect(alert).to_contain_text("the token has expired; get another one")
        await page.keyboard.insert_text(token_of(client, scope="events:read"))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("50 events; there are more.")
        limit = page.get_by_label("limit", exact=True)
        await limit.focus()
        await page.keyboard.insert_text("many")
        await page.keyboard.press("Enter")
        await expect(alert).to_contain_text("limit: wanted a number from 1 to 1000, found 'many'")
        await expect(limit).to_be_focused()
        await expect(limit).to_have_attribute("aria-invalid", "true")
        assert await barriers(page) == []
        across = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(across) == 0, "nothing is scrolled sideways"
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.emulate_media(color_scheme="light")
        assert dark != await page.evaluate("getComputedStyle(document.body).backgroundColor")
        # What a policy did not let through would show up here.
        await page.goto(f"{address}#/events/00000000-0000-0000-0000-000000000001")
        await expect(page.get_by_role("status")).to_contain_text("need the scope payload:read")
        await page.get_by_role("button", name="Forget the token").focus()
        await page.keyboard.press("Enter")
        await expect(login).to_be_focused()
        await expect(page.locator("#view")).to_be_empty()
        assert wrong == []


async def test_what_an_event_holds_stays_text(archive: FilledArchive, client: Client) -> None:
    async with archive.place as place:
        await place.root.execute(HOSTILE)
        try:
            address = f"{client.http.base_url}/"
            async with browser() as chromium, opened(chromium, address) as (page, wrong):
                await log_in(page, token_of(client, tenant="evil"))
                await expect(page.get_by_role("status")).to_have_text("1 event.")
                row = page.locator("tbody tr")
                await expect(row).to_contain_text("<img src=x onerror=alert(1)>")
                await expect(row).to_contain_text("</td><script>alert(1)</script>")
                await expect(row).to_contain_text("a/\\u{202e}b\\u{a}%2F?#")
                await row.get_by_role("link").last.click()
                await expect(page.get_by_role("listitem")).to_have_count(1)
                await page.get_by_text("Payload", exact=True).click()
                shown = page.get_by_label("Payload")
                await expect(shown).to_contain_text("12345678901234567890123")
                await expect(shown).to_contain_text("1.10")
                assert await page.locator("main img, main script").count() == 0
                assert wrong == []
        finally:
            await place.root.execute("DELETE FROM archive.events WHERE tenant = 'evil'")


async def test_a_browser_is_told_what_it_may_do(client: Client) -> None:
    page = await client.http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert " style=" not in page.text
    for path in ("/", "/page/page.js", "/page/page.css", "/v1/events", "/openapi.json", "/nothing"):
        headers = (await client.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


async def test_there_is_no_page_where_it_is_not_wanted(archive: FilledArchive) -> None:
    async with serving(archive.config, archive.issuer, page=False) as client:
        for path in ("/", "/page/page.js"):
            assert (await client.http.get(path)).status_code == 404
        assert (await client.get("/v1/events")).status_code == 200
