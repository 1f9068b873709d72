"""From the parameters of a request to what is asked of the archive, or what is wrong. Pure.

The same words in the query of a GET and in the body of an export.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from outbox_operator.adapters.postgres.archive_select import Selection, has_wildcards
from outbox_operator.archive.api import places
from outbox_operator.archive.api.problems import Fault, bad_question, shown
from outbox_operator.wire.archive import COLUMNS
from outbox_operator.wire.subjects import is_valid_filter
from outbox_operator.wire.times import format_time, parse_time

OF_PAYLOAD: Final = ("payload", "raw", "payload_sha256")
"""Columns that show what is in a payload."""
MOST_CHARACTERS: Final = 1024
"""Of one value."""
MOST_TYPES: Final = 16
PAGE: Final = 100
_UNINDEXED: Final = ("source", "subject")
"""Columns without an index that may be asked for all the same, in a stretch of time."""
_WORD: Final = re.compile(r"(?:^|[^\w-])\w")
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One that may be asked by.

    Attributes:
        name: Of it.
        about: What it is for.
        repeated: Whether it may be given several times.
    """

    name: str
    about: str
    repeated: bool = False


FILTERS: Final = (
    Parameter(
        "type", "Type of events, or several: `order.placed`, `order.*`, `auth.>`.", repeated=True
    ),
    Parameter("key", "Key of events, as the outbox's `partition_key`."),
    Parameter("id", "Id of an event."),
    Parameter("class", "Class of retention."),
    Parameter("source", "Ce-Source of events; asks for a time, because it has no index."),
    Parameter("subject", "Subject of the message; asks for a time, because it has no index."),
    Parameter("from", "Stored at or after this moment; RFC 3339."),
    Parameter("to", "Stored before this moment; RFC 3339."),
)
WORDS: Final = Parameter(
    "q", "Words of the payload: `blue shoes`, `\"blue shoes\" or boots -red`; needs the scope "
    "`payload:read`.",
)  # fmt: skip
PAGING: Final = (
    Parameter("order", "`newest` first, or `oldest` first."),
    Parameter("limit", "How many events at most."),
    Parameter("after", "What `next` of the page before says."),
    Parameter("fields", "What to return of each event, in this order, separated by commas."),
)
OF_EXPORTS: Final = (PAGING[0], PAGING[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What an archive can be asked about.

    Attributes:
        extracted: Its columns beside those that every archive has.
        page: Most events of an answer.
        searched: Whether payloads may be searched for words.
        unindexed_days: Of time that a question without an index may be about.
    """

    extracted: tuple[str, ...]
    page: int
    unindexed_days: float
    searched: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in the order in which they are returned to who asks for no fields."""
        return (*COLUMNS, *self.extracted)

    def filters(self) -> tuple[Parameter, ...]:
        """What events may be chosen by."""
        some = (*FILTERS, *((WORDS,) if self.searched else ()))
        taken = {one.name for one in (*some, *PAGING)}
        extracted = (
            Parameter(name if name not in taken else f"column.{name}", f"Column `{name}`.")
            for name in self.extracted
        )
        return (*some, *extracted)


@dataclass(slots=True)
class _Reader:
    given: Mapping[str, Sequence[str]]
    faults: list[Fault] = field(default_factory=list)

    def fault(self, name: str, wanted: str, found: object) -> None:
        self.faults.append(Fault(name, wanted, found if isinstance(found, str) else shown(found)))

    def one(self, name: str) -> str | None:
        values = self.given.get(name, ())
        if len(values) > 1:
            self.fault(name, "one value", f"{len(values)}")
        return values[0] if values else None

    def time(self, name: str) -> dt.datetime | None:
        text = self.one(name)
        moment = parse_time(text)
        if text is not None and moment is None:
            self.fault(name, "a time as 2026-01-31T12:00:00Z", shown(text))
        return moment


def selection(
    given: Mapping[str, Sequence[str]],
    vocabulary: Vocabulary,
    *,
    sees_payload: bool,
    now: dt.datetime,
    paged: bool = True,
    by_key: str | None = None,
    newest_first: bool = True,
    narrowed: bool = False,
) -> Selection:
    """What is asked for.

    Args:
        given: The values of each parameter.
        vocabulary: What may be asked.
        sees_payload: Whether the caller may see payloads.
        now: Time of the question.
        paged: Whether it is for one page; else for all.
        by_key: Key of the path, in place of a parameter.
        newest_first: Unless `order` says so.
        narrowed: Whether the caller sees one tenant's events alone, which have an index.

    Raises:
        ProblemError: It cannot be answered; names each field with what was wanted and found.
    """
    reader = _Reader(given)
    known = {one.name: one for one in (*vocabulary.filters(), *(PAGING if paged else OF_EXPORTS))}
    if by_key is not None:
        del known["key"]
    _check_names(reader, known)
    equals: list[tuple[str, str | uuid.UUID]] = [] if by_key is None else [("key", by_key)]
    for name in ("key", "class", *_UNINDEXED, *vocabulary.extracted):
        asked = f"column.{name}" if f"column.{name}" in known else name
        if asked in known and (text := reader.one(asked)) is not None:
            equals.append((name, text))
    if (text := reader.one("id")) is not None:
        if (found := as_id(text)) is None:
            reader.fault("id", "a UUID", shown(text))
        else:
            equals.append(("id", found))
    types = tuple(given.get("type", ()))
    if len(types) > MOST_TYPES:
        reader.fault("type", f"{MOST_TYPES} or less", f"{len(types)}")
    for one in types:
        if has_wildcards(one) and not is_valid_filter(one):
            reader.fault("type", "a type or a filter such as order.*", shown(one))
    words = _words(reader) if vocabulary.searched else None
    since, until = reader.time("from"), reader.time("to")
    if since is not None and until is not None and since >= until:
        reader.fault("from", f"a time before {format_time(until)}", format_time(since))
    order = reader.one("order")
    if order not in (None, "newest", "oldest"):
        reader.fault("order", "newest or oldest", shown(order))
    newest = newest_first if order is None else order == "newest"
    after = None
    if (text := reader.one("after")) is not None:
        place = places.decode(text)
        if place is None or place[1] != newest:
            reader.fault("after", "what `next` of the page before said, in the same order",
                         shown(text))  # fmt: skip
        else:
            after = place[0]
    fields = _fields(reader, vocabulary, sees_payload)
    limit = _limit(reader, vocabulary.page) if paged else None
    chosen = Selection(
        fields=fields, equals=tuple(equals), words=words, types=types, since=since, until=until,
        newest_first=newest, after=after, limit=limit,
    )  # fmt: skip
    if not narrowed and paged and not reader.faults:
        _check_range(reader, chosen, vocabulary.unindexed_days, now)
    if reader.faults:
        raise bad_question(*reader.faults)
    return chosen


def _words(reader: _Reader) -> str | None:
    """What is searched for: something that is to be there, not only what is not to be."""
    words = reader.one(WORDS.name)
    if words is not None and not _WORD.search(words):
        reader.fault(WORDS.name, "a word of letters or digits, without - before it", shown(words))
    return words


def as_id(text: str) -> uuid.UUID | None:
    """The id that a text is; None: it is none."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def is_storable(text: str) -> bool:
    """Whether a text may be in a column at all."""
    return "\0" not in text and text == text.encode(errors="replace").decode()


def _check_names(reader: _Reader, known: Mapping[str, Parameter]) -> None:
    for name, values in reader.given.items():
        if name not in known:
            wanted = f"one of {', '.join(known)}"
            if name == WORDS.name:
                wanted += "; nothing is found by words here, see textSearch of the archive"
            reader.fault(shown(name)[1:-1], wanted, "a name that is not known")
        for value in values:
            if len(value) > MOST_CHARACTERS:
                reader.fault(name, f"{MOST_CHARACTERS} characters or less", f"{len(value)}")
            elif not is_storable(value):
                reader.fault(name, "a text without NUL or halves of characters", shown(value))


def _limit(reader: _Reader, most: int) -> int:
    text = reader.one("limit")
    if text is None:
        return min(PAGE, most)
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
        reader.fault("limit", f"a number from 1 to {most}", shown(text))
        return most
    return int(text)


def _fields(reader: _Reader, vocabulary: Vocabulary, sees_payload: bool) -> tuple[str, ...]:
    visible = [one for one in vocabulary.columns if sees_payload or one not in OF_PAYLOAD]
    asked = [name for text in reader.given.get("fields", ())[:1] for name in text.split(",")]
    if len(reader.given.get("fields", ())) > 1:
        reader.one("fields")
    hidden = [name for name in asked if name in OF_PAYLOAD and not sees_payload]
    unknown = [name for name in asked if name not in vocabulary.columns]
    if hidden:
        reader.fault("fields", "a token with the scope payload:read", ", ".join(hidden))
    if unknown:
        reader.fault("fields", f"some of {', '.join(visible)}", shown(",".join(unknown)))
    known = [name for name in asked if name in vocabulary.columns] if asked else visible
    return tuple(dict.fromkeys(known)) or ("id",)


def _check_range(reader: _Reader, asked: Selection, days: float, now: dt.datetime) -> None:
    """Refuse what would read the whole archive to find little."""
    columns = {name for name, _ in asked.equals}
    globs = [one for one in asked.types if has_wildcards(one)]
    without = [*(name for name in _UNINDEXED if name in columns), *(["type"] if globs else [])]
    exact = len(asked.types) == 1 and not globs
    if not without or exact or columns - {*_UNINDEXED, "class"}:
        return
    wanted = (
        f"a time at most {days:g} days before `to`, because {' and '.join(without)} has no index "
        "of its own; or name a key, an id, one type, or an extracted column as well"
    )
    until = asked.until or now
    if asked.since is None:
        reader.fault("from", wanted, "none")
    elif (until - asked.since).total_seconds() > days * 86_400:
        reader.fault("from", wanted, format_time(asked.since))


def question(given: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """What was asked, for the log of who asked for what."""
    return {name: values[0] if len(values) == 1 else list(values) for name, values in given.items()}


def as_lists(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The values of each parameter."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
