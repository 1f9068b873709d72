"""What relay and consumer pods are told: configuration documents and environments. Pure.

Called by `plan.kubernetes.workloads`. Secrets are files here, see
`plan.kubernetes.secret_files`.
"""

from __future__ import annotations

from typing import Any, Final

from outbox_operator.api.fields import seconds
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.api.v1alpha1.archive import ArchiveApi, ArchiveHandler
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.database import PostgresConnection, PostgresTlsMode
from outbox_operator.api.v1alpha1.redis import RedisConnection
from outbox_operator.plan import names
from outbox_operator.plan.archives import api_login, rules_of
from outbox_operator.plan.kubernetes import podtemplate, secret_files
from outbox_operator.plan.sources import AnySource, RedisSource, Source
from outbox_operator.wire.archive import ArchiveBackfill, ArchiveConfig, ArchiveDatabase
from outbox_operator.wire.archive_api import ArchiveApiConfig, JwtConfig
from outbox_operator.wire.config import (
    SECRETS_MOUNT,
    ConsumerConfig,
    DatabaseConfig,
    HttpHandlerConfig,
    InboxConfig,
    NatsConfig,
    PythonHandlerConfig,
    RedisConfig,
    RelayConfig,
    SslMode,
)

TLS_MODES: Final[dict[PostgresTlsMode, SslMode]] = {
    "Disable": "disable",
    "Prefer": "prefer",
    "Require": "require",
    "VerifyCa": "verify-ca",
    "VerifyFull": "verify-full",
}
GRACE_SECONDS: Final = 30
"""Time a pod has to stop, unless its podTemplate says otherwise."""
DRAIN_MARGIN_SECONDS: Final = 5
"""The process drains in the time that the pod has, less this."""


def nats_config(connection: NatsConnection) -> NatsConfig:
    """A NATS connection as pods have it: credentials are files."""
    files = {file.path: file.file for file in secret_files.nats_files(connection)}
    return NatsConfig(
        url=connection.url,
        creds_file=files.get("nats/creds"),
        username_file=files.get("nats/username"),
        password_file=files.get("nats/password"),
        token_file=files.get("nats/token"),
        nkey_file=files.get("nats/nkey"),
        ca_file=files.get("nats/ca.crt"),
        cert_file=files.get("nats/tls.crt"),
        key_file=files.get("nats/tls.key"),
        tls_handshake_first=connection.tls is not None and connection.tls.handshakeFirst,
        domain=connection.domain,
    )


def redis_config(connection: RedisConnection) -> RedisConfig:
    """A Redis connection as pods have it: credentials are files."""
    files = {file.path: file.file for file in secret_files.redis_files(connection)}
    return RedisConfig(
        url=connection.url,
        username_file=files.get("redis/username"),
        password_file=files.get("redis/password"),
        ca_file=files.get("redis/ca.crt"),
        cert_file=files.get("redis/tls.crt"),
        key_file=files.get("redis/tls.key"),
    )


def relay_config(pipeline: Pipeline, *, stream_name: str) -> RelayConfig:
    """What a relay process is told."""
    spec = pipeline.spec
    grace = podtemplate.grace_seconds(spec.relay.podTemplate, GRACE_SECONDS)
    return RelayConfig(
        namespace=pipeline.meta.namespace,
        pipeline=pipeline.meta.name,
        owner_uid=pipeline.meta.uid,
        database=DatabaseConfig(
            **_login(secret_files.DATABASE, spec.database), schema=spec.database.schema_
        ),
        nats=nats_config(spec.jetstream) if spec.redis is None else None,
        redis=None if spec.redis is None else redis_config(spec.redis),
        stream=stream_name,
        subject=spec.subject,
        payload_type=spec.outbox.payloadType,
        ordering=spec.outbox.ordering,
        on_poison=spec.relay.onPoison,
        shards=spec.outbox.shards,
        wakeup=spec.outbox.wakeup,
        poll_min_seconds=seconds(spec.relay.polling.min),
        poll_max_seconds=seconds(spec.relay.polling.max),
        drain_seconds=float(grace - DRAIN_MARGIN_SECONDS),
    )


def consumer_config(consumer: Consumer, source: AnySource) -> ConsumerConfig:
    """What a consumer process is told. The handler must be of kind http or python."""
    spec = consumer.spec
    http = spec.handler.http if spec.handler else None
    python = spec.handler.python if spec.handler else None
    grace = podtemplate.grace_seconds(spec.podTemplate, GRACE_SECONDS)
    files = {file.path: file.file for file in secret_files.consumer_files(spec, source.broker)}
    inbox = None
    if spec.inbox is not None:
        inbox = InboxConfig(
            **_login(secret_files.INBOX, spec.inbox),
            schema=spec.inbox.schema_,
            mode=spec.inbox.mode,
        )
    return ConsumerConfig(
        namespace=consumer.meta.namespace,
        consumer=consumer.meta.name,
        nats=None if isinstance(source, RedisSource) else nats_config(source.nats),
        redis=redis_config(source.redis) if isinstance(source, RedisSource) else None,
        stream=source.stream,
        durable=names.durable_name(consumer),
        shard_streams=source.keys if isinstance(source, RedisSource) else None,
        event_types=tuple(spec.filterEventTypes) or None,
        http=None
        if http is None
        else HttpHandlerConfig(
            url=http.url,
            timeout_seconds=seconds(http.timeout),
            headers=dict(http.headers),
            mode=http.mode,
            bearer_token_file=files.get(secret_files.HTTP_TOKEN),
            signing_key_file=files.get(secret_files.HTTP_SIGNING_KEY),
            ca_file=files.get(secret_files.HTTP_CA),
        ),
        python=None
        if python is None
        else PythonHandlerConfig(
            module=python.module,
            timeout_seconds=seconds(python.timeout),
            unhandled="Ack" if python.unhandled == "Ack" else None,
        ),
        inbox=inbox,
        ordering=spec.ordering,
        ack_wait_seconds=seconds(spec.ackWait),
        max_deliver=spec.maxDeliver,
        backoff_seconds=tuple(seconds(delay) for delay in spec.backoff),
        give_up_after_seconds=None if spec.giveUpAfter is None else seconds(spec.giveUpAfter),
        dead_letter_subject=source.dead_letters,
        concurrency=spec.concurrency,
        breaker_failures=spec.circuitBreaker.failures,
        drain_seconds=float(grace - DRAIN_MARGIN_SECONDS),
    )


def archive_config(consumer: Consumer, archive: ArchiveHandler, source: Source) -> ArchiveConfig:
    """What the process is told that writes an archive.

    Raises:
        SpecError: The archive cannot be kept as declared.
    """
    spec = consumer.spec
    grace = podtemplate.grace_seconds(spec.podTemplate, GRACE_SECONDS)
    return ArchiveConfig(
        namespace=consumer.meta.namespace,
        consumer=consumer.meta.name,
        owner_uid=consumer.meta.uid,
        database=ArchiveDatabase(**_login(secret_files.ARCHIVE, archive), schema=archive.schema_),
        nats=nats_config(source.nats),
        stream=source.stream,
        durable=names.durable_name(consumer),
        rules=rules_of(archive, "spec"),
        backfill=None
        if archive.backfill is None
        else ArchiveBackfill(
            **_login(secret_files.BACKFILL, archive.backfill), schema=archive.backfill.schema_
        ),
        drain_seconds=float(grace - DRAIN_MARGIN_SECONDS),
    )


def archive_api_config(
    consumer: Consumer, archive: ArchiveHandler, api: ArchiveApi
) -> ArchiveApiConfig:
    """What the process is told that answers questions about an archive."""
    by_file = api.jwt.jwksSecretRef is not None
    return ArchiveApiConfig(
        namespace=consumer.meta.namespace,
        consumer=consumer.meta.name,
        database=ArchiveDatabase(
            **_login(secret_files.ARCHIVE_API, api_login(archive, api)), schema=archive.schema_
        ),
        jwt=JwtConfig(
            issuer=api.jwt.issuer,
            audience=api.jwt.audience,
            jwks_url=api.jwt.jwksUrl,
            jwks_file=f"{SECRETS_MOUNT}/{secret_files.JWKS}" if by_file else None,
            tenant_claim=api.jwt.tenantClaim,
        ),
        extracted=tuple(sorted(archive.extract)),
        tenant_column=api.tenantColumn,
        text_search=archive.textSearch,
        page=api.page,
        drain_seconds=float(GRACE_SECONDS - DRAIN_MARGIN_SECONDS),
    )


def _login(directory: str, connection: PostgresConnection) -> dict[str, Any]:
    """A database's login as pods have it: texts of Secrets are files."""
    place = f"{SECRETS_MOUNT}/{directory}"
    by_url, tls = connection.connectionSecretRef.key is not None, connection.tls
    return {
        "url_file": f"{place}/url" if by_url else None,
        "login_directory": None if by_url else place,
        "host": connection.host,
        "port": None if connection.port is None else str(connection.port),
        "name": connection.name,
        "tls_mode": tls and TLS_MODES[tls.mode],
        "ca_file": f"{place}/ca.crt" if tls and tls.caSecretRef else None,
        "cert_file": f"{place}/tls.crt" if tls and tls.certSecretRef else None,
        "key_file": f"{place}/tls.key" if tls and tls.keySecretRef else None,
    }


def _login_environment(source: AnySource) -> dict[str, str | None]:
    """How to log in to where the events are."""
    if isinstance(source, RedisSource):
        redis = redis_config(source.redis)
        return {
            "REDIS_URL": redis.url,
            "REDIS_USERNAME_FILE": redis.username_file,
            "REDIS_PASSWORD_FILE": redis.password_file,
            "REDIS_CA_FILE": redis.ca_file,
            "REDIS_CERT_FILE": redis.cert_file,
            "REDIS_KEY_FILE": redis.key_file,
        }
    config = nats_config(source.nats)
    return {
        "NATS_URL": config.url,
        "NATS_CREDS_FILE": config.creds_file,
        "NATS_USERNAME_FILE": config.username_file,
        "NATS_PASSWORD_FILE": config.password_file,
        "NATS_TOKEN_FILE": config.token_file,
        "NATS_NKEY_FILE": config.nkey_file,
        "NATS_CA_FILE": config.ca_file,
        "NATS_CERT_FILE": config.cert_file,
        "NATS_KEY_FILE": config.key_file,
        "NATS_TLS_HANDSHAKE_FIRST": "true" if config.tls_handshake_first else None,
        "NATS_DOMAIN": config.domain,
    }


def container_environment(consumer: Consumer, source: AnySource) -> dict[str, str]:
    """Connection facts for a container that reads by itself. Secrets are files, named here."""
    spec, durable = consumer.spec, names.durable_name(consumer)
    facts = _login_environment(source)
    facts |= {"OUTBOX_STREAM": source.stream, "OUTBOX_CONSUMER": durable}
    if isinstance(source, RedisSource):
        facts["OUTBOX_KEYS"] = " ".join(source.keys)
        facts["OUTBOX_EVENT_TYPES"] = " ".join(spec.filterEventTypes)
    else:
        facts["OUTBOX_FILTER_SUBJECTS"] = ",".join(spec.filterSubjects)
    facts["OUTBOX_ACK_WAIT_SECONDS"] = f"{seconds(spec.ackWait):g}"
    facts["OUTBOX_MAX_DELIVER"] = str(spec.maxDeliver)
    if isinstance(source, RedisSource):
        facts["OUTBOX_DEAD_LETTER_KEY"] = source.letters
    else:
        prefix = source.dead_letter_prefix
        facts["OUTBOX_DEAD_LETTER_SUBJECT"] = prefix and f"{prefix}.{durable}"
    if spec.inbox is not None:
        login = _login(secret_files.INBOX, spec.inbox)
        facts |= {
            "OUTBOX_INBOX_URL_FILE": f"{SECRETS_MOUNT}/{secret_files.INBOX}/url",
            "OUTBOX_INBOX_LOGIN_DIRECTORY": login["login_directory"],
            **{
                f"OUTBOX_INBOX_{name.upper()}": login[name]
                for name in ("host", "port", "name", "tls_mode", "ca_file", "cert_file", "key_file")
            },
        }
        facts["OUTBOX_INBOX_SCHEMA"] = spec.inbox.schema_
        facts["OUTBOX_INBOX_CONSUMER"] = f"{consumer.meta.namespace}/{consumer.meta.name}"
    return {name: value for name, value in facts.items() if value is not None}
