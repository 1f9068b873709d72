"""The issuer's public keys, from its JWKS address or from a file, and when to ask again.

Kept in memory: a token costs no request. A key that is not known is asked for at once, though not
more often than every few seconds, whatever tokens name; so a new key works as soon as the issuer
has it, and one that it has taken back is believed no longer than `FRESH_SECONDS`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from outbox_operator.adapters.tls import client_context, system_context
from outbox_operator.counted import counted
from outbox_operator.errors import DependencyError
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.wire.archive_api import JwtConfig

log = logging.getLogger(__name__)

FRESH_SECONDS: Final = 300.0
AGAIN_SECONDS: Final = 10.0
"""Between two requests at least."""
KEPT_SECONDS: Final = 24 * 3600.0
"""So long the last keys are believed while the issuer does not answer."""
_ANSWER_SECONDS: Final = 5.0
_MOST_BYTES: Final = 256 * 1024
_MOST_KEYS: Final = 64
_KINDS: Final = ("RSA", "EC", "OKP")
"""Of keys that have a public half."""


class KeysUnknownError(DependencyError):
    """Nobody knows the issuer's keys: no token can be believed or refused."""


class IssuerKeys:
    """The keys of an issuer.

    Args:
        config: Where they are.
        state: Is told how it is.
    """

    def __init__(self, config: JwtConfig, state: ServerState) -> None:
        self._config = config
        self._state = state
        self._where = config.jwks_url or config.jwks_file or ""
        self._keys: Mapping[str, Mapping[str, Any]] | None = None
        self._read_at = self._tried_at = float("-inf")
        self._one = asyncio.Lock()

    async def find(self, kid: str) -> Mapping[str, Any] | None:
        """The key of that name; None: the issuer has none, even asked again.

        Raises:
            KeysUnknownError: Nobody knows its keys.
        """
        known = self._known()
        if known is None or kid not in known or time.monotonic() - self._read_at > FRESH_SECONDS:
            await self.refresh()
            known = self._known()
        if known is None:
            raise KeysUnknownError(f"the keys of issuer {self._config.issuer} are not known")
        return known.get(kid)

    async def refresh(self) -> None:
        """Ask for them, unless that was done a moment ago; what fails is told to the state."""
        async with self._one:
            if time.monotonic() - self._tried_at < self._pause():
                return
            self._tried_at = time.monotonic()
            try:
                keys = _keys(await self._read())
            except (OSError, aiohttp.ClientError, ValueError, RecursionError) as error:
                said = str(error).split("\n", 1)[0][:200] or type(error).__name__
                self._state.set(
                    self._known() is not None, f"keys of the issuer at {self._where}: {said}"
                )
                return
            self._keys, self._read_at = keys, time.monotonic()
            self._state.set(True, f"{counted(len(keys), 'key')} of the issuer from {self._where}")

    def _pause(self) -> float:
        """A file costs nothing, and may be another one from one moment to the next."""
        return 1.0 if self._config.jwks_file is not None else AGAIN_SECONDS

    def _known(self) -> Mapping[str, Mapping[str, Any]] | None:
        return self._keys if time.monotonic() - self._read_at < KEPT_SECONDS else None

    async def _read(self) -> bytes:
        if self._config.jwks_file is not None:
            return _bounded(_content(self._config.jwks_file))
        url = self._config.jwks_url or ""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.get(url, ssl=self._tls(), allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise ValueError(f"status {answer.status}")
                return _bounded(await answer.content.read(_MOST_BYTES + 1))
        except TimeoutError as error:
            raise ValueError(f"no answer within {_ANSWER_SECONDS:g} s") from error

    def _tls(self) -> Any:
        if self._config.ca_file is None:
            return system_context()
        return client_context(ca_pem=Path(self._config.ca_file).read_text("ascii", "ignore"))


def _content(path: str) -> bytes:
    """Of a file of a few kilobytes, which a volume holds in memory."""
    with Path(path).open("rb") as file:
        return file.read(_MOST_BYTES + 1)


def _bounded(text: bytes) -> bytes:
    if len(text) > _MOST_BYTES:
        raise ValueError(f"over {_MOST_BYTES} bytes")
    return text


def _keys(text: bytes) -> dict[str, Mapping[str, Any]]:
    """Keys by their names. Those that sign nothing, or that have no public half, are left out."""
    document = json.loads(text)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError('wanted {"keys": […]}, found something else')
    if len(listed) > _MOST_KEYS:
        raise ValueError(f"wanted {_MOST_KEYS} keys or less, found {len(listed)}")
    return {
        one["kid"]: one
        for one in listed
        if isinstance(one, dict)
        and isinstance(one.get("kid"), str)
        and one.get("kty") in _KINDS
        and one.get("use", "sig") == "sig"
    }
