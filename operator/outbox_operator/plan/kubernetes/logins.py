"""With which logins the pods of a workload run, so that a change of them is noticed. Pure.

Pods follow a changed login only once it has been seen where it leads: new ones would go to work
there at once. What they run with is written on their Deployment, because the operator may be
another process by the time it changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outbox_operator.api import meta
from outbox_operator.api.fields import ApiModel
from outbox_operator.api.resource import Consumer, Pipeline
from outbox_operator.api.v1alpha1.database import PostgresConnection
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.kubernetes.pods import checksum_of
from outbox_operator.plan.kubernetes.secret_files import Broker


def relay_logins(pipeline: Pipeline, secrets: str) -> str:
    """Hash of what relay pods log in with.

    Args:
        pipeline: Whose they are.
        secrets: Hash of the values behind `relay_secret_refs`.
    """
    spec = pipeline.spec
    return _hash(pipeline.meta.uid, secrets, spec.redis or spec.jetstream, spec.database)


def consumer_logins(consumer: Consumer, broker: Broker, secrets: str) -> str:
    """Hash of what consumer pods log in with.

    Args:
        consumer: Whose they are.
        broker: Its own connection, or that of its EventStream.
        secrets: Hash of the values behind `consumer_login_refs`.
    """
    database = consumer.spec.inbox or archive_of(consumer.spec)
    return _hash(consumer.meta.uid, secrets, broker, database)


def logins_changed(deployment: Mapping[str, Any] | None, logins: str) -> bool:
    """Whether pods that run were made with other logins.

    Args:
        deployment: Theirs; None: there is none. An older version did not write them.
        logins: What new ones would get.
    """
    metadata = {} if deployment is None else deployment["metadata"]
    before = (metadata.get("annotations") or {}).get(meta.LOGINS_ANNOTATION)
    return before not in (None, logins)


def _hash(uid: str, secrets: str, broker: ApiModel, database: PostgresConnection | None) -> str:
    fields = set(PostgresConnection.model_fields)
    of_database = "" if database is None else database.model_dump_json(include=fields)
    return checksum_of(f"{broker.model_dump_json()}{of_database}", secrets, uid)
