"""Connections to an HTTP endpoint whose answers count from their heads on."""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

_END_OF_HEAD: Final = b"\r\n\r\n"


class HeadFirstConnector(aiohttp.TCPConnector):
    """Makes connections on which the head of an answer is read before anything behind it.

    aiohttp parses what arrived together as one, and an error anywhere in it takes the status along:
    an event that was handled would be sent again because the answer's body is none.

    Args:
        limit: Most connections at the same time.
        trust: Whom to trust for https; True: the system's authorities.
    """

    def __init__(self, *, limit: int, trust: ssl.SSLContext | bool) -> None:
        super().__init__(limit=limit, ssl=trust)
        # The library has no setting for it; tests with broken bodies hold this.
        self._factory = functools.partial(_head_first, loop=asyncio.get_running_loop())


class _HeadFirst(ResponseHandler):
    def data_received(self, data: bytes) -> None:
        head, end, rest = data.partition(_END_OF_HEAD)
        super().data_received(head + end)
        if rest and self.exception() is None:
            super().data_received(rest)


def _head_first(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return _HeadFirst(loop)
