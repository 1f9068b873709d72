"""What JSON takes in memory, told before it is decoded: servers that tenants name wrote it.

A dense text of JSON, `[],[],…`, takes twenty times its size when it becomes values.
"""

from __future__ import annotations

import json
from typing import Any, Final

NODE_BYTES: Final = 64
"""Of a value, roughly."""
MOST_MEMORY: Final = 8 * 1024 * 1024
"""Of an answer: the catalog of an outbox with fifty thousand partitions takes it."""
_MARKS: Final = (b"{", b"[", b",")
"""There are no more values in a text than these."""


def memory_of(text: bytes) -> int:
    """Bytes that a text of JSON takes as values, roughly and at most."""
    return len(text) + NODE_BYTES * sum(map(text.count, _MARKS))


def decoded_within(text: str | bytes, most: int = MOST_MEMORY) -> Any:
    """The value of a text of JSON.

    Args:
        text: From whoever it is.
        most: Bytes of memory that it may take, roughly.

    Raises:
        ValueError: It takes more, or is no JSON.
        RecursionError: It is nested too deep.
    """
    raw = text.encode() if isinstance(text, str) else text
    if memory_of(raw) > most:
        raise ValueError(f"an answer that takes more than {most} bytes")
    return json.loads(raw)
