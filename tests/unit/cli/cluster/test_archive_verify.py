"""With what a pod verifies an archive, and what is made of what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.adapters.kubernetes.in_pod import Ran
from outbox_operator.api.v1alpha1.archive import ArchiveState
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.archive import settings
from outbox_operator.cli.cluster import archive_verify
from outbox_operator.errors import CredentialsError, KubernetesError
from outbox_operator.plan.archives import archive_of
from support.resources import consumer

ARCHIVE: dict[str, Any] = {
    "connectionSecretRef": {"name": "writer"},
    "migrationSecretRef": {"name": "keeper", "key": "uri"},
    "host": "db",
    "schema": "audit",
    "retention": [{"name": "default", "keep": "90d"}],
    "sealing": {"every": "1h", "signingSecretRef": {"name": "key", "key": "pem"}},
    "backfill": {"connectionSecretRef": {"name": "outbox"}},
}


@pytest.mark.parametrize(
    ("secret", "gone", "wanted"),
    [
        (None, (), {("keeper", "uri")}),
        ("auditor", (), {("auditor", "url"), ("auditor", "username")}),
        (None, ("migrationSecretRef",), {("writer", "url"), ("writer", "username")}),
    ],
)
def test_the_pod_has_one_login_and_no_other(
    secret: str | None, gone: tuple[str, ...], wanted: set[tuple[str, str]]
) -> None:
    declared = {name: value for name, value in ARCHIVE.items() if name not in gone}
    resource = consumer(name="audit", handler={"archive": declared})
    archive = archive_of(resource.spec)
    assert archive is not None
    what = archive_verify.with_login(resource, archive, secret)
    found = {(file.secret, file.key) for file in what["files"]}
    assert wanted <= found
    assert {name for name, _ in found} == {name for name, _ in wanted}
    config = settings.parse(what["config"], where="test")
    assert (config.database.schema, config.database.host) == ("audit", "db")
    assert config.backfill is None
    assert config.sealing is not None
    assert (config.sealing.every_seconds, config.sealing.key_file) == (3600.0, None)
    assert config.rules.retention[0].keep_seconds == 90 * 86_400


def test_the_seal_that_the_status_remembers_has_to_be_there() -> None:
    resource = consumer(name="audit", handler={"archive": ARCHIVE})
    assert archive_verify.remembered(resource) == ()
    status = EventConsumerStatus(archive=ArchiveState(lastSeal="9:ff"))
    assert archive_verify.remembered(dataclasses.replace(resource, status=status)) == ("9:ff",)


def test_what_the_pod_says_is_told() -> None:
    well = archive_verify.told(
        Ran(code=0, out=b"5 events\n1 seals\n", err=""), "p", "shop", "audit"
    )
    assert (well.well, well.findings) == (True, ("5 events", "1 seals"))
    wrong = archive_verify.told(Ran(code=1, out=b"WRONG: x\n5 events", err=""), "p", "shop", "a")
    assert not wrong.well
    for code, out in ((2, b"half"), (1, b"")):
        with pytest.raises(KubernetesError, match="pod p: the database is away"):
            archive_verify.told(Ran(code=code, out=out, err="the database\nis away"), "p", "s", "a")


def test_a_private_key_never_leaves_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n")
    with pytest.raises(CredentialsError, match="wanted a public key in PEM"):
        archive_verify._key(str(path))
    with pytest.raises(CredentialsError, match="No such file"):
        archive_verify._key(str(tmp_path / "none"))
    path.write_text("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n")
    assert archive_verify._key(str(path)).startswith("-----BEGIN PUBLIC KEY-----")
