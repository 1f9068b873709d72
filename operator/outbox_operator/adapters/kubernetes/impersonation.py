"""As whom a kubeconfig's login acts: the headers of impersonation, as kubectl sends them.

Called by `adapters.kubernetes.login` alone; the `kubernetes` library does not know these fields,
and who leaves them out acts with the rights of the login itself, which are more as a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

_IN_NAMES: Final = "!#$&'*+-.^_`|~"
"""May stand in the name of a header, besides letters and digits; the mark of an escape may not."""


def headers_of(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers of an entry under `users` of a kubeconfig; empty: it acts as itself.

    Args:
        user: The fields `as`, `as-uid`, `as-groups`, `as-user-extra`, and others.

    Raises:
        ValueError: A field is of another shape, or a group or the like stands there without a user.
    """
    name = _text("as", user.get("as"))
    others = [("Impersonate-Uid", _text("as-uid", user.get("as-uid")))]
    others += [("Impersonate-Group", one) for one in _texts("as-groups", user.get("as-groups"))]
    extra = user.get("as-user-extra") or {}
    if not isinstance(extra, Mapping):
        raise ValueError("as-user-extra: wants a map of lists")
    for key, values in extra.items():
        header = f"Impersonate-Extra-{quote(_text('as-user-extra', key), safe=_IN_NAMES)}"
        others += [(header, one) for one in _texts(f"as-user-extra.{key}", values)]
    others = [(header, value) for header, value in others if value]
    if others and not name:
        raise ValueError("as-uid, as-groups and as-user-extra want a user in `as`")
    return [("Impersonate-User", name), *others] if name else []


def _texts(field: str, value: object) -> list[str]:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{field}: wants a list")
    return [_text(field, one) for one in value or ()]


def _text(field: str, value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{field}: wants text")
    return sendable(field, value or "")


def sendable(field: str, value: str) -> str:
    """A value that a header can hold, as it is. Raises ValueError, which does not show it."""
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError(f"{field}: there is a control character in it, such as a line break")
    return value
