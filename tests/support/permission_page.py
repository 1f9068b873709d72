"""What docs/how-to/nats-permissions.md says each role needs: its table, and its blocks to paste."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from support.kube import ROOT

PAGE = ROOT / "docs" / "how-to" / "nats-permissions.md"
_ROW = re.compile(r"^\| (.+?) \| (publish|subscribe) \| `(\S+)` \| .+ \|$", re.MULTILINE)
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Right:
    """One row."""

    role: str
    action: Literal["publish", "subscribe"]
    subject: str

    def __str__(self) -> str:
        return f"{self.role.strip('`')}: {self.action} {self.subject}"


def rights() -> list[Right]:
    """All rows of the table."""
    found = [
        Right(role, "publish" if action == "publish" else "subscribe", subject)
        for role, action, subject in _ROW.findall(PAGE.read_text())
    ]
    assert found, f"{PAGE}: no row of a table"
    return found


def block(language: str) -> str:
    """The first code block in a language."""
    blocks = dict(reversed(_FENCE.findall(PAGE.read_text())))
    return str(blocks[language])


def in_configuration() -> dict[str, set[tuple[str, str]]]:
    """Actions and subjects by user, from the block for the server's configuration."""
    found: dict[str, set[tuple[str, str]]] = {}
    for user, text in re.findall(r"user: (\w+)(.*?)(?=\{ user:|\Z)", block("text"), re.DOTALL):
        lists = re.findall(r"(publish|subscribe): \[(.*?)\]", text, re.DOTALL)
        found[user] = {
            (action, subject)
            for action, subjects in lists
            for subject in re.findall(r'"([^"]+)"', subjects)
        }
    return found


def in_nsc() -> dict[str, set[tuple[str, str]]]:
    """The same, from the nsc commands."""
    found: dict[str, set[tuple[str, str]]] = {}
    for command in block("sh").replace("\\\n", " ").splitlines():
        named = re.match(r"nsc add user .*--name (\w+)", command)
        if named is None:
            continue
        options = re.findall(r"--allow-(pub|sub) '([^']+)'", command)
        found[named[1]] = {
            ("publish" if option == "pub" else "subscribe", subject)
            for option, subjects in options
            for subject in subjects.split(",")
        }
    return found
