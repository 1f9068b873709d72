"""What is the same whatever a connection is to: names of hosts, and why it failed, in words."""

from __future__ import annotations

import os
import re
import socket
import ssl
from typing import Final

_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")
_NO_HOST: Final = re.compile(r"[\s%]")
"""Of an IPv6 address a per cent sign begins the zone."""


def network_problem(error: BaseException) -> str | None:
    """A few plain words; None when it is something that only one protocol knows."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.errno is None:
        return _in_words(str(error))
    return None


def _in_words(text: str) -> str | None:
    """What libraries say of a connection in terms of their own, in those of everybody."""
    if "connection_lost()" in text:
        return "the connection was closed"
    if text.startswith("Multiple exceptions: "):  # one for each address of a name
        causes = sorted({int(number) for number in _ERRNO.findall(text)})
        return ", ".join(os.strerror(one).lower() for one in causes) or None
    return None


def can_be_host(name: str | None) -> bool:
    """Whether it is an address, or a name that a resolver would look up."""
    if not name or (_NO_HOST.search(name) and ":" not in name):
        return False
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def as_seen_in(namespace: str, host: str) -> str:
    """A host as pods of a namespace see it: a bare name is a Service beside them.

    The operator lives in another namespace, where the same name may be another server.
    """
    bare = "." not in host and ":" not in host and host != "localhost"
    return f"{host}.{namespace}.svc" if bare else host
