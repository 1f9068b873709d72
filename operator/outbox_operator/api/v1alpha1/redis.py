"""Redis as the place where events go: how to connect, what of a stream has a meaning there, state.

A stream is a key, or one for each shard. Read by `stream` and `pipeline`, which have these parts.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

from outbox_operator.api import patterns
from outbox_operator.api.fields import ApiModel, cel, model_rules
from outbox_operator.api.v1alpha1.common import Tls, UserSecret


class RedisConnection(ApiModel):
    """Where Redis is and how to log in."""

    model_config = model_rules(
        cel(
            "!has(self.tls) || self.url.startsWith('rediss://')",
            "tls needs a URL that begins with rediss://",
        )
    )

    url: str = Field(
        pattern=patterns.REDIS_URL,
        max_length=1024,
        description="URL of the server that takes writes, without credentials: "
        "redis://redis.redis:6379, or with the number of a database, redis://redis.redis/1. "
        "rediss:// for TLS. A host without a dot is a Service of the resource's namespace.",
    )
    userSecretRef: UserSecret | None = Field(
        default=None,
        description="User name and password; with `requirepass` alone the user is `default`.",
    )
    tls: Tls | None = Field(default=None, description="TLS settings for rediss:// URLs.")


class RedisKey(ApiModel):
    """A key that holds a stream, of one shard."""

    name: str = Field(description="The key.")
    created: str | None = Field(default=None, description="When it was made.")
    entries: int = Field(default=0, description="Entries in it.")
    lastId: int = Field(default=0, description="First part of the last id that it ever had.")
    removed: int | None = Field(
        default=None,
        description="Entries that others than the operator have ever removed; absent: not known "
        "(Redis 6).",
    )


class RedisGroup(ApiModel):
    """A consumer group, over all keys of the stream."""

    name: str = Field(description="Its name.")
    pending: int = Field(default=0, description="Entries delivered and not acknowledged.")
    lag: int | None = Field(
        default=None,
        description="Entries not delivered yet; absent: the server does not know.",
    )


class RedisLeft(ApiModel):
    """A server where the stream was declared before, and where entries wait."""

    url: str = Field(description="Its URL.")
    since: str = Field(description="Since when the stream is declared elsewhere.")
    groups: list[RedisGroup] = Field(
        default_factory=list, description="For whom they wait; no more than 50 are shown."
    )
    problem: str | None = Field(
        default=None, description="Why nobody could look there last; absent: somebody could."
    )


class RedisState(ApiModel):
    """What the server last said of itself, of the keys and who reads them."""

    server: str = Field(description="Product and version.")
    persistence: str = Field(
        description="What the server writes to disk: `appendonly, appendfsync always` loses "
        "nothing in a crash; what any other forgets is sent again while its rows are kept."
    )
    replicas: int = Field(default=0, description="Replicas that are connected.")
    memoryPolicy: str = Field(default="", description="maxmemory-policy.")
    usedMemoryBytes: int = Field(default=0, description="Memory that the server's data take.")
    maxMemoryBytes: int = Field(default=0, description="maxmemory; 0: no limit.")
    keys: list[RedisKey] = Field(default_factory=list, description="One a shard.")
    groups: list[RedisGroup] = Field(
        default_factory=list, description="Who reads; no more than 50 are shown."
    )
    deadLetters: int = Field(
        default=0, description="Dead letters of all consumers, in the key <name>.dlq."
    )
    keptForGroup: str | None = Field(
        default=None,
        description="The group because of whose unacknowledged entries there are more than "
        "maxMessages; absent: nobody's.",
    )
    lost: str | None = Field(
        default=None,
        description="What the keys have lost that the operator did not take away; see the "
        "condition StreamLostEvents.",
    )
    lostTime: str | None = Field(default=None, description="When that was seen last.")
    left: list[RedisLeft] = Field(
        default_factory=list,
        max_length=5,
        description="Servers where the stream was declared before, and entries wait.",
    )


HAVE_A_MEANING: Final = frozenset({"maxMessages", "adoptionPolicy"})
"""Fields of a stream that do in Redis what they say."""
_WHY: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        "Redis has no subjects, and copies nothing from key to key",
        (
            "maxMessagesPerSubject", "discardNewPerSubject", "mirror", "sources",
            "subjectTransform", "republish", "subjectDeleteMarkerTTL", "mirrorDirect",
        ),
    ),
    (
        "how entries are kept is up to the server (appendonly, appendfsync, replicaof)",
        ("storage", "replicas", "placement", "persistMode", "compression"),
    ),
    (
        "Redis takes nothing away by age, size or use: maxMessages is the limit that there is",
        (
            "retention", "maxAge", "maxBytes", "maxMessageSize", "discard", "maxConsumers",
            "consumerLimits", "allowMessageTTL",
        ),
    ),
    (
        "an id that is not above the last is refused for ever: a window of time has no meaning",
        ("duplicateWindow",),
    ),
    (
        "consumers put dead letters into the key <name>.dlq; events that cannot be published are "
        "in the table dead_letters",
        ("deadLetter",),
    ),
    (
        "Redis has nothing like it",
        (
            "description", "noAck", "sealed", "denyDelete", "denyPurge", "allowDirect",
            "allowRollup", "allowMessageCounter", "allowAtomicPublish", "allowBatchPublish",
            "allowMessageSchedules", "firstSequence", "metadata",
        ),
    ),
)  # fmt: skip
NAME: Final = r"^[A-Za-z0-9_:-]+(\\.[A-Za-z0-9_:-]+)*$"
"""A key: what needs no quotes anywhere, and is no part of a placeholder."""


def redis_rules(
    stream: type[BaseModel], where: str = "self", *, left_out: tuple[str, ...] = ()
) -> tuple[dict[str, str], ...]:
    """The CEL rules by which a stream in Redis has nothing that would do nothing.

    Args:
        stream: The part of a spec that describes it.
        where: How a rule finds that part from where it stands.
        left_out: Fields besides that mean something with JetStream only.
    """
    prefix = "".join(f"{part}." for part in where.split(".")[1:])
    subjects = ("Redis has no subjects: the name is the key, and of several shards each has one "
                "of its own, <name>.<shard>", left_out)  # fmt: skip
    found = [
        cel(
            "!has(self.redis) || ("
            + " && ".join(is_default(stream, where, name) for name in names)
            + ")",
            f"with redis, leave out {', '.join(prefix + name for name in names)}: {why}",
        )
        for why, names in (subjects, *_WHY)
        if names
    ]
    name = f"{where}.name"
    return (
        *found,
        cel(
            f"!has(self.redis) || !has({name}) || {name}.matches('{NAME}')",
            f"with redis, {prefix}name is a key of letters, digits, _, -, : and single dots, for "
            "example identity.user.v1",
        ),
        cel(
            f"has(self.redis) || !has({name}) || !{name}.contains('.')",
            f"{prefix}name: the name of a JetStream stream has no dots",
        ),
    )


EXACTLY_ONE: Final = (
    cel("has(self.nats) != has(self.redis)", "set exactly one of nats and redis"),
    cel(
        "has(self.redis) == has(oldSelf.redis)",
        "whether events go to nats or to redis is fixed at creation: make another resource",
    ),
)


def first_without_meaning(stream: BaseModel, *, left_out: tuple[str, ...] = ()) -> str | None:
    """The first field that is set and means nothing in Redis, with why; None: there is none.

    Says what the rules say, for manifests that no API server sees.
    """
    no_subjects = ("Redis has no subjects: the name is the key", left_out)
    for why, names in (no_subjects, *_WHY):
        for name in names:
            default = type(stream).model_fields[name].get_default(call_default_factory=True)
            if getattr(stream, name) != default:
                return f"{name} has no meaning with redis: {why}; leave it out"
    return None


def is_default(stream: type[BaseModel], where: str, name: str) -> str:
    """CEL for a field that is left out, or has the default that an API server fills in."""
    default: Any = stream.model_fields[name].get_default(call_default_factory=True)
    field = f"{where}.{name}"
    if default is None:
        return f"!has({field})"
    if isinstance(default, bool):
        return field if default else f"!{field}"
    if isinstance(default, list | dict):
        return f"(!has({field}) || {field}.size() == 0)"
    return f"{field} == {default}" if isinstance(default, int) else f"{field} == '{default}'"
