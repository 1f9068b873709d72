"""What a connection is secured with, from PEM texts, whatever it is to."""

from __future__ import annotations

import functools
import os
import re
import ssl
import time
from typing import Final

from outbox_operator.errors import CredentialsError
from outbox_operator.reasons import Reason

MOST_KEY_BYTES: Final = 8 * 1024
"""Of a private key in PEM: RSA with 8192 bits takes 6.4 kB. A longer one takes a second of a
processor for each handshake, and the handshakes of one process wait for each other."""
_SHARED_SECONDS: Final = 300.0
"""The system's authorities may change: a mounted bundle is renewed."""
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)(?:-----END|\Z)", re.DOTALL
)


def system_context(*, verify: bool = True, verify_name: bool = True) -> ssl.SSLContext:
    """A context that trusts the system's authorities, shared by many connections: do not change it.

    To read those authorities takes 25 ms and 800 kB, for each connection that is tried.

    Args:
        verify: Whether the server has to prove who it is.
        verify_name: Whether it has to be the host that was asked for.
    """
    return _system_context(verify, verify_name, int(time.monotonic() // _SHARED_SECONDS))


@functools.lru_cache(maxsize=8)
def _system_context(verify: bool, verify_name: bool, _period: int) -> ssl.SSLContext:
    context = client_context()
    context.check_hostname = verify_name
    if not verify:
        context.verify_mode = ssl.CERT_NONE
    return context


def client_context(
    *, ca_pem: str | None = None, cert_pem: str | None = None, key_pem: str | None = None
) -> ssl.SSLContext:
    """A context that verifies the server, its name included.

    Args:
        ca_pem: Authorities that sign the server; None trusts the system's.
        cert_pem: Client certificate; needs `key_pem`.
        key_pem: Private key of the client certificate.

    Raises:
        ssl.SSLError, ValueError: Not PEM, or key and certificate do not belong together.
    """
    # Python takes ASCII alone; bundles hold names of authorities, of any language, beside the PEM.
    cadata = None if ca_pem is None else ca_pem.encode("ascii", "ignore").decode()
    if cadata is not None and not cadata.strip():
        raise ValueError("no authority")  # Python would trust the system's
    context = ssl.create_default_context(cadata=cadata)
    if cert_pem is not None:
        # Of both texts: OpenSSL takes the first key that it finds.
        keys = _PRIVATE_KEY.findall(f"{cert_pem}\n{key_pem or ''}")
        if any(len(key) > MOST_KEY_BYTES for key in keys):
            raise ValueError(f"the private key is over {MOST_KEY_BYTES} bytes")
        # OpenSSL reads certificates from files only: an anonymous one in memory leaves nothing
        # on a disk and needs no writable file system.
        with open(os.memfd_create("client-certificate"), "w") as file:
            file.write(f"{cert_pem}\n{key_pem or ''}\n")
            file.flush()
            # An encrypted key would have OpenSSL ask for its passphrase at the terminal.
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_no_passphrase)
    return context


def login_context(
    server: str, *, ca_pem: str | None, cert_pem: str | None, key_pem: str | None
) -> ssl.SSLContext:
    """As `client_context`, of what stands in a Secret.

    Args:
        server: What it is for, in messages: "NATS at nats:4222".
        ca_pem: As there.
        cert_pem: As there.
        key_pem: As there.

    Raises:
        CredentialsError: Certificate, key or authority is malformed (reason InvalidSecret).
    """
    try:
        return client_context(ca_pem=ca_pem, cert_pem=cert_pem, key_pem=key_pem)
    except (ssl.SSLError, ValueError):
        raise CredentialsError(
            f"{server}: the TLS certificate, key or authority is not valid PEM, "
            "the key is encrypted or over 8 kB, or key and certificate do not belong together",
            reason=Reason.INVALID_SECRET,
        ) from None


def _no_passphrase() -> str:
    raise ValueError("the private key is encrypted")
