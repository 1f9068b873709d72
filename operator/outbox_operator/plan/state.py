"""Values that plans are made of: who owns what, what was found, what is refused."""

from __future__ import annotations

from dataclasses import dataclass

from outbox_operator.api.resource import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who claims a thing outside Kubernetes; written onto it as a mark.

    Attributes:
        uid: Of the resource.
        key: `Kind/namespace/name`.
        cluster: UID of what stands for the cluster; empty: not known, or marked by an old version.
    """

    uid: str
    key: str
    cluster: str = ""

    @classmethod
    def of(cls, meta: Meta) -> Owner:
        """The claim of a resource."""
        return cls(uid=meta.uid, key=meta.key, cluster=meta.cluster)

    @property
    def namespace(self) -> str:
        """Namespace of the resource."""
        return self.key.split("/")[1] if self.key.count("/") == 2 else ""

    def is_before(self, other: Owner) -> bool:
        """Whether this is an earlier resource of the same cluster, kind, namespace and name.

        Deleted with deletionPolicy Retain and made again it is the same to a person.
        """
        known = bool(self.cluster and other.cluster)
        return self.key == other.key and (not known or self.cluster == other.cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field that is not as wanted."""

    field: str
    wanted: object
    found: object

    def __str__(self) -> str:
        return f"{self.field}: wanted {self.wanted!r}, found {self.found!r}"
