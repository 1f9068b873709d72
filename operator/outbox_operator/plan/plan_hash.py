"""Hashes by which people name a plan: typed, pasted into YAML, compared by eye. Pure."""

from __future__ import annotations

from typing import Final

_FIRST: Final = "abcdef"


def plan_hash(digest: str, length: int) -> str:
    """So many hexadecimal digits, the first of which is a letter.

    Without it one in some hundred is a number to YAML, also one such as `12e4`, and whoever writes
    `approvedPlan: …` in a manifest without quotes is refused.

    Args:
        digest: Hexadecimal.
        length: Of what comes back.
    """
    return _FIRST[int(digest[0], 16) % len(_FIRST)] + digest[1:length]
