"""System checks: what `manage.py check` says of the outbox, with `--database NAME` of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.conf import settings
from django.core import checks
from django.db import Error as DatabaseError
from django.db import connections

from outbox_operator.client.statements import table
from outbox_operator.errors import SpecError
from outbox_operator.wire import tables

SETTING: Final = "OUTBOX"
_KNOWN: Final = {"DATABASE": "default", "SCHEMA": "outbox"}


def register() -> None:
    """Have Django run the checks."""
    checks.register(check_settings)
    checks.register(check_database, checks.Tags.database)


def check_settings(app_configs: Any = None, **_: Any) -> list[checks.CheckMessage]:
    """Whether the setting `OUTBOX` names a schema and a database that can have an outbox."""
    found: object = getattr(settings, SETTING, {})
    if not isinstance(found, Mapping):
        return [
            checks.Error(
                f"setting {SETTING}: wanted a dictionary, such as {_KNOWN}, found {found!r}",
                id="outbox_operator.E001",
            )
        ]
    unknown = sorted(str(one) for one in found if one not in _KNOWN)
    if unknown:
        return [
            checks.Error(
                f"setting {SETTING}: unknown {', '.join(unknown)}; known are {', '.join(_KNOWN)}",
                id="outbox_operator.E001",
            )
        ]
    database, schema = _wanted()
    if database not in connections:
        return [
            checks.Error(
                f"setting {SETTING}['DATABASE']: wanted one of {', '.join(connections)}, found "
                f"{database!r}",
                id="outbox_operator.E002",
            )
        ]
    vendor = connections[database].vendor
    if vendor != "postgresql":
        return [
            checks.Error(
                f"database {database!r} is {vendor}, wanted postgresql: an event is a row of the "
                "same transaction",
                hint=f"Name the database with the outbox in the setting {SETTING}['DATABASE'].",
                id="outbox_operator.E003",
            )
        ]
    try:
        table(str(schema), tables.EVENTS)
    except SpecError as error:
        text = f"setting {SETTING}['SCHEMA']: {error.message}"
        return [checks.Error(text, id="outbox_operator.E004")]
    return []


def check_database(
    app_configs: Any = None, databases: Sequence[str] | None = None, **_: Any
) -> list[checks.CheckMessage]:
    """Whether the table of events is there, and this login may write into it."""
    if not databases or check_settings():
        return []
    database, schema = _wanted()
    if database not in databases:
        return []
    name = f"{schema}.{tables.EVENTS}"
    try:
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
            if not cursor.fetchone()[0]:
                return [
                    checks.Warning(
                        f"database {database!r} has no table {name}",
                        hint="The operator makes it; on a laptop `outbox dev` does.",
                        id="outbox_operator.W001",
                    )
                ]
            # Writers are granted the columns that are theirs.
            cursor.execute("SELECT has_column_privilege(%s, 'payload', 'INSERT')", [name])
            if cursor.fetchone()[0]:
                return []
    except DatabaseError as error:
        said = str(error).strip().partition("\n")[0]
        text = f"database {database!r} cannot be asked for its outbox: {said}"
        return [checks.Warning(text, id="outbox_operator.W002")]
    return [
        checks.Error(
            f"the login of database {database!r} may not INSERT into {name}",
            hint="Name its role in spec.database.grants.writers of the OutboxPipeline.",
            id="outbox_operator.E005",
        )
    ]


def _wanted() -> tuple[str, str]:
    found: dict[str, str] = {**_KNOWN, **getattr(settings, SETTING, {})}
    return found["DATABASE"], found["SCHEMA"]
