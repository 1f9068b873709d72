"""What a connection is secured with, from PEM texts, whatever it is to."""

from __future__ import annotations

import os
import ssl


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
        # OpenSSL reads certificates from files only: an anonymous one in memory leaves nothing
        # on a disk and needs no writable file system.
        with open(os.memfd_create("client-certificate"), "w") as file:
            file.write(f"{cert_pem}\n{key_pem or ''}\n")
            file.flush()
            # An encrypted key would have OpenSSL ask for its passphrase at the terminal.
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_no_passphrase)
    return context


def _no_passphrase() -> str:
    raise ValueError("the private key is encrypted")
