"""The API over HTTP: addresses, parameters, answers, and its description (OpenAPI).

What is asked is decided in `archive.api.service`. Whatever goes wrong is answered as
problem+json.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Final

import fastapi
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outbox_operator.archive.api import asking, description, places
from outbox_operator.archive.api.admission import Request
from outbox_operator.archive.api.exporting import MOST_BODY_BYTES
from outbox_operator.archive.api.metrics import ApiMetrics
from outbox_operator.archive.api.page import add_page
from outbox_operator.archive.api.problems import MEDIA_TYPE, ProblemError
from outbox_operator.archive.api.service import ArchiveApi
from outbox_operator.errors import OutboxError
from outbox_operator.version import VERSION

log = logging.getLogger(__name__)

_JSON: Final = "application/json"
_AGAIN: Final = (("Retry-After", "2"),)
# Described as they have to be; `service` is who checks them, with an answer of ours.
_Id = Annotated[str, fastapi.Path(description="Its id.", json_schema_extra=description.ID)]
_Key = Annotated[
    str,
    fastapi.Path(
        description="The key, encoded as a URL wants it.", json_schema_extra=description.KEY
    ),
]
_Report = Annotated[
    str, fastapi.Path(description="Which report.", json_schema_extra=description.REPORT)
]
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


class _Any(PathConvertor):
    """Of a key, which may hold slashes, and what else ends a line."""

    regex = r"[\s\S]*"


def make_app(api: ArchiveApi) -> FastAPI:
    """The application that answers what `api` can be asked."""
    register_url_convertor("any", _Any())
    app = FastAPI(
        title="Archive",
        summary="Events of an outbox, kept in PostgreSQL: find them, read them.",
        version=VERSION,
        docs_url=None,  # they fetch scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        default_response_class=Response,
    )
    _add_questions(app, api)
    if api.config.page:
        add_page(app)
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(OutboxError, _failure(api))
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(Exception, _bug)

    app.add_middleware(_Counted, metrics=api.metrics)
    return app


class _Stream(StreamingResponse):
    """Ends what it streams also when the client goes away in the middle."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self.body_iterator, AsyncGenerator):
                await self.body_iterator.aclose()

    async def stream_response(self, send: Send) -> None:
        """Send what comes. If no more of it can come, the answer stays without an end, which tells
        the client."""
        try:
            await super().stream_response(send)
        except OutboxError as error:
            log.warning("an export was cut off: %s", error.message)


class _Counted:
    """Counts requests, and gives every answer the headers that each has."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        started = time.monotonic()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                action = getattr(scope.get("route"), "name", "none")
                self._metrics.requests(action, str(message["status"])).inc()
                self._metrics.seconds(action).observe(time.monotonic() - started)
            await send(message)

        self._metrics.open.inc()
        try:
            await self._app(scope, receive, answer)
        finally:
            self._metrics.open.dec()


def _add_questions(app: FastAPI, api: ArchiveApi) -> None:
    vocabulary = api.vocabulary

    @app.get("/v1/events", **description.events(vocabulary))
    async def events(request: fastapi.Request) -> Response:
        asked = _asked(request)
        found = await api.events(asked)
        return _page(found.lines, _next(found, asked, newest_first=True))

    @app.get("/v1/events/{event_id}", **description.event(vocabulary))
    async def event(request: fastapi.Request, event_id: _Id) -> Response:
        return Response(await api.event(_asked(request), event_id), media_type=_JSON)

    @app.get("/v1/entities/{key:any}/history", **description.history(vocabulary))
    async def history(request: fastapi.Request, key: _Key) -> Response:
        asked = _asked(request)
        found = await api.history(asked, key)
        return _page(found.lines, _next(found, asked, newest_first=False))

    @app.post("/v1/exports", **description.export(vocabulary))
    async def export(request: fastapi.Request) -> Response:
        body = await _body(request)
        asked = replace(_asked(request), given={})
        begun, moment, pieces = await api.export(asked, body)
        return _Stream(pieces, media_type=begun.media_type, headers=begun.headers(moment))

    @app.get("/v1/exports/{export_id}", **description.manifest())
    async def manifest(request: fastapi.Request, export_id: _Id) -> Response:
        return Response(await api.manifest(_asked(request), export_id), media_type=_JSON)

    @app.get("/v1/reports/{name}", **description.report(vocabulary))
    async def report(request: fastapi.Request, name: _Report) -> Response:
        text, as_csv = await api.report(_asked(request), name)
        return Response(text, media_type="text/csv" if as_csv else _JSON)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(json.dumps(document(app)), media_type=_JSON)


def document(app: FastAPI) -> dict[str, Any]:
    """How the API describes itself, as OpenAPI."""
    found = app.openapi()
    found.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    return found


def _asked(request: fastapi.Request) -> Request:
    return Request(
        authorization=request.headers.get("authorization"),
        client=None if request.client is None else request.client.host.removeprefix("::ffff:"),
        given=asking.as_lists(request.query_params.multi_items()),
    )


async def _body(request: fastapi.Request) -> bytes:
    """The body, of which no more is read than may be there."""
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BODY_BYTES:
                raise ProblemError(413, "Too large", f"a body is {MOST_BODY_BYTES} bytes at most")
    except ClientDisconnect as error:  # nobody reads this
        raise ProblemError(400, "Cut off", "the body did not come as a whole") from error
    return body


def _next(found: Any, asked: Request, *, newest_first: bool) -> str | None:
    if found.last is None:
        return None
    [order] = asked.given.get("order") or ["newest" if newest_first else "oldest"]
    return places.encode(found.last, newest_first=order == "newest")


def _page(lines: Any, after: str | None) -> Response:
    text = f'{{"events":[{",".join(lines)}],"next":{json.dumps(after)}}}'
    return Response(text, media_type=_JSON)


async def _problem(_: fastapi.Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - what it is registered for
    return Response(
        json.dumps(error.document()), error.status, dict(error.headers), media_type=MEDIA_TYPE
    )


def _failure(api: ArchiveApi) -> Callable[[fastapi.Request, Exception], Awaitable[Response]]:
    async def answer(request: fastapi.Request, error: Exception) -> Response:
        assert isinstance(error, OutboxError)  # noqa: S101 - what it is registered for
        log.warning("a question was not answered: %s", error.message)
        api.metrics.errors(error.reason).inc()
        # Where the servers are is no business of who asks.
        problem = ProblemError(
            503, "Not available", f"the archive cannot answer now ({error.reason}); ask again",
            headers=_AGAIN,
        )  # fmt: skip
        return await _problem(request, problem)

    return answer


async def _refusal(request: fastapi.Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    said = {404: "there is nothing at this address; see /openapi.json"}
    detail = said.get(error.status_code, str(error.detail))
    headers = tuple((error.headers or {}).items())
    return await _problem(
        request, ProblemError(error.status_code, str(error.detail), detail, headers=headers)
    )


async def _bug(request: fastapi.Request, _: Exception) -> Response:
    return await _problem(
        request, ProblemError(500, "Internal error", "a fault of the server; its log says more")
    )
