"""Certificates for tests of TLS, made by openssl and thrown away afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Certificates:
    """A throw-away authority with a server and a client certificate.

    Files: `ca.pem`, and `server` and `client` each with `.pem` and `.key`. The server's is for
    `localhost` and 127.0.0.1.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2",
        )  # fmt: skip
        self._issue("server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self._issue("client", "extendedKeyUsage=clientAuth")

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self.directory / name

    def text(self, name: str) -> str:
        """What is in a file."""
        return self.path(name).read_text()

    def _issue(self, name: str, extension: str) -> None:
        self.path(f"{name}.ext").write_text(extension)
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext",
        )  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments], cwd=self.directory, check=True, capture_output=True, timeout=60
        )
