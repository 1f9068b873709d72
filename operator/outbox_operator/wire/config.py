"""What the controller tells a relay or consumer pod: one JSON document, mounted from a ConfigMap.

The controller renders these (`plan.kubernetes.runtime_config`), the roles load them
(`relay.settings`, `consumer.settings`). Secrets never appear here: each `*_file` is the path of a
file that a Secret volume provides. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from outbox_operator.errors import SpecError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CONFIG_PATH_ENV: Final = "OUTBOX_CONFIG"
CONFIG_MOUNT: Final = "/etc/outbox"
SECRETS_MOUNT: Final = "/var/run/outbox/secrets"  # a path, not a secret
HEALTH_PORT: Final = 8080
"""Serves /healthz, /readyz and /metrics."""

_STRICT: Final[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsConfig:
    """How to connect to NATS. Files hold credentials; None means not used."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    url: str
    creds_file: str | None = None
    username_file: str | None = None
    password_file: str | None = None
    token_file: str | None = None
    nkey_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    tls_handshake_first: bool = False
    domain: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """How to connect to Redis. Files hold credentials; None means not used."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    url: str
    username_file: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


SslMode: TypeAlias = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """How to reach a database and where our tables are. One of `url_file`, `login_directory`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    url_file: str | None = None
    login_directory: str | None = None
    """Holds `url`, `uri`, or what there is of `host`, `port`, `dbname`, `username`, `password`."""
    host: str | None = None
    """With `port` and `name`: what the login leaves out."""
    port: str | None = None
    name: str | None = None
    tls_mode: SslMode | None = None
    """None: what the URL says."""
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    schema: str = "outbox"

    def __post_init__(self) -> None:
        if (self.url_file is None) == (self.login_directory is None):
            raise ValueError("set exactly one of url_file and login_directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxConfig(DatabaseConfig):
    """Where handled events are remembered, and how: a row each, or one row for each shard."""

    mode: Literal["PerEvent", "PerShard"] = "PerEvent"


def _check_broker(nats: NatsConfig | None, redis: RedisConfig | None) -> None:
    if (nats is None) == (redis is None):
        raise ValueError("set exactly one of nats and redis")


def _only_jetstream(nats: NatsConfig | None, who: str) -> NatsConfig:
    if nats is None:
        raise SpecError(f"{who} Redis Streams: this works with NATS JetStream only")
    return nats


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """Everything a relay process needs to know about its pipeline."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    namespace: str
    pipeline: str
    database: DatabaseConfig
    nats: NatsConfig | None = None
    redis: RedisConfig | None = None
    """One of both: where events go."""
    stream: str
    subject: str
    """Template over the row's columns, see wire.subjects. In Redis it makes the key: the name of
    the stream, and of the shard if there are several, `{shard}` behind the last dot."""
    payload_type: Literal["jsonb", "bytea"] = "jsonb"
    ordering: Literal["PerKey", "None"] = "PerKey"
    on_poison: Literal["BlockKey", "Skip", "Halt"] = "BlockKey"
    shards: int = 1
    wakeup: Literal["Never", "WhenIdle"] = "Never"
    """WhenIdle: the table has a trigger that notifies a sleeping relay."""
    poll_min_seconds: float = 0.002
    poll_max_seconds: float = 1.0
    publish_window: int = 1024
    drain_seconds: float = 25.0
    health_port: int = HEALTH_PORT
    owner_uid: str | None = None
    """UID of the pipeline: tables that carry the mark of another one are left alone."""

    def __post_init__(self) -> None:
        _check_broker(self.nats, self.redis)

    @property
    def jetstream(self) -> NatsConfig:
        """How to connect to NATS, for what only JetStream can do.

        Raises:
            SpecError: The pipeline publishes to Redis.
        """
        who = f"pipeline {self.namespace}/{self.pipeline} publishes to"
        return _only_jetstream(self.nats, who)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHandlerConfig:
    """Deliver each event as a CloudEvents request."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    url: str
    timeout_seconds: float = 30.0
    headers: dict[str, str] = field(default_factory=dict)
    mode: Literal["Binary", "Structured"] = "Binary"
    bearer_token_file: str | None = None
    signing_key_file: str | None = None
    ca_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonHandlerConfig:
    """Call a Python function, `package.module:function` or `package.module:app`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    module: str
    timeout_seconds: float = 300.0
    """A call that takes longer is cancelled, and the event delivered again."""
    unhandled: Literal["Ack"] | None = None
    """What becomes of an event that no handler of the module takes. None: a dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig:
    """Everything a consumer process needs to know. Exactly one of `http` and `python` is set."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    namespace: str
    consumer: str
    """Name of the EventConsumer. Inbox rows carry `<namespace>/<consumer>`, because consumers of
    several namespaces may share a database."""
    nats: NatsConfig | None = None
    redis: RedisConfig | None = None
    """One of both: where events come from."""
    stream: str
    durable: str
    """Name of the durable consumer; in Redis, of the consumer group."""
    shard_streams: tuple[str, ...] | None = None
    """In Redis: keys of the stream's shards. None: there is one, of the stream's name."""
    event_types: tuple[str, ...] | None = None
    """In Redis: types of events to handle; others are acknowledged. None: all."""
    http: HttpHandlerConfig | None = None
    python: PythonHandlerConfig | None = None
    inbox: InboxConfig | None = None
    ordering: Literal["PerKey", "None"] = "None"
    ack_wait_seconds: float = 30.0
    max_deliver: int = 16
    """Failed attempts before a message goes to the dead-letter stream; -1: never."""
    backoff_seconds: tuple[float, ...] = ()
    """Delay before redelivery n; the last one repeats. Empty: exponential from 1 s to 1 h."""
    give_up_after_seconds: float | None = None
    """How long a handler may say "not now" of an event until it is a dead letter. None: ever."""
    dead_letter_subject: str | None = None
    """Subject prefix of the dead-letter stream; None: no dead letters, terminate instead. In
    Redis its key."""
    concurrency: int = 16
    breaker_failures: int = 10
    """Different events that fail in a row before nothing more is fetched; 0: no number does."""
    drain_seconds: float = 25.0
    health_port: int = HEALTH_PORT

    def __post_init__(self) -> None:
        _check_broker(self.nats, self.redis)

    @property
    def jetstream(self) -> NatsConfig:
        """How to connect to NATS, for what only JetStream can do.

        Raises:
            SpecError: The events are in Redis.
        """
        return _only_jetstream(self.nats, f"consumer {self.namespace}/{self.consumer} reads")


def encode(config: DataclassInstance) -> str:
    """The JSON document of a role's configuration, stable across runs so that its hash is too.

    What is not used is left out: a process of the version before knows no field of tomorrow.
    """
    used = dataclasses.asdict(config, dict_factory=_used)
    return json.dumps(used, indent=2, sort_keys=True) + "\n"


def _used(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if value is not None}
