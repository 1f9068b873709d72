"""The commands that verbs name, as they are typed on a laptop. Pure."""

from __future__ import annotations

import re
from typing import Final

_OUTBOX: Final = re.compile(r"kubectl outbox ([^`\n]*?) -n [\w.-]+")
_KUBECTL: Final = re.compile(r"kubectl (?:edit|describe|get)\b[^`\n]*")
_DOCTOR: Final = re.compile(r"outbox dev doctor (?!-)([\w.-]+)")
_AT_ALL: Final = re.compile(r"(?:outbox|outbox dev) doctor\b[^`\n]*")


def local(text: str) -> str:
    """A text with the commands of a cluster as those of `outbox dev`."""
    text = _OUTBOX.sub(r"outbox dev \1", text)
    text = text.replace("kubectl outbox", "outbox")
    text = _DOCTOR.sub(r"outbox dev logs \1", text)  # which has no cluster to look at
    text = _AT_ALL.sub("start `outbox dev` again", text)
    return _KUBECTL.sub("change the manifest and start `outbox dev` again", text)
