"""The page on roles lists exactly the rights that the migrations give."""

from __future__ import annotations

import re
from itertools import product

from outbox_operator.plan.postgres.migrations import DesiredDatabase
from outbox_operator.plan.postgres.schema import outbox_grants
from support.kube import ROOT

PAGE = ROOT / "docs" / "how-to" / "database-roles.md"


def documented() -> set[tuple[str, str, str, str]]:
    """Role, object, privilege and column of each right in the page's table."""
    table = PAGE.read_text().partition("## What each role gets")[2].partition("\n\n")[2]
    found = set()
    for line in table.partition("\n\n")[0].splitlines()[2:]:
        target, writers, relay = (cell.strip() for cell in line.strip("|").split("|"))
        objects = re.findall(r"`([^`]+)`", target)
        for role, cell in (("writer", writers), ("relay", relay)):
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
    assert documented() == granted
