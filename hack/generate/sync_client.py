"""The synchronous half of the library, from the asynchronous one.

What is written by hand is `client/drivers.py`, `client/inbox.py` and `client/outbox.py`. Words
that only the asynchronous half needs go, names are exchanged, and what is said differently is
listed here: a phrase that is found no longer is an error, so that the two halves cannot drift
apart.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path("operator/outbox_operator/client")
HEADER = "# Generated from client/{source} by `make generate`. Do not edit.\n"

WORDS = {
    "AbstractAsyncContextManager": "AbstractContextManager",
    "AsyncConnection": "Connection",
    "AsyncCursor": "Cursor",
    "AsyncIterator": "Iterator",
    "AsyncSession": "Session",
    "ASYNC_CONNECTIONS": "SYNC_CONNECTIONS",
    "Inbox": "SyncInbox",
    "Outbox": "SyncOutbox",
    "OutboxConnection": "SyncOutboxConnection",
    "asynccontextmanager": "contextmanager",
    "asyncpg_driver": "django_driver",
    "drivers": "sync_drivers",
}
"""Names of the asynchronous half to those of the synchronous one."""

PHRASES = {
    "drivers.py": {
        "asynchronous drivers.": "synchronous drivers.",
        "Used by `client.outbox` and `client.inbox`.": (
            "Used by `client.sync_outbox` and `client.sync_inbox`."
        ),
        # An attribute where nothing can be awaited.
        "connection.get_raw_connection()": "connection.connection",
    },
    "inbox.py": {
        """\
Imported by applications that read a stream themselves, and by the inbox of the consumer runtime.
""": """\
Imported by applications that read a stream themselves, through synchronous drivers.
""",
        "from collections.abc import Awaitable, Callable,": "from collections.abc import Callable,",
        "import drivers, encoding": "import encoding, sync_drivers",
        "import awaitable, has_run": "import not_async",
        "handler: Callable[[], Awaitable[object]],": "handler: Callable[[], object],",
        "has_run(await awaitable(handler()))": "not_async(handler())",
        "TypeError: The handler is not async, or none at all.": (
            "TypeError: The handler is async, so that nothing of it ran, or none at all."
        ),
    },
    "outbox.py": {
        "for asynchronous drivers.": "for synchronous drivers.",
        """\
    Connections are asyncpg's `Connection` (or a pool's), psycopg's `AsyncConnection`, and
    SQLAlchemy's `AsyncConnection` and `AsyncSession`. `SyncOutbox` is for the others. Every
    method with a connection raises what its driver raises, besides what is listed.
""": """\
    Connections are psycopg's `Connection`, SQLAlchemy's `Connection` and `Session`, and Django's
    `connection`. The methods are those of `Outbox`, without `await`. Every method with a
    connection raises what its driver raises, besides what is listed.
""",
        """\
            connection: A session of SQLAlchemy's ORM, or a connection whose transaction was
                opened with `transaction`: the others do not tell when they commit.
""": """\
            connection: A session of SQLAlchemy's ORM, Django's connection in an atomic block, or
                one whose transaction was opened with `transaction`: the others do not tell when
                they commit.
""",
    },
}
"""By file: what the synchronous half says instead, word by word."""

AWAITED = {
    "from outbox_operator.client.awaiting import Awaited, seen\n": "",
    "(Awaited)": "",
    "    @seen\n": "",
}
"""What nobody can forget to await needs none of this."""

_NAME = re.compile(r"\b(" + "|".join(map(re.escape, WORDS)) + r")\b(?!-)")  # but no header


def files(root: Path) -> dict[Path, str]:
    """Path to text of every generated module.

    Args:
        root: Of the repository.
    """
    return {CLIENT / f"sync_{name}": _formatted(_sync(root, name)) for name in PHRASES}


def _sync(root: Path, source: str) -> str:
    text = (root / CLIENT / source).read_text()
    kept: list[str] = []
    awaited = {} if source == "drivers.py" else AWAITED
    for phrase, instead in {**PHRASES[source], **awaited}.items():
        if phrase not in text:
            raise ValueError(f"{source} does not say {phrase!r} any longer")
        # What is said instead is not to be translated again.
        text = text.replace(phrase, f"\0{len(kept)}\0")
        kept.append(instead)
    text = re.sub(r"\bawait ", "", text)
    text = re.sub(r"\basync (def|with|for)\b", r"\1", text)
    text = _NAME.sub(lambda match: WORDS[match[1]], text)
    text = re.sub(r"\0(\d+)\0", lambda match: kept[int(match[1])], text)
    return HEADER.format(source=source) + text


def _formatted(text: str) -> str:
    """Sorted imports and lines as `make format` would leave them."""
    for command in (["check", "--select", "I", "--fix-only", "--quiet"], ["format", "--quiet"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", CLIENT / "sync.py", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    return text
