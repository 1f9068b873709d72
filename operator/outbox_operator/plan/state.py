"""Values that plans are made of: who owns what, what was found, what is refused."""

from __future__ import annotations

from dataclasses import dataclass

from outbox_operator.api.resource import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who claims a resource outside Kubernetes; written into it as a mark."""

    uid: str
    key: str
    """`Kind/namespace/name`."""

    @classmethod
    def of(cls, meta: Meta) -> Owner:
        """The claim of a resource."""
        return cls(uid=meta.uid, key=meta.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field that is not as wanted."""

    field: str
    wanted: object
    found: object

    def __str__(self) -> str:
        return f"{self.field}: wanted {self.wanted!r}, found {self.found!r}"
