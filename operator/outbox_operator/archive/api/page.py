"""The page at `/`, for people: files that a browser gets as they are, and what it may do with them.

They hold nothing of the archive: everybody may have them. The page asks the API as any program
does, with a token that whoever looks at it gives it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final

from fastapi import FastAPI, Response

_TYPES: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript; charset=utf-8",
    "asking.js": "text/javascript; charset=utf-8",
    "showing.js": "text/javascript; charset=utf-8",
}
_HEADERS: Final = {
    # Files of this server and nothing else: no script or style in the page itself, no form that
    # is sent anywhere, and no text that becomes markup.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def add_page(app: FastAPI) -> None:
    """Serve the page, beside the API that it asks."""
    folder = resources.files(__package__) / "static"
    for name, media_type in _TYPES.items():
        content = (folder / name).read_bytes()
        path = "/" if name == "index.html" else f"/page/{name}"
        app.get(path, include_in_schema=False, name="page")(_answer(content, media_type))


def _answer(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        return Response(content, headers=_HEADERS, media_type=media_type)

    return page
