"""The one exception of localkube: something the user can read and act on."""

from __future__ import annotations


class LocalkubeError(Exception):
    """A command cannot go on; the text says what, where and what to do about it."""
