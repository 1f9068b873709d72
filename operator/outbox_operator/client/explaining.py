"""Say what is to be done about a driver's error, which knows nothing of pipelines.

Used by `client.outbox`, `client.inbox`, `client.sending` and the synchronous half. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_UNKNOWN: Final = "42P01"
_UNKNOWN_SCHEMA: Final = "3F000"
_FORBIDDEN: Final = "42501"
_OTHER_TYPE: Final = "42804"


@dataclass(frozen=True, slots=True)
class Place:
    """A table of ours that an application writes.

    Attributes:
        schema: Of the table.
        table: Its name.
        maker: Who makes it, where it is not there.
        writer: Whose role may write it.
    """

    schema: str
    table: str
    maker: str
    writer: str

    def explain(self, error: BaseException) -> None:
        """Add to an error of a driver what it means for the one who wrote the program.

        Nothing if it is about something else: what a trigger writes, or a statement before.
        """
        code, said = _of_the_server(error)
        name = f"{self.schema}.{self.table}"
        if (code == _UNKNOWN and name in said) or (
            code == _UNKNOWN_SCHEMA and re.search(rf"\b{self.schema}\b", said)
        ):
            error.add_note(
                f"{name} is not in this database: `schema` has to be the right one, and the "
                f"connection one to its database; {self.maker}"
            )
        elif code == _FORBIDDEN and re.search(rf"\b({self.schema}|{self.table})\b", said):
            error.add_note(
                f"to write {name} the role of this connection has to be {self.writer}, and "
                "policies of yours on it have to let the row in"
            )
        elif code == _OTHER_TYPE and '"payload"' in said:
            error.add_note("`payload_type` has to be the `outbox.payloadType` of the pipeline")


def sqlstate(error: BaseException) -> str:
    """The code of PostgreSQL in an error of any driver, or of SQLAlchemy or Django around it."""
    return _of_the_server(error)[0]


def _of_the_server(error: BaseException) -> tuple[str, str]:
    """Code and words. What is around the driver's error shows the statement too."""
    for found in (error, getattr(error, "orig", None), error.__cause__):
        for name in ("sqlstate", "pgcode"):
            code = getattr(found, name, None)
            if isinstance(code, str):
                return code, str(found)
    return "", ""
