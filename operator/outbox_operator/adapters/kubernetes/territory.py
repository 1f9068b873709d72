"""In whose namespace a request works, and what follows from that. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from outbox_operator.errors import AccessDeniedError, OutboxError
from outbox_operator.reasons import Reason

HowToGrant = Callable[[str], str]
"""The command for a namespace."""

_NAMESPACE: Final = re.compile(r"/namespaces/([^/]+)/(?!leases)")
"""Of a path; the Lease is in the operator's own, and no matter of who owns another."""


def namespace_of(path: str) -> str | None:
    """The namespace of a path on the API server; None: it is in none, or is about a Lease."""
    place = _NAMESPACE.search(path)
    return None if place is None else place[1]


def with_cure(error: OutboxError, path: str, how_to_grant: HowToGrant | None) -> OutboxError:
    """A missing right that the owner of a namespace can give, with the command; others as they are.

    Args:
        error: The refusal.
        path: What was asked for.
        how_to_grant: The command; None: rights are not given by namespace.
    """
    namespace = namespace_of(path)
    if how_to_grant is None or namespace is None or error.reason != Reason.PERMISSION_DENIED:
        return error
    return AccessDeniedError(
        f"the operator lacks rights in namespace {namespace}; who owns it gives them: "
        f"{how_to_grant(namespace)} ({error.message})"
    )
