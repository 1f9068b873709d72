"""What plans for streams and durable consumers share: settings, comparison, ownership, decisions.

Used by plan.jetstream only. A configuration here is the JSON document of the
JetStream API: its own field names, durations in nanoseconds, sizes in bytes. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.errors import (
    OutboxError,
    SpecError,
    UnsafeChangeError,
    UnsupportedServerError,
)
from outbox_operator.plan.ownership import Claim, refusal
from outbox_operator.plan.state import FieldChange, Owner
from outbox_operator.reasons import Reason
from outbox_operator.wire.times import format_time

Config = dict[str, Any]

_SERVER_VERSIONS: Final = {1: "2.11", 2: "2.12", 3: "2.12.2", 4: "2.14"}
"""First nats-server of each JetStream API level."""
_SERVER_METADATA: Final = "_nats."
_RESERVED_METADATA: Final = (_SERVER_METADATA, f"{meta.GROUP}/")


@dataclass(frozen=True, slots=True)
class InSync:
    """Nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """It does not exist; create it with this configuration."""

    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """It exists and differs; replace its configuration by this one.

    Attributes:
        config: The whole configuration.
        changes: What differs.
        drift: Whether somebody else changed it: it had been as desired before.
        adopted: Whether it existed and belonged to nobody.
    """

    config: Config
    changes: tuple[FieldChange, ...]
    drift: bool = False
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing may be done; the error says why and what would help."""

    error: OutboxError


Decision = InSync | Create | Update | Refused


def anything(_found: object, _wanted: object) -> bool:
    """Every change is possible."""
    return True


def nothing(_found: object, _wanted: object) -> bool:
    """Fixed at creation."""
    return False


def only_on(_found: object, wanted: object) -> bool:
    """May be switched on later, never off."""
    return bool(wanted)


def as_is(value: Any) -> Any:
    """No normal form needed."""
    return value


def limit(value: Any) -> Any:
    """The server reads 0 as "no limit" and answers -1."""
    return value or -1


def at_least_zero(value: Any) -> Any:
    """-1, 0 and absent all mean "no limit" here."""
    return max(value or 0, 0)


def unordered(value: Any) -> Any:
    """Order does not matter."""
    return sorted(value or ())


def without_empty(value: Any) -> Any:
    """An object or list without what the server leaves out; times in one form."""
    if isinstance(value, Mapping):
        parts = {
            key: moment(part) if key == "opt_start_time" else without_empty(part)
            for key, part in value.items()
        }
        return {key: part for key, part in parts.items() if part} or None
    if isinstance(value, list):
        return [without_empty(part) for part in value]
    return value


def moment(value: Any) -> Any:
    """A time in UTC, to the microsecond."""
    return None if not value else parse_time(value, "time")


def own_metadata(value: Any) -> Any:
    """Metadata without what the server adds about itself."""
    return {k: v for k, v in (value or {}).items() if not k.startswith(_SERVER_METADATA)}


def mark_of(config: Mapping[str, Any]) -> Owner | None:
    """Whose mark a configuration carries; None: nobody's."""
    metadata = own_metadata(config.get("metadata"))
    uid = metadata.get(meta.OWNER_METADATA)
    if uid is None:
        return None
    return Owner(
        uid=str(uid),
        key=str(metadata.get(meta.OWNER_NAME_METADATA, "an unknown resource")),
        cluster=str(metadata.get(meta.OWNER_CLUSTER_METADATA, "")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of a configuration that we manage.

    Attributes:
        key: Its name in the JetStream API.
        field: Its name in our resources, for messages.
        default: What counts as its value when absent.
        normal: Brings a value into the form that is compared.
        editable: Whether a change from found to wanted is possible in place.
        level: JetStream API level needed to set it.
        text: How a value is shown.
    """

    key: str
    field: str
    default: Any = None
    normal: Callable[[Any], Any] = as_is
    editable: Callable[[object, object], bool] = anything
    level: int = 0
    text: Callable[[Any], Any] = as_is

    def of(self, config: Mapping[str, Any]) -> Any:
        """The value in a configuration, in normal form."""
        value = config.get(self.key)
        return self.normal(self.default if value is None else value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigTraits:
    """What differs between streams and consumers when deciding.

    Attributes:
        what: "stream" or "durable consumer".
        settings: All managed fields.
        exists_reason: Condition reason when it exists and nobody declared it.
        recreate: How a person can still get a change that cannot be made in place.
        canonical: Rewrites a configuration before it is compared.
    """

    what: str
    settings: tuple[Setting, ...]
    exists_reason: Reason
    recreate: str
    canonical: Callable[[Config], Config] = field(default=dict)


def decide(
    traits: ConfigTraits,
    desired: Config,
    observed: Mapping[str, Any] | None,
    *,
    claim: Claim,
    settled: bool,
    api_level: int,
) -> Decision:
    """What to do about one resource; see `plan.jetstream.streams.decide_stream`."""
    name = f"{traits.what} {desired['name']}"
    missing = _unsupported(traits, name, desired, api_level)
    if missing is not None:
        return Refused(error=missing)
    if observed is None:
        return Create(config=desired)
    mark = mark_of(observed)
    foreign = refusal(name, mark, claim, field="spec.adoptionPolicy", free=traits.exists_reason)
    if foreign is not None:
        return Refused(error=foreign)
    wanted_config, found_config = traits.canonical(desired), traits.canonical(dict(observed))
    changes: list[FieldChange] = []
    impossible: list[FieldChange] = []
    for setting in traits.settings:
        wanted, found = setting.of(wanted_config), setting.of(found_config)
        if wanted == found:
            continue
        change = FieldChange(
            field=setting.field, wanted=setting.text(wanted), found=setting.text(found)
        )
        changes.append(change)
        if not setting.editable(found, wanted):
            impossible.append(change)
    if impossible:
        details = "; ".join(str(change) for change in impossible)
        return Refused(
            error=UnsafeChangeError(
                f"{name}: cannot be changed in place: {details}. Set it back, or {traits.recreate}"
            )
        )
    if not changes:
        return InSync()
    return Update(
        config=desired,
        changes=tuple(changes),
        drift=settled and _had_it(mark, claim) and not _only_place(changes, mark, claim.owner),
        adopted=not _had_it(mark, claim) and not (mark and mark.is_before(claim.owner)),
    )


def _had_it(mark: Owner | None, claim: Claim) -> bool:
    return claim.same if mark is None else mark.uid == claim.owner.uid


def _only_place(changes: Iterable[FieldChange], mark: Owner | None, owner: Owner) -> bool:
    """Whether nothing is amiss but that an older version did not say in which cluster."""
    before = mark is not None and not mark.cluster and bool(owner.cluster)
    return before and all(change.field == "metadata" for change in changes)


def _unsupported(
    traits: ConfigTraits, name: str, desired: Config, api_level: int
) -> OutboxError | None:
    for setting in traits.settings:
        needed = setting.level
        if desired.get("priority_policy") == "prioritized" and setting.key == "priority_policy":
            needed = 2  # the other policies came one level earlier
        if needed > api_level and setting.of(desired) != setting.normal(setting.default):
            return UnsupportedServerError(
                f"{name}: {setting.field} needs nats-server {_SERVER_VERSIONS[needed]} or newer "
                f"(JetStream API level {needed}), found API level {api_level}"
            )
    return None


def metadata_with_marks(labels: Mapping[str, str], owner: Owner) -> dict[str, str]:
    """Labels of a resource and the marks of its owner.

    Raises:
        SpecError: A label uses a reserved prefix.
    """
    for key in labels:
        if key.startswith(_RESERVED_METADATA):
            raise SpecError(
                f"spec.metadata: key {key!r} is reserved; keys must not start with "
                f"{' or '.join(_RESERVED_METADATA)}"
            )
    marks = {
        meta.OWNER_METADATA: owner.uid,
        meta.OWNER_NAME_METADATA: owner.key,
        meta.OWNER_CLUSTER_METADATA: owner.cluster,
    }
    return {**labels, **{name: value for name, value in marks.items() if value}}


def parse_time(text: str, path: str) -> datetime:
    """A moment from RFC 3339 text.

    Raises:
        SpecError: Not a time, or one without a time zone.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise SpecError(f"{path}: {text!r} is not a time; write for example 2026-01-31T09:30:00Z")
    return parsed.astimezone(UTC)


def rfc3339(text: str, path: str) -> str:
    """The same moment as the server writes it: in UTC. Raises SpecError."""
    return format_time(parse_time(text, path))


def named(names: Mapping[str, str]) -> Callable[[Any], Any]:
    """Show the API's word as the word of our resources; `names` maps ours to theirs."""
    back = {theirs: ours for ours, theirs in names.items()}
    return lambda value: back.get(value, value)


def duration(value: Any) -> Any:
    """Show nanoseconds as people write them."""
    if not value:
        return "0"
    for unit, nanos in _UNITS:
        if value % nanos == 0:
            return f"{value // nanos}{unit}"
    return f"{value}ns"


def durations(value: Any) -> Any:
    """Show a list of nanoseconds."""
    return [duration(part) for part in value]


def time_text(value: Any) -> Any:
    """Show a moment."""
    return format_time(value) if value else None


def switched_on(config: Config, settings: Iterable[tuple[str, Any]]) -> Config:
    """The configuration with newer fields added where they ask for something.

    An older server would refuse a field it does not know, or forget it and look drifted.
    """
    return config | {key: value for key, value in settings if value}


_UNITS: Final = (
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
)
