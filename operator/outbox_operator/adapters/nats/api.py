"""Requests to the JetStream API over a connection of the data plane, with our errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import nats.errors

from outbox_operator.adapters.nats.connection import (
    NOT_ENABLED_CODES,
    NatsAuth,
    jetstream_error,
    no_jetstream,
    no_responders,
)
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.errors import NatsError, OutboxError

_API_SECONDS: Final = 5.0
_STREAM_MISSING: Final = 10059


class StreamApi:
    """The API as far as it is about one stream."""

    def __init__(self, client: WireClient, auth: NatsAuth, stream: str) -> None:
        self.client = client
        self.auth = auth
        self.stream = stream
        self._prefix = f"$JS.{auth.domain}.API" if auth.domain else "$JS.API"

    def subject(self, verb: str) -> str:
        """Where requests of this kind go: `STREAM.INFO`."""
        return f"{self._prefix}.{verb}.{self.stream}"

    async def request(
        self, verb: str, body: Mapping[str, Any] | None, doing: str
    ) -> dict[str, Any]:
        """Ask, and return the answer.

        Args:
            doing: For messages: "read the last message".

        Raises:
            NatsError: No such stream (reason StreamMissing), or the request failed.
            UnsupportedServerError: JetStream is not enabled.
        """
        document = await self._ask(verb, body, doing)
        if "error" in document:
            raise self._refused(document["error"], doing)
        return document

    async def find(
        self, verb: str, body: Mapping[str, Any], doing: str, *, absent: int
    ) -> dict[str, Any] | None:
        """Like `request`, but None when the answer is the error code `absent`."""
        document = await self._ask(verb, body, doing)
        refusal = document.get("error")
        if refusal is None:
            return document
        if refusal.get("err_code") == absent:
            return None
        raise self._refused(refusal, doing)

    async def _ask(self, verb: str, body: Mapping[str, Any] | None, doing: str) -> dict[str, Any]:
        what = f"stream {self.stream}: {doing}"
        payload = json.dumps(body).encode() if body else b""
        try:
            answer = await self.client.request(self.subject(verb), payload, timeout=_API_SECONDS)
            return dict(json.loads(answer.data))
        except nats.errors.NoRespondersError as error:
            raise no_responders(self.auth, self.client, what) from error
        except (nats.errors.Error, TimeoutError, ValueError) as error:
            raise jetstream_error(error, self.auth, self.client, what) from error

    def _refused(self, refusal: Mapping[str, Any], doing: str) -> OutboxError:
        code = refusal.get("err_code")
        if code in NOT_ENABLED_CODES:
            return no_jetstream(self.auth)
        if code == _STREAM_MISSING:
            return NatsError(
                f"stream {self.stream} does not exist on NATS at {self.auth.address}",
                reason="StreamMissing",
            )
        return NatsError(
            f"stream {self.stream}: {doing}: refused by NATS at {self.auth.address}: "
            f"{refusal.get('description')} (error {code})",
            reason="JetStreamError",
        )
