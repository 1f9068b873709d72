"""What HTTP handlers prove themselves with on a laptop, where no Secret is read: a file for each
key, which the program that is called reads too.

Called by `dev.processes`, `dev.running` and the pytest plugin.
"""

from __future__ import annotations

import base64
import dataclasses
import secrets
from pathlib import Path
from typing import Final

from outbox_operator.api.fields import SecretKeyRef
from outbox_operator.api.v1alpha1.handler import HttpHandler
from outbox_operator.dev.manifest import Resources
from outbox_operator.wire.config import HttpHandlerConfig

FOLDER: Final = "secrets"
_KEY_BYTES: Final = 32


def file_of(folder: Path, ref: SecretKeyRef) -> Path:
    """Where the value of a Secret's key stands, below the data folder."""
    return folder / FOLDER / ref.name / ref.key


def make(folder: Path, resources: Resources) -> list[Path]:
    """Write a random value for each token and signing key that has none yet; returns these files.

    An authority (`caSecretRef`) cannot be made up: it counts where somebody has put its file.

    Args:
        folder: The data folder.
    """
    made = []
    for file in _made_up(folder, resources):
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        # As a signing key is written; a token may be any text.
        file.write_text(f"whsec_{base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}\n")
        made.append(file)
    return made


def _made_up(folder: Path, resources: Resources) -> list[Path]:
    """Files of what stands for nothing but that both sides know it."""
    found = set()
    for consumer in resources.consumers:
        http = consumer.spec.handler.http if consumer.spec.handler else None
        if http is not None:
            found |= {http.bearerTokenSecretRef, http.signingSecretRef}
    return sorted(file_of(folder, ref) for ref in found if ref is not None)


def with_files(config: HttpHandlerConfig, folder: Path, http: HttpHandler) -> HttpHandlerConfig:
    """What a consumer is told, with its files below the data folder instead of a pod's."""

    def path(ref: SecretKeyRef | None) -> str | None:
        return None if ref is None else str(file_of(folder, ref))

    authority = path(http.caSecretRef)
    return dataclasses.replace(
        config,
        bearer_token_file=path(http.bearerTokenSecretRef),
        signing_key_file=path(http.signingSecretRef),
        ca_file=authority if authority is not None and Path(authority).exists() else None,
    )
