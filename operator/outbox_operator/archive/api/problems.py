"""What is wrong with a question, as the answer says it: problem+json (RFC 9457). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

MEDIA_TYPE: Final = "application/problem+json"
_MOST_SHOWN: Final = 100
_MOST_FAULTS: Final = 20
"""That an answer names: a question may hold thousands."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field.

    Attributes:
        field: Name of the parameter, header or claim.
        wanted: What may be there.
        found: What is there, cut.
    """

    field: str
    wanted: str
    found: str


class ProblemError(Exception):
    """A question that gets no answer.

    Args:
        status: Of HTTP.
        title: What kind of problem it is; the same for all of the kind.
        detail: What it is this time, and what to do.
        faults: Of each field.
        headers: Of the answer.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        faults: tuple[Fault, ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.faults = faults
        self.headers = headers

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        found: dict[str, Any] = {
            "type": "about:blank", "title": self.title, "status": self.status,
            "detail": self.detail,
        }  # fmt: skip
        if self.faults:
            found["errors"] = [
                {"field": one.field, "wanted": one.wanted, "found": one.found}
                for one in self.faults
            ]
        return found


def bad_question(*faults: Fault) -> ProblemError:
    """A question that nobody could answer as it is; of its faults the first are named."""
    faults = faults[:_MOST_FAULTS]
    said = "; ".join(f"{one.field}: wanted {one.wanted}, found {one.found}" for one in faults)
    return ProblemError(400, "Bad question", said, faults=faults)


def forbidden(wanted: str, found: str, *, claim: str = "scope") -> ProblemError:
    """A token that is good, but not for this."""
    fault = Fault(claim, wanted, found)
    return ProblemError(
        403, "Not allowed", f"the token's {claim}: wanted {wanted}, found {found}",
        faults=(fault,),
        headers=(("WWW-Authenticate", 'Bearer error="insufficient_scope"'),),
    )  # fmt: skip


def unauthorized(why: str) -> ProblemError:
    """No token, or one that is not believed."""
    return ProblemError(
        401, "Not authenticated", why, headers=(("WWW-Authenticate", "Bearer"),)
    )  # fmt: skip


def shown(value: object) -> str:
    """What was found, for a message: short, on one line, and of this text nothing else."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
