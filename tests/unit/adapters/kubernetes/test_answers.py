"""What tenants wrote into objects ends no decoder, and takes no more memory than it may."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outbox_operator.adapters.kubernetes.answers import MOST_MEMORY, bounded, decoded, lines
from outbox_operator.api import meta
from outbox_operator.api.resource import parse_consumer
from outbox_operator.errors import SpecError

NAMED = '"metadata": {"name": "a", "namespace": "n", "uid": "u"}'


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def an_object(spec: str, kind: str = "EventConsumer") -> str:
    return f'{{"kind": "{kind}", {NAMED}, "spec": {spec}}}'


FAULTS = {
    "as deep as the API server takes it": nested(9_990),
    "deeper than lists of Python go": "[" * 2_000 + "]" * 2_000,
    "a little too deep": nested(260),
    "many empty lists": "[" + ",".join(["[]"] * 60_000) + "]",
    "many numbers": "[" + ",".join(["1"] * 60_000) + "]",
    "many names": json.dumps({f"k{n}": {} for n in range(20_000)}),
    "a long text": json.dumps("x" * 1_300_000),
    "a text of escapes": '"' + "\\u003c" * 1_060_000 + '"',
    "brackets in a text, then deep": f"[{json.dumps('}]{[' * 9_000)}, {nested(9_000)}]",
}


@pytest.mark.parametrize("value", FAULTS.values(), ids=FAULTS)
def test_what_is_too_much_is_left_out_of_its_object_alone(value: str) -> None:
    faulty = an_object(f'{{"replicas": 2, "deletionPolicy": "Delete", "podTemplate": {value}}}')
    page = f'{{"items": [{an_object("{}")}, {faulty}, {an_object(nested(30))}]}}'
    for items in (
        decoded(page.encode())["items"],
        decoded(bounded(page.encode()))["items"],
        json.loads(bounded(page.encode()))["items"],
    ):
        assert items[0]["spec"] == {}
        assert items[1]["spec"].pop(meta.LEFT_OUT).startswith("it ")
        assert items[1]["spec"] == {"replicas": 2, "deletionPolicy": "Delete"}
        assert items[2]["spec"] == json.loads(nested(30))


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [
        ({"labels": {f"k{n}": "v" for n in range(20_000)}}, False),
        ({"finalizers": ["a/b"] * 200_000}, False),
        ({"ownerReferences": [{"uid": "a", "name": "b"}] * 20_000}, False),
        ({"managedFields": [{"fieldsV1": {f"f:{n}": {} for n in range(50_000)}}]}, True),
        ({"annotations": {"a": "b" * 250_000}}, True),
    ],
)
def test_lists_beside_the_specification(metadata: dict[str, Any], kept: bool) -> None:
    body = {"metadata": {"name": "a", **metadata}, "spec": {"a": 1}}
    found = decoded(json.dumps(body).encode())
    assert (found["spec"] == {"a": 1}) is kept
    assert len(json.dumps(found)) < MOST_MEMORY


def test_a_page_takes_the_memory_of_one_object_at_a_time() -> None:
    faulty = an_object(f'{{"podTemplate": {FAULTS["many empty lists"]}}}')
    page = f'{{"items": [{", ".join([faulty] * 10)}]}}'.encode()
    tracemalloc.start()
    try:
        decoded(page)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000  # all ten take 40


def test_ordinary_answers_are_as_they_were() -> None:
    values: list[Any] = [{"a": [1, 2.5, None, True, "ü\u003c"]}, {"kind": "Status"}, [], "x", 3]
    for value in values:
        assert decoded(json.dumps(value).encode()) == value
        assert bounded(json.dumps(value).encode()) == json.dumps(value).encode()


@pytest.mark.parametrize(
    "payload", [b"", b"<html>", b"{", b"[" * 5_000, b'{"a": "' + b"x" * 90_000]
)
def test_what_is_no_json_is_said_to_be_none(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"brackets|Expecting|Unterminated"):
        decoded(payload)


def test_a_specification_that_was_left_out_is_the_persons_to_mend() -> None:
    body = decoded(an_object(f'{{"podTemplate": {FAULTS["many empty lists"]}}}').encode())
    with pytest.raises(SpecError, match="spec is not read: it takes more than 1024 KiB"):
        parse_consumer(body)


class Chunks:
    """An answer that comes in pieces."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((b"a\nb\n",), [b"a", b"b"]),
        ((b"a", b"b\nc", b"\n"), [b"ab", b"c"]),
        ((b"\n\na\n", b"\n", b"b"), [b"a", b"b"]),
        ((b"x" * 300_000,) * 20 + (b"\n",), [b"x" * 6_000_000]),
        ((), []),
    ],
)
def test_lines_may_be_of_any_length(chunks: tuple[bytes, ...], expected: list[bytes]) -> None:
    async def read() -> list[bytes]:
        return [line async for line in lines(Chunks(*chunks))]

    assert asyncio.run(read()) == expected
