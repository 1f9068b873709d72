"""A login as the programs of PostgreSQL take it: variables of libpq."""

from __future__ import annotations

from outbox_operator.adapters.postgres.url import PostgresTarget


def environment(
    target: PostgresTarget, *, ca: str | None, cert: str | None, key: str | None
) -> dict[str, str]:
    """Variables with which `psql` logs in as we do.

    Args:
        target: The login.
        ca: File with the authorities that sign the server.
        cert: File with the client's certificate.
        key: File with its key.
    """
    several = len(target.hosts) > 1
    found = {
        "PGHOST": ",".join(host for host, _ in target.hosts),
        "PGPORT": ",".join(str(port) for _, port in target.hosts),
        "PGDATABASE": target.database,
        "PGUSER": target.user,
        "PGPASSWORD": target.password,
        "PGSSLMODE": target.sslmode,
        "PGSSLROOTCERT": ca,
        "PGSSLCERT": cert,
        "PGSSLKEY": key,
        # As ours: the first that can be written.
        "PGTARGETSESSIONATTRS": "read-write" if several else None,
        "PGOPTIONS": " ".join(f"-c {name}={_escaped(value)}" for name, value in target.settings),
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": "kubectl-outbox",
    }
    return {name: value for name, value in found.items() if value}


def _escaped(value: str) -> str:
    """A value within `options`, where blanks part settings."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
