"""The parameters of a connection URL: which have an effect, which are harmless, which are not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NoReturn, get_args

from outbox_operator.errors import CredentialsError
from outbox_operator.reasons import Reason
from outbox_operator.wire.config import SslMode

_SSL_MODES: Final[tuple[SslMode, ...]] = get_args(SslMode)
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "sslpassword")
_ENVIRONMENT: Final = ("passfile", "service", "servicefile", "krbsrvname", "gsslib")
_WITHOUT_EFFECT: Final = frozenset(
    {"application_name", "fallback_application_name", "connect_timeout", "client_encoding"}
    | {f"keepalives{what}" for what in ("", "_idle", "_interval", "_count")}
    | {"tcp_user_timeout", "pool_size", "max_overflow", "prepared_statement_cache_size"}
)
"""Ours are better, or a library's that knows the same URL; harmless to find."""
_WANTED: Final = {
    "target_session_attrs": (
        frozenset({"any", "read-write", "primary"}),
        "the outbox is written: remove it, or use read-write",
    ),
    "channel_binding": (
        frozenset({"disable", "prefer"}),
        "remove it and set tls.mode VerifyFull, which proves the server as well",
    ),
    "gssencmode": (frozenset({"disable", "prefer"}), "remove it; TLS encrypts"),
    "sslnegotiation": (frozenset({"postgres"}), "remove it"),
}
SETTINGS: Final = frozenset(
    {"search_path", "timezone", "datestyle", "intervalstyle", "lock_timeout", "work_mem",
     "idle_in_transaction_session_timeout", "geqo", "jit"}
)  # fmt: skip
"""What `options` may set: nothing that changes who somebody is or what our statements do."""
_SETTING: Final = re.compile(r"(?:-c\s*|--)([A-Za-z_.]{1,63})=((?:\\.|[^\s\\]){0,256})\s*")
_EXAMPLE: Final = "postgresql://user:password@host:5432/database?sslmode=verify-full"
_MOST_PARAMETERS: Final = 64


def read_parameters(
    query: Iterable[tuple[str, str]],
) -> tuple[SslMode | None, tuple[tuple[str, str], ...]]:
    """`sslmode`, and the settings that `options` names.

    Raises:
        CredentialsError: A parameter that cannot work here, with the cure; shows no value.
    """
    found = dict(query)
    if len(found) > _MOST_PARAMETERS:
        _refuse(f"it has over {_MOST_PARAMETERS} parameters")
    for name in found.keys() & {*_FILES}:
        if name == "sslrootcert" and found[name] == "system":
            continue  # what we do without one
        _refuse(
            f"parameter {name} names a file, which a URL may not; put its content in a Secret and "
            "name that in tls.caSecretRef, tls.certSecretRef or tls.keySecretRef"
        )
    for name in found.keys() & {*_ENVIRONMENT}:
        _refuse(f"parameter {name} is taken from a machine, which a URL may not; remove it")
    for name in found.keys() & _WANTED.keys():
        values, cure = _WANTED[name]
        if found[name] not in values:
            _refuse(f"parameter {name} must be one of {', '.join(sorted(values))}: {cure}")
    known = {"sslmode", "ssl", "options", *_FILES, *_WANTED, *_WITHOUT_EFFECT}
    if unknown := sorted(found.keys() - known):
        _refuse(f"parameter {_names(unknown)} is not supported; remove it")
    return _sslmode(found), _settings(found.get("options", ""))


def _sslmode(found: dict[str, str]) -> SslMode | None:
    # asyncpg's and SQLAlchemy's own name of it.
    wanted = found.get("sslmode") or found.get("ssl")
    if "sslmode" not in found and wanted == "true":
        wanted = "require"
    mode = next((mode for mode in _SSL_MODES if mode == wanted), None)
    if wanted is not None and mode is None:
        _refuse(f"sslmode must be one of {', '.join(_SSL_MODES)}")
    return mode


def _settings(options: str) -> tuple[tuple[str, str], ...]:
    settings: dict[str, str] = {}
    rest = options.strip()
    while rest:
        match = _SETTING.match(rest)
        if match is None:
            _refuse("options must be of the form -c name=value")
        name = match[1].lower()
        if name not in SETTINGS:
            _refuse(
                f"options may set {', '.join(sorted(SETTINGS))}, found {_names([name])}; "
                "set it for the role: ALTER ROLE … SET …"
            )
        settings[name] = re.sub(r"\\(.)", r"\1", match[2])
        rest = rest[match.end() :]
    return tuple(sorted(settings.items()))


def _names(names: list[str]) -> str:
    """Names somebody gave, fit for a message: they may be parts of a password."""
    plain = [name for name in names if re.fullmatch(r"[a-z_.]{1,40}", name)]
    return ", ".join(plain) if len(plain) == len(names) else "with a name that is none"


def malformed(problem: str) -> CredentialsError:
    """What to say of a URL; `problem` shows nothing of it."""
    return CredentialsError(
        f"the connection URL is malformed: {problem}; wanted for example {_EXAMPLE}",
        reason=Reason.INVALID_SECRET,
    )


def _refuse(problem: str) -> NoReturn:
    raise malformed(problem)
