"""What the API server answers, decoded within bounds: objects hold what tenants wrote.

A field of any shape, such as `podTemplate`, may nest as deep as the API server takes it, which ends
Python's decoders, and a megabyte of empty lists takes twenty in memory. One object would end the
operator for everybody, and the next one, too. What is too much is left out of its object, which
says so by the key `meta.LEFT_OUT`; the others are as they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from pydantic_core import from_json, to_json

from outbox_operator.adapters.json_memory import NODE_BYTES, memory_of
from outbox_operator.api import meta
from outbox_operator.errors import KubernetesError

MOST_MEMORY: Final = 1024 * 1024
"""Of a part, roughly: a pipeline with 100 consumers, a `podTemplate` each."""
MOST_DEPTH: Final = 200
"""Far beyond any pod. `from_json` reads no deeper either, and `to_json` writes little deeper."""
_FLAT_DEPTH: Final = 300
"""What is nested deeper still is cut from the text: too deep for `to_json`, and no decoder ends."""
_SMALL_BYTES: Final = 32 * 1024
"""An answer of this size can be too much by its nesting only."""
_MOST_AT_ONCE: Final = 16 * 1024 * 1024
"""Memory that an answer may take, roughly, before any of it is left out."""
_INFLATION: Final = 24
"""Of a dense text of JSON, `{},{},…`, when it becomes values."""
_LONG_BYTES: Final = 256 * 1024
_ASIDE: Final = ThreadPoolExecutor(1, thread_name_prefix="decode")
"""Not the event loop's own threads, which names of hosts that hang may hold."""
_CHUNK_BYTES: Final = 256 * 1024
_LONGEST_LINE: Final = 256 * 1024
_PARTS: Final = ("spec", "status", "data", "binaryData")
_LISTS_OF_METADATA: Final = ("labels", "annotations", "finalizers", "ownerReferences")
_LONGEST_SCALAR: Final = 256
_TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]')
_TOO_DEEP: Final = f"nested deeper than {MOST_DEPTH} levels".encode()


class Content(Protocol):
    """The body of an answer that comes bit by bit."""

    def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Its bytes, at most `n` at a time."""


def decoded(payload: bytes) -> Any:
    """The JSON value of an answer; parts of objects that are too much are left out.

    Raises ValueError: Not JSON.
    """
    if memory_of(payload) <= _MOST_AT_ONCE:
        with contextlib.suppress(ValueError):  # nested too deep, or not JSON
            value = from_json(payload)
            if len(payload) > _SMALL_BYTES and isinstance(value, dict):
                for one in (value, value.get("object"), *(value.get("items") or ())):
                    _within_bounds(one)
            return value
    try:  # each object is brought within bounds as soon as it has been read
        return json.loads(payload, object_hook=_within_bounds)
    except RecursionError:
        return json.loads(_flattened(payload), object_hook=_within_bounds)


async def decoded_aside(payload: bytes) -> Any:
    """As `decoded`; a long answer is decoded beside what else the process does, such as its Lease.

    Only the decoding of a single object holds up the event loop.
    """
    if len(payload) <= _LONG_BYTES:
        return decoded(payload)
    return await asyncio.get_running_loop().run_in_executor(_ASIDE, _uncollected, decoded, payload)


async def bounded_aside(line: bytes) -> bytes:
    """As `bounded`, in the manner of `decoded_aside`."""
    if len(line) <= _LONG_BYTES:
        return bounded(line)
    return await asyncio.get_running_loop().run_in_executor(_ASIDE, _uncollected, bounded, line)


def bounded(line: bytes) -> bytes:
    """A line of a watch for another decoder: without what is too much."""
    if len(line) <= _SMALL_BYTES:
        if line.count(b"{") + line.count(b"[") <= MOST_DEPTH:
            return line
        with contextlib.suppress(ValueError):
            from_json(line)
            return line
    return json.dumps(decoded(line)).encode()


def _uncollected(work: Callable[[bytes], Any], payload: bytes) -> Any:
    """Work without the search for cycles, which JSON has none of, in all that it makes."""
    gc.disable()
    try:
        return work(payload)
    finally:
        gc.enable()


async def lines(content: Content) -> AsyncIterator[bytes]:
    """Lines of a watch, of any length: an object may be longer than a reader's buffer."""
    parts: list[bytes] = []
    async for chunk in content.iter_chunked(_CHUNK_BYTES):
        *whole, rest = chunk.split(b"\n")
        for end in whole:
            if line := b"".join((*parts, end)):
                yield line
            parts.clear()
        if rest:
            parts.append(rest)
    if parts:
        yield b"".join(parts)


async def text_lines(content: Content, most: int | None) -> AsyncIterator[bytes | None]:
    """Lines of a text whose writer nobody knows, of a long one its begin; None at the end: all of
    it is over so many bytes."""
    line, taken = bytearray(), 0
    async for chunk in content.iter_chunked(_CHUNK_BYTES):
        taken += len(chunk)
        if most is not None and taken > most:
            yield None
            return
        *whole, rest = chunk.split(b"\n")
        for end in whole:
            if found := bytes(line + end[: _LONGEST_LINE - len(line)]):
                yield found
            line.clear()
        line += rest[: _LONGEST_LINE - len(line)]
    if line:
        yield bytes(line)


def _flattened(payload: bytes) -> bytes:
    """The answer with a text in the place of every value that is nested too deep."""
    kept: list[bytes] = []
    begin = depth = 0
    for token in _TOKENS.finditer(payload):
        first = payload[token.start()]
        if first in b"{[":
            depth += 1
            if depth == _FLAT_DEPTH + 1:
                kept += (payload[begin : token.start()], b'"', _TOO_DEEP, b'"')
        elif first in b"]}":
            depth -= 1
            if depth == _FLAT_DEPTH:
                begin = token.end()
    if depth:
        raise ValueError("brackets that do not close")
    return b"".join((*kept, payload[begin:]))


def _within_bounds(value: Any) -> Any:
    """An object without those of its parts that are too much; other values as they are."""
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(metadata, dict):
        return value
    for part in _PARTS:
        problem = _problem(value[part]) if part in value else None
        if problem is not None:
            value[part] = _scalars(value[part]) | {meta.LEFT_OUT: problem}
    if _problem(metadata) is None:
        return value
    if _problem(metadata.get("managedFields")) is not None:
        del metadata["managedFields"]
    for name in _LISTS_OF_METADATA:
        problem = _problem(metadata.get(name))
        if problem is not None:
            del metadata[name]
            # Nothing is done for it: what was in the list decides what may be done.
            value["spec"] = {meta.LEFT_OUT: f"of metadata.{name}: {problem}"}
    return value


def _scalars(part: Any) -> dict[str, Any]:
    """What says how an object is to be deleted, and how many replicas it has."""
    if not isinstance(part, Mapping):
        return {}
    return {
        key: value
        for key, value in part.items()
        if not isinstance(value, Mapping | list) and len(str(value)) <= _LONGEST_SCALAR
    }


def _problem(value: Any) -> str | None:
    """Why a part is too much."""
    try:
        if len(to_json(value)) * _INFLATION <= MOST_MEMORY:
            return None
    except ValueError:
        pass  # nested too deep for that, too
    # Walked to the bound and no further, and not by calls of itself.
    memory, level, depth = 0, [value], 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            return f"it is nested deeper than {MOST_DEPTH} levels"
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                memory += NODE_BYTES + sum(NODE_BYTES + len(key) for key in one)
                below += one.values()
            elif isinstance(one, list):
                memory += NODE_BYTES
                below += one
            else:
                memory += NODE_BYTES + (len(one) if isinstance(one, str) else 0)
            if memory > MOST_MEMORY:
                return f"it takes more than {MOST_MEMORY // 1024} KiB"
        level = below
    return None


async def document(payload: bytes) -> dict[str, Any]:
    """The JSON object of a refusal; a proxy's HTML page or plain text becomes a message."""
    found = await _object(payload)
    return {"message": _beginning(payload)} if found is None else found


async def an_object(payload: bytes, who: str) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        KubernetesError: It is none: somebody else answers in the API server's place, such as a
            proxy with a page that says that it is being looked after.
    """
    found = await _object(payload)
    if found is None:
        raise KubernetesError(f"{who}: the answer is no object: {_beginning(payload)!r}")
    return found


async def _object(payload: bytes) -> dict[str, Any] | None:
    try:
        answer = await decoded_aside(payload)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _beginning(payload: bytes) -> str:
    return payload[:200].decode("utf-8", "replace").strip()
