"""The page on roles lists exactly the rights that the migrations give."""

from __future__ import annotations

import re
from itertools import product

from outbox_operator.plan.postgres.archive_schema import archive_grants
from outbox_operator.plan.postgres.migrations import DesiredDatabase
from outbox_operator.plan.postgres.schema import outbox_grants
from support.kube import ROOT

PAGE = ROOT / "docs" / "how-to" / "database-roles.md"


def documented(heading: str, *roles: str) -> set[tuple[str, str, str, str]]:
    """Role, object, privilege and column of each right in the first table below a heading."""
    table = PAGE.read_text().partition(f"## {heading}\n")[2].partition("| On |")[2]
    found = set()
    for line in table.partition("\n\n")[0].splitlines()[2:]:
        target, *rights = (cell.strip() for cell in line.strip("|").split("|"))
        objects = re.findall(r"`([^`]+)`", target)
        for role, cell in zip(roles, rights, strict=True):
            for privilege, listed in re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", cell):
                columns = re.findall(r"`([^`]+)`", listed) or [""]
                found |= set(product([role], objects, [privilege], columns))
    return found


def test_the_page_lists_what_the_migrations_grant() -> None:
    desired = DesiredDatabase(schema="outbox")
    granted = {
        (grant.role, grant.object.partition("(")[0], grant.privilege, grant.column)
        for grant in outbox_grants(desired, writers=("writer",), relay_role="relay")
    }
    assert documented("What each role gets", "writer", "relay") == granted


def test_the_page_lists_what_an_archive_grants() -> None:
    granted = {
        (grant.role, grant.object, grant.privilege, grant.column)
        for grant in archive_grants("archive", writer="writer", readers=("reader",))
    }
    assert documented("An archive", "writer", "reader") == granted
