"""Signatures by cosign: its key and password are for it alone, and for no other program."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release.programs import program
from release.stamp import ReleaseError

SUMS = "SHA256SUMS"
STATEMENT = "provenance.json"
PUBLIC = "cosign.pub"
SIGNED = (SUMS, STATEMENT)
"""The files that are signed; the first names all others."""
_KEY, _PASSWORD = "COSIGN_KEY", "COSIGN_PASSWORD"
_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs.

    Attributes:
        key: cosign's private key: a path, `env://COSIGN_KEY`, or one of a key service.
        secrets: what cosign alone has in its environment.
    """

    key: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """Of cosign, and of nothing else that a release calls."""
        return {**os.environ, **self.secrets}

    def public(self) -> str:
        """The public key, by the private one: which so is there, and opened by its password.

        Raises:
            ReleaseError: it is not.
        """
        return self._run("public-key", "--key", self.key)

    def sign(self, file: Path) -> None:
        """A signature beside a file, which `cosign verify-blob --key` accepts.

        Raises:
            ReleaseError: cosign refused.
        """
        self._run(
            "sign-blob", "--yes", "--key", self.key, "--tlog-upload=false",
            "--output-signature", f"{file}.sig", str(file),
        )  # fmt: skip

    def sign_files(self, folder: Path) -> None:
        """Sign the files of a release, and put the public key beside them.

        Raises:
            ReleaseError: cosign refused.
        """
        (folder / PUBLIC).write_text(self.public())
        for name in SIGNED:
            self.sign(folder / name)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [program("cosign"), *arguments], env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise ReleaseError(f"cosign {arguments[0]}: {done.stderr.strip()}")
        return done.stdout


def signer(key: str) -> Signer:
    """Who signs with a key, whose secrets leave the environment of this process.

    Raises:
        ReleaseError: there is no key, or nothing to open it with.
    """
    secrets = {name: os.environ.pop(name) for name in (_KEY, _PASSWORD) if name in os.environ}
    if key == f"env://{_KEY}" and not secrets.get(_KEY):
        raise ReleaseError(f"{_KEY}: wanted cosign's private key in the environment, found none")
    # A key service asks for no password; a file's may be empty, but is never asked for.
    if ("://" not in key or key.startswith("env://")) and _PASSWORD not in secrets:
        raise ReleaseError(
            f"{_PASSWORD}: wanted the password of the key in the environment, found none"
        )
    return Signer(key, secrets)
