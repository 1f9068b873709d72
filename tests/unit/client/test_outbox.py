"""What the library refuses before it talks to a database, and what it needs to be imported."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import outbox_operator.client
from outbox_operator.client import Event, EventError, Outbox
from outbox_operator.errors import SpecError


@pytest.mark.parametrize(
    ("outbox", "event", "message"),
    [
        (Outbox(), {"payload": {"a": b""}}, r"payload\.a is bytes"),
        (Outbox(), {"payload": {}, "key": 7}, "key is int, wanted text"),
        (Outbox(), {"payload": {}, "key": "a\x00"}, "key holds a NUL character"),
        (Outbox(), {"payload": {}, "routing_key": ""}, "routing_key is empty"),
        (
            Outbox(max_bytes=100),
            {"payload": "ä" * 60},
            "are 122 bytes of jsonb text, at most 100 are allowed",
        ),
        (Outbox(payload_type="bytea"), {"payload": "text"}, "payload is str, wanted bytes"),
    ],
)
async def test_refuses_bad_events_before_it_looks_at_the_connection(
    outbox: Outbox, event: dict[str, Any], message: str
) -> None:
    with pytest.raises(EventError, match=message):
        await outbox.add(None, Event(type="order.created", **event))  # type: ignore[arg-type]


async def test_refuses_what_is_no_connection() -> None:
    event = Event(type="order.created", payload={})
    with pytest.raises(TypeError, match=r"builtins\.str is not a connection"):
        await Outbox().add("postgresql://db", event)  # type: ignore[arg-type]


@pytest.mark.parametrize("schema", ["Outbox", "out-box", "", 'a"; DROP TABLE x; --', "a" * 64])
def test_refuses_odd_schema_names(schema: str) -> None:
    with pytest.raises(SpecError, match="lower-case"):
        Outbox(schema=schema)


def test_offers_what_it_says() -> None:
    for name in outbox_operator.client.__all__:
        assert hasattr(outbox_operator.client, name)


def test_needs_the_standard_library_only() -> None:
    script = (
        "import sys; import outbox_operator.client, outbox_operator.consumer;"
        "print(sorted({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)"
        "- {'outbox_operator', '__main__', '__mp_main__'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name for name in eval(done.stdout) if not name.startswith(("_", "sitecustomize"))}
    assert loaded == set()
