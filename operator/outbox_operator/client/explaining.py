"""Say what is to be done about a driver's error, which knows nothing of pipelines.

Used by `client.outbox`, `client.inbox`, `client.sending` and the synchronous half. Pure.
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = frozenset({"42P01", "3F000"})
"""No such table; no such schema."""
_FORBIDDEN: Final = "42501"


def sqlstate(error: BaseException) -> str:
    """The code of PostgreSQL in an error of any driver, or of SQLAlchemy or Django around it."""
    for found in (error, getattr(error, "orig", None), error.__cause__):
        for name in ("sqlstate", "pgcode"):
            code = getattr(found, name, None)
            if isinstance(code, str):
                return code
    return ""


def explain(error: BaseException, place: str, role: str) -> None:
    """Add to an error what it means for the one who wrote the program.

    Args:
        error: Of the driver; it stays what it is.
        place: The table, quoted.
        role: Who may write it.
    """
    code = sqlstate(error)
    if code in UNKNOWN:
        error.add_note(
            f"{place} was not found: `schema` has to be that of the pipeline, and the connection "
            "one to its database; the operator, or `outbox migrate`, makes the table"
        )
    elif code == _FORBIDDEN:
        error.add_note(f"to write {place} the role of this connection has to be {role}")
