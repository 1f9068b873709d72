r"""What texts of the resources have to look like: as expressions, and in words.

The expressions go into the resource definitions, where the API server refuses what does not match.
Who reads a message of ours gets the words: `wanted a duration such as 30s, found 'soon'`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DURATION: Final = r"^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+)$"
SIZE: Final = r"^(-1|[0-9]+(\.[0-9]+)?(k|Ki|M|Mi|G|Gi|T|Ti)?)$"
SQL_IDENTIFIER: Final = r"^[a-z_][a-z0-9_]*$"
NATS_NAME: Final = r"^[^\s.*>/\\]+$"
STREAM_NAME: Final = r"^[^\s*>/\\]+$"
JETSTREAM_DOMAIN: Final = r"^[^\s.*>]+$"
NO_SPACES: Final = r"^[^\s]+$"
NO_NULL: Final = "^[^\\x00]+$"
"""PostgreSQL has no text with such a byte: nothing could be meant."""
OBJECT_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DATA_KEY: Final = r"^[-._a-zA-Z0-9]+$"
REASON: Final = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
NATS_URLS: Final = r"^(nats|tls)://[^\s,/@]+(,(nats|tls)://[^\s,/@]+)*$"
REDIS_URL: Final = r"^rediss?://[^\s,/@?#]+(/[0-9]{1,4})?$"
HTTP_URL: Final = r"^https?://[^\s/@?#]+([/?#][^\s]*)?$"
HTTPS_URL: Final = r"^https://[^\s@]+$"
DATABASE_HOSTS: Final = r"^[^\s/@]+$"
SHARE: Final = r"^[0-9]{1,3}%?$"
PLAN_HASH: Final = r"^[0-9a-f]+$"
CLASS_NAME: Final = r"^[a-z]([a-z0-9_]{0,28}[a-z0-9])?$"
COLUMN_NAME: Final = r"^[a-z][a-z0-9_]{0,39}$"
PLACE: Final = r"^(\$|ce:)"
MODULE: Final = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"

WORDS: Final[Mapping[str, str]] = {
    DURATION: "a duration such as 500ms, 30s, 5m, 24h or 30d",
    SIZE: "a size such as 512Ki, 100Mi, 1Gi, or -1 for no limit",
    SQL_IDENTIFIER: "a name of a-z, 0-9 and _ that begins with no digit",
    NATS_NAME: "a name without spaces and without . * > / \\",
    STREAM_NAME: "a name without spaces and without * > / \\",
    JETSTREAM_DOMAIN: "a name without spaces and without . * >",
    NO_SPACES: "text without spaces",
    NO_NULL: "text without the character U+0000",
    OBJECT_NAME: "a name of a-z, 0-9 and - that begins and ends with a letter or digit",
    DNS_NAME: "the name of a Secret, of a-z, 0-9, - and .",
    DATA_KEY: "a key in a Secret, of letters, digits, - _ and .",
    REASON: "one CamelCase word",
    NATS_URLS: "URLs such as nats://nats.nats:4222 or tls://nats.nats:4222, separated by commas, "
    "without credentials",
    REDIS_URL: "a URL such as redis://redis.redis:6379 or rediss://redis.redis/1, without "
    "credentials",
    HTTP_URL: "a URL such as http://billing.shop/events, without credentials",
    HTTPS_URL: "a URL that begins with https://, without credentials",
    DATABASE_HOSTS: "host names or addresses separated by commas, without spaces, credentials and "
    "paths",
    SHARE: "a share such as 10%",
    PLAN_HASH: "the hash of a plan, of 0-9 and a-f",
    CLASS_NAME: "a name of at most 30 of a-z, 0-9 and _ that begins with a letter and does not end "
    "with _",
    COLUMN_NAME: "a name of at most 40 of a-z, 0-9 and _ that begins with a letter",
    PLACE: "a path in the payload that begins with $, or an attribute that begins with ce:",
    MODULE: "package.module:function, or of Handlers package.module:app",
}
"""Of each expression, what it wants."""
_NEVER_SHOWN: Final = frozenset(
    {DNS_NAME, DATA_KEY, NATS_URLS, REDIS_URL, HTTP_URL, HTTPS_URL, DATABASE_HOSTS}
)
"""Where somebody may have written a password, or the secret itself instead of its name."""
LONGEST_SHOWN: Final = 64


def told(pattern: str, found: str | None) -> str:
    """What was wanted, in words, and what was found where that can be no secret; None: no text."""
    wanted = f"wanted {WORDS[pattern]}"
    if found is None or pattern in _NEVER_SHOWN or "://" in found:
        return wanted
    cut = "…" if len(found) > LONGEST_SHOWN else ""
    return f"{wanted}, found {found[:LONGEST_SHOWN]!r}{cut}"
