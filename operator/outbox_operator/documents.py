"""From JSON documents to checked values, with errors that name the field. Needs pydantic.

The roles load their configuration here; resources of the API and payloads of events are checked
by the same library and their faults told in the same words.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from outbox_operator.errors import SpecError
from outbox_operator.wire.config import CONFIG_PATH_ENV

T = TypeVar("T")


def problems(error: ValidationError, *under: str) -> str:
    """What is wrong, each field with its rule and never with its value, which may be a secret.

    Args:
        error: Of the validation.
        under: Where the value stands in a larger document.
    """
    return "; ".join(
        f"{'.'.join(map(str, (*under, *found['loc']))) or 'document'}: {found['msg']}"
        for found in error.errors(include_url=False, include_input=False)
    )


def parse(kind: type[T], text: str | bytes, where: str) -> T:
    """A configuration in a JSON document.

    Args:
        kind: What it is to be.
        text: The document.
        where: Its name, for messages.

    Raises:
        SpecError: It is none; names each field with what is wrong.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise SpecError(f"configuration {where}: {problems(error)}") from error


def read(path: str | None, role: str) -> tuple[bytes, str]:
    """The text of the configuration file of a process, and its name.

    Args:
        path: Default: the environment variable `OUTBOX_CONFIG`.
        role: Whose configuration it is, for messages.

    Raises:
        SpecError: The variable is not set, or the file cannot be read; names it.
    """
    name = path or os.environ.get(CONFIG_PATH_ENV)
    if not name:
        raise SpecError(
            f"no configuration: set {CONFIG_PATH_ENV} to the path of the {role}'s JSON file"
        )
    try:
        return Path(name).read_bytes(), name
    except OSError as error:
        raise SpecError(f"configuration {name}: cannot be read: {error.strerror}") from error
