"""What the API server's refusals mean to the person who called, and the command that says more.

Pure.
"""

from __future__ import annotations

import re
from typing import Final

from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.errors import AccessDeniedError, OutboxError, SpecError

_FORBIDDEN: Final = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)"'
    r'(?: in API group "(?P<group>[^"]*)")?(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_NO_KIND: Final = re.compile(r"could not find the requested resource|: 404 page not found$")
"""The second is what an API server says that has none of the group; kubectl makes it the first."""


class NotInstalledError(SpecError):
    """The cluster does not have our resources."""


def explained(error: OutboxError, context: str) -> OutboxError:
    """The same refusal with what to do about it; errors of other kinds as they are.

    Args:
        error: As the adapter raised it.
        context: Of the kubeconfig.
    """
    message = " ".join(error.message.split())
    if isinstance(error, NotFoundError) and _NO_KIND.search(message):
        found = next((one for one in meta.PLURALS.values() if f" {one} " in message), "resources")
        return NotInstalledError(
            f"{found} of {meta.GROUP} are not installed in the cluster of context {context!r}; "
            "install the chart or bring it up to date, or choose another --context"
        )
    if not isinstance(error, AccessDeniedError):
        return error
    refused = _FORBIDDEN.search(message)
    if refused is None:
        if "Unauthorized" not in message:
            return error
        return AccessDeniedError(
            f"the API server does not accept the login of context {context!r}; log in again, "
            "`kubectl auth whoami` says as whom"
        )
    resource = ".".join(part for part in (refused["resource"], refused["group"]) if part)
    place = f" -n {refused['namespace']}" if refused["namespace"] else " -A"
    where = f"in namespace {refused['namespace']}" if refused["namespace"] else "in all namespaces"
    return AccessDeniedError(
        f"{refused['user']} may not {refused['verb']} {resource} {where}; "
        f"`kubectl auth can-i {refused['verb']} {resource}{place}` asks for it, and who may make "
        f"RoleBindings there gives it"
    )
