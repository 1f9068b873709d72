"""A real Chromium, looked at as a person would who has no mouse."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

_PROGRAM = "chromium-headless-shell"


def program() -> str:
    """Path of the installed browser.

    Raises:
        FileNotFoundError: It is not installed; says how to install it.
    """
    found = shutil.which(_PROGRAM)
    if found is None:
        raise FileNotFoundError(f"no {_PROGRAM} found; install it: apt-get install -y {_PROGRAM}")
    return found


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser with nothing in it."""
    async with async_playwright() as playwright:
        # Root has no sandbox; what it opens here are our own pages.
        running = await playwright.chromium.launch(executable_path=program(), args=["--no-sandbox"])
        try:
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def opened(
    browser: Browser, address: str, **how: Any
) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page in a profile of its own, and what goes wrong in it: errors of scripts, what its policy
    forbids, and requests to elsewhere.

    Args:
        browser: Whose it is.
        address: Of the page.
        how: Options of the profile, as `color_scheme`.
    """
    context = await browser.new_context(**how)
    wrong: list[str] = []
    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            # Of an answer that is no 200 it says so by itself.
            lambda said: (
                wrong.append(said.text)
                if said.type in ("error", "warning") and "status of" not in said.text
                else None
            ),
        )
        page.on(
            "request",
            lambda request: None if request.url.startswith(address) else wrong.append(request.url),
        )
        await page.goto(address)
        yield page, wrong
    finally:
        await context.close()


async def barriers(page: Page) -> list[str]:
    """What keeps people out that see little, or use no mouse, as axe finds it."""
    found = await Axe().run(page)
    return [
        f"{one['id']}: {one['help']}: {node['html']}"
        for one in found.response["violations"]
        for node in one["nodes"]
    ]
