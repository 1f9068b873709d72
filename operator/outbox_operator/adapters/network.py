"""Why a connection failed, in the same words whatever it was to."""

from __future__ import annotations

import socket
import ssl


def network_problem(error: BaseException) -> str | None:
    """A few plain words; None when it is something that only one protocol knows."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return None
