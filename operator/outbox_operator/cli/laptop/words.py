"""The commands that our sentences name, as they are typed on a laptop. Pure.

For sentences alone. What others wrote, payloads and lines of logs, is data, and stays as it is.
"""

from __future__ import annotations

import re
from typing import Final

VERBS: Final = frozenset(
    (
        "archive", "dlq", "emit", "lag", "logs", "nats", "psql", "rebase", "replay", "reset",
        "status", "verify",
    )
)  # fmt: skip
"""What `outbox dev` has; to the other verbs nothing on a laptop answers."""
_AGAIN: Final = "start `outbox dev` again"
_NAME: Final = r"[\w.-]*\w"
_OUTBOX: Final = re.compile(
    r"(?P<tick>`?)kubectl outbox (?P<verb>[a-z]+)"
    rf"(?P<arguments>(?: (?!-n |kubectl )[^\s`]+)*?)(?: -n {_NAME})"
    r"(?P<options>(?: --[\w-]+)*)(?P=tick)"
    r"|(?P<tick_>`?)kubectl outbox (?P<verb_>[a-z]+)(?P=tick_)"
)
_KUBECTL: Final = re.compile(
    r"(?P<tick>`?)kubectl (?:edit|describe|get) (?:namespace )?[\w./,-]*\w(?: -[nl] [\w./=-]*\w)*"
    r"(?P=tick)"
)


def local(text: str) -> str:
    """A sentence with the commands of a cluster as those of `outbox dev`."""
    text = _OUTBOX.sub(_verb, text)
    return _KUBECTL.sub(f"change the manifest and {_AGAIN}", text)


def _verb(found: re.Match[str]) -> str:
    """One command of ours; in which namespace goes without saying."""
    tick, verb = found["tick"] or found["tick_"] or "", found["verb"] or found["verb_"]
    arguments, options = found["arguments"] or "", found["options"] or ""
    if verb == "doctor" and arguments and not arguments.startswith(" -"):
        verb, options = "logs", ""  # there is no cluster to look at
    if verb == "logs":
        options = options.replace(" --previous", "")  # a log here has the runs before as well
    if verb not in VERBS:
        return _AGAIN
    return f"{tick}outbox dev {verb}{arguments}{options}{tick}"
