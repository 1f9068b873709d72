"""The only loader of SQL: the statements of `sql/*.sql` with their placeholders filled in.

Files are named after who uses them: `relay_…`, `inbox_…`, `dead_letters_…`, `rebase_…`, `admin_…`
(observing and migrating), `upkeep_…` (partitions and pruning), `session_…` and `lock_…`
(everybody). `{readable(column)}` is the moment next to a column's that can be read. What is made of
a plan, as DDL is, comes from `plan.postgres`.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import resources
from typing import Final

from outbox_operator.wire.tables import quoted

_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_READABLE: Final = re.compile(r"\{readable\(([a-z_.()]+)\)\}")
_READABLE_SQL: Final = (
    r"least(greatest(\1, timestamptz '0001-01-02 00:00Z'), timestamptz '9999-12-30 00:00Z')"
)
"""Columns that writers fill may hold times of 4713 BC or of the year 294276, which Python has no
moment for. A day before its ends leaves room for slack and time zones."""


@lru_cache(maxsize=1024)
def statement(name: str, *, schema: str = "", table: str = "", **parts: str | int) -> str:
    """A statement with its placeholders filled in.

    Args:
        name: Name of the file without `.sql`.
        schema: Fills `{schema}`, quoted.
        table: Of that schema; fills `{table}`, quoted and with its schema.
        **parts: SQL text or numbers that fill the placeholders of these names, as they are.
    """
    values = {"schema": quoted(schema), **parts}
    if table:
        values["table"] = f"{values['schema']}.{quoted(table)}"
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), _text(name))


@cache
def _text(name: str) -> str:
    text = resources.files(__package__).joinpath("sql", f"{name}.sql").read_text("utf-8")
    return _READABLE.sub(_READABLE_SQL, text)
