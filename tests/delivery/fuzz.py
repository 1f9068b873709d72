"""Rows drawn at random, column by column, and what must become of each. Pure.

Called by `delivery.content` in the world `fuzz`. Everything here can be stored in the table. What
may become a dead letter is said; everything else must arrive, byte for byte.
"""

from __future__ import annotations

import json
import random
from typing import Any, Final

_PLAIN: Final = "abcxyzABC0189-_"
_ODD: Final = (
    " .*>%\"'\\/:;,=@#$&()[]{}<>|~^`?!+\t\n\r\x01\x1f\x7f\x85\xa0äß€日本🦊"
    "\u2028\ufeff\u200d\U0010ffff"
)
_NAME: Final = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-!#$%&'*+.^_`|~"
_VALUE: Final = "abcXYZ0189 :;,=/@\"'()[]{}äß€日🦊\x01\x7f\u2028"
_NUMBERS: Final = (
    "0", "-0", "1e400", "-1e-400", "1E+30", "123456789012345678901234567890", "0.1", "1.10",
    "1e-7", "9007199254740993", "-2147483648", "1e1000",
)  # fmt: skip
_BAD_HEADERS: Final = (
    '{"x": 7}', '{"x": true}', '{"x": {"y": "z"}}', '{"x": ["y"]}', '{"bad name": "x"}',
    '{"Nats-Rollup": "all"}', '{"ce-id": "x"}', '{"Outbox-Emission": "1"}', '{"a:b": "c"}',
    '{"Description": "x"}', '{"x": "a\\nb"}', "[]", "7", '"x"', "null", '{"n": 1e1000}',
    '{"é": "x"}',
)  # fmt: skip


def _text(draw: random.Random, least: int, most: int) -> str:
    alphabet = _ODD if draw.random() < 0.5 else _PLAIN
    return "".join(draw.choice(alphabet) for _ in range(draw.randint(least, most)))


def _json(draw: random.Random, depth: int = 0) -> str:
    dice = draw.random()
    if depth > 4 or dice < 0.4:
        return draw.choice(
            (draw.choice(_NUMBERS), json.dumps(_text(draw, 0, 30)), "null", "true", "[]", "{}")
        )
    if dice < 0.7:
        return "[" + ",".join(_json(draw, depth + 1) for _ in range(draw.randint(0, 5))) + "]"
    pairs = (f"{json.dumps(_text(draw, 0, 8))}:{_json(draw, depth + 1)}" for _ in range(3))
    return "{" + ",".join(pairs) + "}"


def _headers(draw: random.Random) -> str:
    found = {}
    for _ in range(draw.randint(0, 4)):
        name = "x" + "".join(draw.choice(_NAME) for _ in range(draw.randint(0, 12)))
        found[name] = "".join(draw.choice(_VALUE) for _ in range(draw.randint(0, 40))).strip()
    return json.dumps(found, ensure_ascii=draw.random() < 0.5)


def changes(draw: random.Random, *, jsonb: bool) -> dict[str, Any]:
    """What differs from an ordinary event, `poison` among it when it need not arrive."""
    found: dict[str, Any] = {}
    if draw.random() < 0.5:
        found["event_type"] = _text(draw, 1, 40)
    if draw.random() < 0.3:
        found["routing_key"] = _text(draw, 0, 40)
    if draw.random() < 0.5:
        found["headers"] = _headers(draw)
    if draw.random() < 0.1:
        found |= {"headers": draw.choice(_BAD_HEADERS), "poison": True}
    if draw.random() < 0.8:
        found["payload"] = _json(draw) if jsonb else draw.randbytes(draw.randint(0, 3000))
    return found
