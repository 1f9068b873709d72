"""Types for consumers in other languages: quicktype, run by npx, in one version.

quicktype makes TypeScript and Go of JSON Schema, is kept well, and comes from the npm registry. Its
version is here, so that the same schemas make the same code everywhere.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from outbox_operator.catalog.code_schemas import HOLDER, Language, endless, held, is_held, prepared
from outbox_operator.catalog.go_text import tidied
from outbox_operator.errors import DependencyError, SpecError

QUICKTYPE: Final = "quicktype@26.0.0"
_SECONDS: Final = 300
_LONGEST_ERROR: Final = 500
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    # Moments stay text: what JSON.parse returns is no Date, whatever the type says.
    "typescript": ("--just-types", "--no-date-times", "--acronym-style", "original"),
    "go": (),
}

_TYPE: Final[Mapping[str, str]] = {
    "typescript": r"^export (?:interface|type|enum|class) ((?i:{}))\b",
    "go": r"^type ((?i:{}))\b",
}
"""The type of a name as quicktype spells it: it takes AB for one word, and Id is ID in Go."""

_PAYLOAD: Final[Mapping[str, str]] = {
    "typescript": r"^export interface ((?i:{})) ",
    "go": r"^type (?i:{}) struct {{\n\tPayload +(\S+) ",
}
"""What holds a payload, and how its type is called, in the type of a name."""

_ALIAS: Final[Mapping[str, str]] = {
    "typescript": 'export type {} = {}["payload"];\n',
    "go": "type {} = {}\n",
}
"""A name for what is held."""

_TAKEN: Final[Mapping[str, str]] = {
    "typescript": r"^(?:export )?(?:interface|type|enum|class) (\w+)",
    "go": r"^(?:type|func) (\w+)|^\t(\w+) +\w+ += ",  # a constant has its type beside it
}
"""What quicktype's code declares."""

_OF_OTHERS: Final[Mapping[str, tuple[str, ...]]] = {"typescript": ("Array", "Date"), "go": ()}
"""Names that quicktype gives no type, as what it writes may mean those of the language."""


def type_name(event_type: str) -> str:
    """Return the name of a type in code: `OrderCreatedV2` of `order.created.v2`."""
    words = re.findall(r"[A-Za-z0-9]+", event_type)
    name = "".join(word[:1].upper() + word[1:] for word in words)
    return name if name[:1].isalpha() else f"Event{name}"


def _names(event_types: Iterable[str], language: Language) -> dict[str, str]:
    """Types of events by the name of their type in code.

    Raises:
        SpecError: Two would have one name.
    """
    names: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for event_type in sorted(event_types):
        name = type_name(event_type)
        if name in _OF_OTHERS[language]:
            name += "Event"
        other = spelled.setdefault(name.lower(), event_type)
        if other != event_type:
            raise SpecError(f"{event_type!r} and {other!r} are both {name} in code")
        names[name] = event_type
    return names


def write(
    schemas: Mapping[str, Mapping[str, Any]], language: Language, out: Path, *, package: str
) -> None:
    """Write a file with the types of all events, and which event has which.

    Args:
        schemas: Documents of `outbox catalog export`, by type.
        language: Of the file.
        out: The file.
        package: Its package, in Go.

    Raises:
        SpecError: Two events would have one name; a payload has no type in the language; the
            file cannot be written.
        DependencyError: npx is not there, or what it runs fails or leaves a type out.
    """
    names = _names(schemas, language)
    made_of = {name: prepared(schemas[one]) for name, one in names.items()}
    for name, schema in made_of.items():
        if (path := endless(schema, language)) is not None:
            raise SpecError(
                f"event {names[name]!r}: {path or 'its payload'}: what holds itself has no type in "
                f"{language}; wanted a class with fields in between, or JsonValue of pydantic for "
                "any JSON"
            )
    with tempfile.TemporaryDirectory() as folder:
        for name, schema in made_of.items():
            # The class of an event may have any name; the title is what quicktype takes.
            titled = {**schema, "title": name}
            if is_held(schema, language):
                titled = held(titled)
                if titled["title"] in names:
                    raise SpecError(
                        f"{titled['title']} would be the type of {names[titled['title']]!r} and "
                        f"that which holds {names[name]!r}; rename one of them"
                    )
            (Path(folder) / f"{name}.schema").write_text(json.dumps(titled))
        made = Path(folder) / "made"
        sources = [str(path) for path in sorted(Path(folder).glob("*.schema"))]
        extra = ["--package", package] if language == "go" else []
        if len(sources) == 1:  # quicktype calls the type of a single file as it does `--out`
            extra += ["--top-level", titled["title"]]
        _run(
            ["npx", "--yes", QUICKTYPE, "--src-lang", "schema", "--lang", language,
             *_OPTIONS[language], *extra, "--out", str(made), *sources]
        )  # fmt: skip
        types = made.read_text() if made.exists() else ""  # of what it inlines it makes no file
    if language == "go":
        types = tidied(types)
    text = f"{_HEAD.format(version=QUICKTYPE)}\n{complete(types, schemas, names, language)}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{error.filename}: {error.strerror}") from error


_HEAD: Final = "// Code generated by outbox catalog code with {version}. DO NOT EDIT.\n"


def complete(
    types: str,
    schemas: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
    language: Language,
) -> str:
    """Return quicktype's code with what it leaves out, and with which event has which type.

    Args:
        types: What quicktype made.
        schemas: Documents, by type of event.
        names: Types of events, by the name of their type in code.
        language: Of the code.

    Raises:
        SpecError: A name that we need is one of quicktype's.
        DependencyError: quicktype made no type of an event.
    """
    taken = {
        next(filter(None, found.groups())) for found in re.finditer(_TAKEN[language], types, re.M)
    }
    parts = [types] if types else []
    missing: list[str] = []
    for name, event_type in names.items():
        in_holder = is_held(schemas[event_type], language)
        if in_holder and name in taken:
            raise SpecError(
                f"{name} is the type of {event_type!r} and the name of a class or value in a "
                "payload; rename one"
            )
        spelled = re.search(_TYPE[language].format(name), types, re.M)
        if spelled and not in_holder:
            if name not in taken and language == "typescript":
                parts.append(f"export type {name} = {spelled[1]};\n")
            continue
        holder = re.search(_PAYLOAD[language].format(f"{name}{HOLDER}"), types, re.M)
        if in_holder and holder:
            parts.append(_ALIAS[language].format(name, *holder.groups()))
        else:
            missing.append(name)
    if missing:
        raise DependencyError(
            f"{QUICKTYPE} made no type {', '.join(missing)}; wanted names that {language} has not "
            "taken"
        )
    return "\n".join([*parts, _index(names, language, taken | set(names))])


def _index(names: Mapping[str, str], language: Language, taken: Collection[str] = ()) -> str:
    """Which event has which type, by names that nothing else has."""
    quoted = {name: json.dumps(event_type) for name, event_type in names.items()}
    if language == "typescript":
        lines = [f"    {event_type}: {name};\n" for name, event_type in quoted.items()]
        events = _free("Events", "EventsByType", taken)
        head, end = f"/** Payloads by type of event. */\nexport interface {events} {{\n", "}\n"
    else:
        constants = {name: _free(f"Type{name}", f"EventType{name}", taken) for name in names}
        width = max(map(len, constants.values()))
        lines = [f"\t{constants[name]:<{width}} = {of}\n" for name, of in quoted.items()]
        head, end = "// Types of events.\nconst (\n", ")\n"
    return head + "".join(lines) + end


def _free(first: str, second: str, taken: Collection[str]) -> str:
    """The first of two names that nothing else has.

    Raises:
        SpecError: Neither is free.
    """
    for name in (first, second):
        if name not in taken:
            return name
    raise SpecError(f"{first} and {second} are both taken by types of payloads; rename one of them")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program and files of our own
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except FileNotFoundError as error:
        raise DependencyError("npx is not installed; it comes with Node.js 20 or newer") from error
    except subprocess.TimeoutExpired as error:
        raise DependencyError(f"{QUICKTYPE} gave no answer within {_SECONDS} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-_LONGEST_ERROR:]
        raise DependencyError(f"{QUICKTYPE} failed: {said}")
