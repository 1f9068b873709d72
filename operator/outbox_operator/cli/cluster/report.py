"""What a verb found, in every form: text for people, JSON and YAML for programs, names. Pure.

Facts are frozen dataclasses and say each thing once; text is made of the same facts. A fact that
is not known is None, and null in JSON and YAML.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.cli.cluster.screen import Screen, clean
from outbox_operator.plan.amounts import span
from outbox_operator.wire.times import format_time

_PROSE: Final = "prose"
_OF_FINDINGS: Final = ("message", "remedy")


def prose(**default: Any) -> Any:
    """A field of facts that holds sentences of ours: these name commands, which `Screen.words` has
    as they are typed. All other fields are data of somebody, and stay as they are."""
    return dataclasses.field(metadata={_PROSE: True}, **default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a verb hands back.

    Attributes:
        facts: A dataclass, or lists and mappings of them.
        lines: The text on a screen.
        names: `kind.group/name` of what it speaks of, as `kubectl -o name` has it.
        problems: What kept it from knowing all; names cannot say it, so standard error does.
        well: Whether the exit code is 0.
    """

    facts: Any
    lines: Callable[[Screen], Iterable[str]]
    names: Sequence[str] = ()
    problems: Sequence[str] = ()
    well: bool = True


def rendered(report: Report, form: str, screen: Screen, *, one_line: bool = False) -> str:
    """The report in a form.

    Args:
        report: What was found.
        form: One of `options.FORMS`.
        screen: For text, and the words of sentences in every form.
        one_line: JSON without line breaks, one document a line, for `--watch`.
    """
    if form == "name":
        return "".join(f"{clean(name)}\n" for name in report.names)
    if form == "json":
        found = document(report.facts, screen.words)
        return json.dumps(found, indent=None if one_line else 2) + "\n"
    if form == "yaml":
        import yaml

        found = document(report.facts, screen.words)
        text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True)
        if not text.replace("\n", "").isprintable():  # a terminal would obey it
            text = yaml.safe_dump(found, sort_keys=False)
        return f"---\n{text}" if one_line else text
    return "".join(f"{line}\n" for line in report.lines(screen))


def document(value: Any, words: Callable[[str], str] = str) -> Any:
    """Facts as JSON has them: names in camelCase, times in RFC 3339.

    Args:
        value: The facts.
        words: Has fields of `prose` in the words of a place.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found: dict[str, Any] = {}
        for one in dataclasses.fields(value):
            held = document(getattr(value, one.name), words)
            found[camel(one.name)] = _said(held, words) if one.metadata.get(_PROSE) else held
        return found
    if isinstance(value, datetime):
        return format_time(value, "seconds")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): document(one, words) for key, one in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [document(one, words) for one in value]
    return value


def _said(value: Any, words: Callable[[str], str]) -> Any:
    """A field of `prose` in some words; of findings and failures, what they say and advise."""
    if isinstance(value, str):
        return words(value)
    if isinstance(value, list):
        return [_said(one, words) for one in value]
    if isinstance(value, dict):
        return {
            name: one if isinstance(one, str) and name not in _OF_FINDINGS else _said(one, words)
            for name, one in value.items()
        }
    return value


def camel(name: str) -> str:
    """`oldest_age_seconds` as `oldestAgeSeconds`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def object_name(kind: str, name: str) -> str:
    """`outboxpipeline.outbox.dev/orders`, as `kubectl -o name` has it."""
    return f"{kind.lower()}.{meta.GROUP}/{name}"


def moment(text: str | None) -> datetime | None:
    """A time of a resource; None: there is none that can be read."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def ago(then: datetime | None, now: datetime) -> str:
    """How long ago a time was."""
    return "never" if then is None else f"{span((now - then).total_seconds())} ago"


def count(number: int | None, *, at_least: bool = False) -> str:
    """A number for people; `?`: it is not known."""
    return "?" if number is None else f"{number}{'+' if at_least else ''}"
