"""A finding: what is not well with one object, what is wanted, and the command that heals it.

Made by the checks of this room, out of facts that others have gathered; shown by `outbox doctor`
and kept in the status of a `diagnose` task. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

LONGEST_TEXT: Final = 600
"""Characters of each text of a finding; servers, pods and people may have said more."""
MOST: Final = 100
"""Findings of one look; what is beyond is counted."""


class Severity(StrEnum):
    """How bad it is, the worst first.

    Error: something does not work, or events are about to be lost. Warning: it will, unless
    somebody acts. Unknown: it could not be looked at. Info: worth knowing.
    """

    ERROR = "Error"
    WARNING = "Warning"
    UNKNOWN = "Unknown"
    INFO = "Info"


class Check(StrEnum):
    """What was looked at, in one CamelCase word; docs/reference/findings.md has a row for each."""

    NOT_LOOKED_AT = "NotLookedAt"
    NOTHING_THERE = "NothingThere"

    # Kubernetes, as the caller sees it
    KINDS_MISSING = "KindsMissing"
    OPERATOR_MISSING = "OperatorMissing"
    OPERATOR_NOT_READY = "OperatorNotReady"
    VERSIONS_DIFFER = "VersionsDiffer"
    NOT_SEEN = "NotSeen"
    NOT_WELL = "NotWell"
    SAMPLE_OLD = "SampleOld"
    DELETION_STUCK = "DeletionStuck"
    PAUSED = "Paused"
    PODS_LIMITED = "PodsLimited"
    TASK_STUCK = "TaskStuck"
    TASK_FAILED = "TaskFailed"
    POD_STUCK = "PodStuck"
    POD_NOT_READY = "PodNotReady"
    OUT_OF_MEMORY = "OutOfMemory"
    POD_RESTARTS = "PodRestarts"
    POD_EVICTED = "PodEvicted"
    POD_EVENT = "PodEvent"
    NETWORK_POLICY = "NetworkPolicy"

    # Kubernetes, as the operator sees it
    OPERATOR_RIGHT = "OperatorRight"
    POD_SAYS = "PodSays"

    # Logins of both servers
    UNREACHABLE = "Unreachable"
    CLOCK = "Clock"
    CERTIFICATE = "Certificate"
    CLEAR_TEXT = "ClearText"
    LOGIN_EXPIRES = "LoginExpires"

    # PostgreSQL
    POOLER = "Pooler"
    DATABASE_RIGHT = "DatabaseRight"
    DEFAULT_PARTITION = "DefaultPartition"
    PARTITIONS_AHEAD = "PartitionsAhead"
    LONG_TRANSACTION = "LongTransaction"
    PREPARED_TRANSACTION = "PreparedTransaction"
    REPLICATION_SLOT = "ReplicationSlot"
    CONNECTIONS = "Connections"
    COMMITS_NOT_DURABLE = "CommitsNotDurable"
    CURSOR_FOREIGN = "CursorForeign"

    # NATS
    NATS_RIGHT = "NatsRight"
    STORAGE = "Storage"
    AGES_OUT = "AgesOut"
    STREAM_FILLS = "StreamFills"
    STREAM_UNLIMITED = "StreamUnlimited"
    REPLICA_BEHIND = "ReplicaBehind"
    STREAM_OF_NOBODY = "StreamOfNobody"
    DURABLE_OF_NOBODY = "DurableOfNobody"
    NOBODY_READS = "NobodyReads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that somebody should know.

    Attributes:
        check: What was looked at.
        severity: How bad it is.
        object: What it is about: `OutboxPipeline/shop/orders`, `stream ORDERS`.
        message: What was found, in a sentence.
        wanted: What it should be, as far as the message does not say it.
        remedy: The command that heals or shows more; empty: nothing is to be done.
    """

    check: Check
    severity: Severity
    object: str
    message: str
    wanted: str = ""
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """As a status and `-o json` carry it, without what is empty; each text is bounded.

        A remedy that has no room is left out: nobody shall type half a command.
        """
        texts = {key: cut(str(value)) for key, value in asdict(self).items() if value}
        if len(self.remedy) > LONGEST_TEXT:
            del texts["remedy"]
        return texts

    @classmethod
    def of_document(cls, document: Mapping[str, str]) -> Finding | None:
        """What `document` made, also of another version; None: it makes no sense here."""
        try:
            check, severity = Check(document["check"]), Severity(document["severity"])
        except (KeyError, ValueError):
            return None
        names = ("object", "message", "wanted", "remedy")
        texts = {name: str(document.get(name) or "") for name in names}
        return cls(check=check, severity=severity, **texts)


def error(check: Check, object_: str, message: str, wanted: str = "", remedy: str = "") -> Finding:
    """Something does not work, or is about to be lost."""
    return Finding(
        check=check,
        severity=Severity.ERROR,
        object=object_,
        message=message,
        wanted=wanted,
        remedy=remedy,
    )


def warning(
    check: Check, object_: str, message: str, wanted: str = "", remedy: str = ""
) -> Finding:
    """Something will go wrong unless somebody acts."""
    return Finding(
        check=check, severity=Severity.WARNING, object=object_, message=message, wanted=wanted,
        remedy=remedy,
    )  # fmt: skip


def info(check: Check, object_: str, message: str, wanted: str = "", remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(
        check=check,
        severity=Severity.INFO,
        object=object_,
        message=message,
        wanted=wanted,
        remedy=remedy,
    )


def unknown(object_: str, message: str, remedy: str = "") -> Finding:
    """Something that could not be looked at, and why."""
    return Finding(
        check=Check.NOT_LOOKED_AT,
        severity=Severity.UNKNOWN,
        object=object_,
        message=message,
        remedy=remedy,
    )


_ORDER: Final = {severity: number for number, severity in enumerate(Severity)}
_CHECKS: Final = {check: number for number, check in enumerate(Check)}


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, each once, in an order that does not change from look to look."""
    return sorted(
        dict.fromkeys(findings),
        key=lambda one: (_ORDER[one.severity], one.object, _CHECKS[one.check], one.message),
    )


def well(findings: Iterable[Finding]) -> bool:
    """Whether nobody has to act, as far as could be looked at."""
    return not any(one.severity in (Severity.ERROR, Severity.WARNING) for one in findings)


def counts(findings: Iterable[Finding]) -> str:
    """`2 errors, 1 warning, 1 not looked at`."""
    found = [one.severity for one in findings]
    words = {
        Severity.ERROR: ("error", "errors"),
        Severity.WARNING: ("warning", "warnings"),
        Severity.UNKNOWN: ("not looked at", "not looked at"),
        Severity.INFO: ("note", "notes"),
    }
    parts = [
        f"{number} {singular if number == 1 else plural}"
        for severity, (singular, plural) in words.items()
        if (number := found.count(severity))
    ]
    return ", ".join(parts) or "nothing found"


def cut(text: str) -> str:
    """One line, and no more than fits."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…"
