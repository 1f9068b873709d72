"""Connections to an HTTP endpoint whose answers count from their heads on."""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from typing import Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

_END_OF_HEAD: Final = b"\r\n\r\n"
_INTERIM: Final = re.compile(rb"HTTP/1\.\d 1\d\d")
"""An answer before the answer, such as 100 or 103."""
_MOST_HEADS: Final = 8


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
        rest = data
        for _ in range(_MOST_HEADS):
            head, end, rest = rest.partition(_END_OF_HEAD)
            super().data_received(head + end)
            if not rest or self.exception() is not None:
                return
            if not _INTERIM.match(head):
                break
        super().data_received(rest)


def _head_first(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return _HeadFirst(loop)
