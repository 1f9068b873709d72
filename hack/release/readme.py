"""What the README tells a stranger to type, so that a proof can do just that."""

from __future__ import annotations

import shlex

from release.stamp import ROOT, ReleaseError


def command(start: str) -> list[str]:
    """The words of the first command of the README that starts like that.

    Raises:
        ReleaseError: there is none.
    """
    return shlex.split(line(start), comments=True)


def line(start: str) -> str:
    """The first line of the README that starts like that; broken lines are whole.

    Raises:
        ReleaseError: there is none.
    """
    for one in (ROOT / "README.md").read_text().replace("\\\n", "").splitlines():
        if one.startswith(start):
            return one
    raise ReleaseError(f"README.md: wanted a line `{start}…`, found none")
