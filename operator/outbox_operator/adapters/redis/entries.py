"""Events as entries of a stream, and back. Pure.

An entry has a field for each header, of the same name, and its payload in `Outbox-Data`. Its id is
the event's number within the shard, `<number>-0`: a stream takes only ids that grow, so that
what is old is refused by the server itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from outbox_operator.adapters.sink import Message, TailMessage
from outbox_operator.wire.headers import EMISSION, EVENT_ID, EVENT_TYPE, MSG_ID

DATA_FIELD: Final = b"Outbox-Data"
LARGEST_NUMBER: Final = 2**62
"""Of an event: cursors keep them with a sign, and there has to be room above."""
MOST_FIELDS: Final = 3000
"""Of an entry: Lua hands no more than 8000 texts to a command."""
MOST: Final = 2**63 - 1
"""What a status takes."""
_BEGIN: Final = len("NATS/1.0\r\n")
_CRLF: Final = "\r\n"
_HEADER: Final = re.compile(r"([^:\r\n]+): ([^\r\n]*)\r\n")
_DATA: Final = f"${len(DATA_FIELD)}\r\n{DATA_FIELD.decode()}\r\n$"
_REMEMBERED: Final = 512
_LONGEST_REMEMBERED: Final = 100
"""Of names of headers, so many and so long are kept ready at most: whoever writes rows makes them
up, and each may have 64 kB."""
_EVENT_TYPE: Final = EVENT_TYPE.encode()
_ID: Final = re.compile(rb"([0-9]{1,20})-([0-9]{1,20})")


def number(found: object) -> int:
    """A number as a server says it, which may say anything. Raises TypeError: it is none."""
    if not isinstance(found, int):
        raise TypeError
    return max(0, min(found, MOST))


def companion(key: str) -> str:
    """Name the key that goes with a stream; in a cluster both are in one slot."""
    return f"{{{key}}}:outbox"


class _Names(dict[str, str]):
    """Names of headers as arguments of a command, up to the length of their value."""

    def __missing__(self, name: str) -> str:
        found = f"${len(name)}\r\n{name}\r\n$"
        if len(self) >= _REMEMBERED:
            self.clear()
        if len(name) <= _LONGEST_REMEMBERED:
            self[name] = found
        return found


_NAMES: Final = _Names()


def packed(message: Message) -> tuple[str, int, bytes]:
    """Make an entry of a message: what `append.lua` takes of it, in the protocol of Redis.

    By hand, because a driver packs each of the twenty texts of an event by itself, which takes
    three times as long as all of this.

    Returns:
        The entry's number; how many arguments there are; and these, but for the payload, which
        follows, and the end of its line.

    Raises:
        ValueError: It has no number, too many headers, or one that is none.
    """
    # Run for every event. Characters of a head stand for bytes, so lengths are those of bytes.
    _, head, payload = message
    pairs = _HEADER.findall(head, _BEGIN)
    if len(pairs) != head.count(_CRLF) - 2:
        raise ValueError("a header is not a name and a value")
    number = next((value for name, value in reversed(pairs) if name == EMISSION), None)
    if number is None:
        raise ValueError("it has no number")
    names = _NAMES
    fields = [
        f"{names[name]}{len(value)}\r\n{value}\r\n"
        for name, value in pairs
        if name != EMISSION and name != MSG_ID
    ]
    if len(fields) > MOST_FIELDS:
        raise ValueError(f"an entry may have {MOST_FIELDS} headers, found {len(fields)}")
    texts = str(2 * len(fields) + 2)
    text = (
        f"${len(number)}\r\n{number}\r\n${len(texts)}\r\n{texts}\r\n{''.join(fields)}"
        f"{_DATA}{len(payload)}\r\n"
    )
    return number, 2 * len(fields) + 4, text.encode("latin-1")


def packed_texts(texts: Iterable[str | int]) -> bytes:
    """Make arguments of a command of short texts, in the protocol of Redis."""
    encoded = [str(text).encode() for text in texts]
    return b"".join([b"$%d\r\n%s\r\n" % (len(text), text) for text in encoded])


def parse_id(text: bytes) -> tuple[int, int]:
    """Read the id of an entry.

    Raises:
        ValueError: It is none.
    """
    found = _ID.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no id of an entry")
    return int(found[1]), int(found[2])


def tail_message(key: str, entry: Sequence[object]) -> TailMessage:
    """Read an entry, as `read.lua` returns it."""
    found, texts = entry
    if not isinstance(found, bytes) or not isinstance(texts, list):
        raise ValueError(f"{key}: not an entry: {entry!r}")
    number, _ = parse_id(found)
    fields: Mapping[str, str] = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in zip(texts[::2], texts[1::2], strict=True)
    }
    return TailMessage(number, key, {**fields, EMISSION: str(number)})


def event_type(texts: Sequence[bytes]) -> bytes | None:
    """The type of the event in an entry, as it is stored; None: it does not say."""
    for at in range(0, len(texts) - 1, 2):
        if texts[at] == _EVENT_TYPE:
            return texts[at + 1]
    return None


def content(key: str, entry_id: bytes, texts: Sequence[bytes]) -> tuple[dict[str, str], bytes]:
    """Headers and payload of the event in an entry.

    Those of the relay get back what is in the id; others, if they have no id of an event, get one.
    """
    # Run for every event.
    headers: dict[str, str] = {}
    data = b""
    for at in range(0, len(texts) - 1, 2):
        name = texts[at]
        if name == DATA_FIELD:
            data = texts[at + 1]
        else:
            headers[name.decode("utf-8", "surrogateescape")] = texts[at + 1].decode(
                "utf-8", "surrogateescape"
            )
    if EVENT_ID in headers:
        headers[EMISSION] = entry_id.partition(b"-")[0].decode()
    else:
        headers[MSG_ID] = f"{key}:{entry_id.decode()}"
    return headers, data
