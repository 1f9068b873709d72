"""With which login of a pipeline a pod for one session works. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from outbox_operator.api.resource import Pipeline
from outbox_operator.api.v1alpha1.database import LoginSecretRef
from outbox_operator.errors import SpecError
from outbox_operator.plan.kubernetes import secret_files
from outbox_operator.plan.kubernetes.runtime_config import relay_config
from outbox_operator.wire.config import encode


def as_migrations(pipeline: Pipeline) -> dict[str, Any]:
    """Arguments of `throwaway.pod` for one that logs in as the operator does for DDL.

    Raises:
        SpecError: The pipeline has no such login.
    """
    ref = pipeline.spec.database.migrationSecretRef
    if ref is None:
        raise SpecError(
            f"{pipeline.meta.name}: there is no spec.database.migrationSecretRef; the relay's "
            "login, which is the default, makes its tables as well"
        )
    tls = pipeline.spec.database.migrationTls or pipeline.spec.database.tls
    stream = pipeline.spec.stream.name or pipeline.meta.name
    return _login(pipeline, stream, {"connectionSecretRef": ref, "tls": tls})


def as_writer(pipeline: Pipeline, stream: str, secret: str | None) -> dict[str, Any]:
    """Arguments of `throwaway.pod` for one that may write events; none: the relay's login may.

    The role that owns the tables may insert, the relay's own may not.

    Args:
        pipeline: Whose outbox.
        stream: Name of its stream.
        secret: Name of a Secret with the login of a writer; None: the owner's.
    """
    database = pipeline.spec.database
    if secret is not None:
        return _login(pipeline, stream, {"connectionSecretRef": LoginSecretRef(name=secret)})
    owner = database.migrationSecretRef
    if owner is None or owner == database.connectionSecretRef:
        return {}
    tls = database.migrationTls or database.tls
    return _login(pipeline, stream, {"connectionSecretRef": owner, "tls": tls})


def _login(pipeline: Pipeline, stream: str, database: dict[str, Any]) -> dict[str, Any]:
    changed = pipeline.spec.database.model_copy(update=database)
    spec = pipeline.spec.model_copy(update={"database": changed})
    return {
        "config": encode(relay_config(replace(pipeline, spec=spec), stream_name=stream)),
        "files": secret_files.relay_files(spec),
    }
