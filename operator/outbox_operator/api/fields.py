"""Types that several resources share: durations, sizes, names, Secret references.

Durations and sizes are text in the resources (`30s`, `1Gi`). The patterns go into the CRD, so
the API server refuses nonsense; `seconds` and `size_bytes` turn the text into numbers.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from outbox_operator.api import patterns
from outbox_operator.errors import SpecError

_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT_BYTES: Final = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip

Duration = Annotated[str, Field(pattern=patterns.DURATION, max_length=32)]
Size = Annotated[str, Field(pattern=patterns.SIZE, max_length=32)]
SqlIdentifier = Annotated[str, Field(pattern=patterns.SQL_IDENTIFIER, min_length=1, max_length=48)]
RoleName = Annotated[str, Field(min_length=1, max_length=63)]
NatsName = Annotated[str, Field(pattern=patterns.NATS_NAME, min_length=1, max_length=255)]
StreamName = Annotated[str, Field(pattern=patterns.STREAM_NAME, min_length=1, max_length=255)]
"""Of a JetStream stream, or a key of Redis, which may have dots."""
Subject = Annotated[str, Field(pattern=patterns.NO_SPACES, min_length=1, max_length=1024)]
ObjectName = Annotated[str, Field(pattern=patterns.OBJECT_NAME, min_length=1, max_length=63)]

SecretName = Annotated[
    str,
    Field(
        pattern=patterns.DNS_NAME,
        min_length=1,
        max_length=253,
    ),
]
"""Whatever Kubernetes allows: other operators make Secrets whose names have dots."""
SecretKey = Annotated[str, Field(pattern=patterns.DATA_KEY, min_length=1, max_length=253)]


def seconds(text: str) -> float:
    """Seconds of a duration such as `1h30m`, `500ms`, `30d` or `0`.

    Raises:
        SpecError: The text is not a duration.
    """
    if not re.fullmatch(patterns.DURATION, text):
        raise SpecError(f"{text!r} is not a duration; write for example 500ms, 30s, 5m, 24h or 30d")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def nanoseconds(text: str) -> int:
    """Like `seconds`, as the integer JetStream's API wants."""
    return round(seconds(text) * 1_000_000_000)


def size_bytes(text: str) -> int:
    """Bytes of a size such as `512`, `1Mi`, `10G`; `-1` means unlimited.

    Raises:
        SpecError: The text is not a size.
    """
    if not re.fullmatch(patterns.SIZE, text):
        raise SpecError(
            f"{text!r} is not a size; write for example 512Ki, 100Mi, 1Gi, or -1 for no limit"
        )
    if text == "-1":
        return -1
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
    return int(float(number) * _UNIT_BYTES[unit])


class ApiModel(BaseModel):
    """Base of all parts of a spec: camelCase names as in the resource, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def cel(rule: str, message: str) -> dict[str, str]:
    """One CEL rule for `x-kubernetes-validations`."""
    return {"rule": rule, "message": message}


def rules(*validations: dict[str, str]) -> dict[str, Any]:
    """`json_schema_extra` of a model or field that carries CEL rules."""
    return {"x-kubernetes-validations": list(validations)}


def model_rules(*validations: dict[str, str]) -> ConfigDict:
    """`model_config` of a part of a spec that carries CEL rules over several fields."""
    return ConfigDict(frozen=True, extra="forbid", json_schema_extra=rules(*validations))


def fixed(name: str, *, optional: bool = False) -> dict[str, str]:
    """The rule that a field keeps the value it was created with.

    `optional`: the field has no default, so it may be absent, and then has to stay absent.
    """
    same = f"self.{name} == oldSelf.{name}"
    if optional:
        same = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})"
    return cel(same, f"{name} is fixed at creation")


def keeps_true(name: str) -> dict[str, str]:
    """The rule that a switch which the server never undoes stays on."""
    return cel(f"!oldSelf.{name} || self.{name}", f"{name} cannot be undone")


IMMUTABLE: Final = rules(cel("self == oldSelf", "this field is fixed at creation"))


class SecretKeyRef(ApiModel):
    """One key of a Secret in the resource's own namespace."""

    name: SecretName = Field(description="Name of the Secret, in the namespace of this resource.")
    key: SecretKey = Field(description="Key in the Secret's data.")
