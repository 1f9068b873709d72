"""Loads the statements of `adapters/postgres/sql/admin_*.sql` for a schema."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from outbox_operator.wire.tables import quote_identifier


@cache
def statement(name: str, *, schema: str = "", partition: str = "") -> str:
    """A statement with its identifiers filled in.

    Args:
        name: Name of the file without `.sql`.
        schema: Replaces `{schema}`, quoted.
        partition: Table of that schema; replaces `{partition}`, quoted and with its schema.
    """
    text = resources.files(__package__).joinpath("sql", f"{name}.sql").read_text("utf-8")
    quoted = quote_identifier(schema)
    text = text.replace("{partition}", f"{quoted}.{quote_identifier(partition)}")
    return text.replace("{schema}", quoted)


def lock_key(purpose: str, schema: str) -> int:
    """Key of an advisory lock: stable, 64 bits signed, unlike any other lock of ours."""
    digest = hashlib.blake2b(f"outbox {purpose}\0{schema}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), signed=True)
