"""A database seen through three logins: superuser (only to arrange things), owner, and others."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.connection import Connection, connect
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.api.v1alpha1.common import AdoptionPolicy
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres.migrations import (
    DesiredDatabase,
    DesiredInbox,
    MigrationPlan,
    plan_inbox,
    plan_migrations,
)
from outbox_operator.plan.state import Owner
from support.outbox import OWNER
from support.postgres import PostgresServer


class OwnedDatabase:
    """Opens and closes connections of several roles to one database.

    Attributes:
        root: Superuser's connection.
        role: Role that migrates.
        connection: Its connection.
        admin: Administration over that connection.
    """

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.server = server
        self.name = url.rpartition("/")[2]
        self._root_url = url
        self._stack = AsyncExitStack()
        self.root: Connection
        self.connection: Connection
        self.admin: PostgresAdmin
        self.role, self._password = server.create_role("owner")

    async def __aenter__(self) -> OwnedDatabase:
        self.root = await self._open(self._root_url)
        await self.root.execute(f'GRANT CREATE ON DATABASE "{self.name}" TO "{self.role}"')
        # As the operator's: whatever it asks passes the guard.
        self.connection = await self._open(self.url, guarded=True)
        self.admin = PostgresAdmin(self.connection, parse_url(self.url))
        return self

    @property
    def url(self) -> str:
        """For the role that migrates."""
        return self.server.url(self.name, self.role, self._password)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self, url: str, *, guarded: bool = False) -> Connection:
        connection = await connect(parse_url(url), application_name="test", guarded=guarded)
        self._stack.push_async_callback(connection.close)
        return connection

    async def second_owner(self) -> tuple[Connection, PostgresAdmin]:
        """Another session of the migration role."""
        connection = await self._open(self.url)
        return connection, PostgresAdmin(connection, parse_url(self.url))

    async def other_role(self, prefix: str) -> tuple[str, Connection]:
        """A new role without any right, and its connection."""
        role, password = self.server.create_role(prefix)
        return role, await self._open(self.server.url(self.name, role, password))

    async def plan(
        self, desired: DesiredDatabase, owner: Owner = OWNER, adoption: AdoptionPolicy = "Fail"
    ) -> MigrationPlan:
        """What would be done."""
        claim = Claim(owner=owner, adoption=adoption)
        return plan_migrations(desired, await self.admin.observe(desired), claim)

    async def migrate(
        self,
        desired: DesiredDatabase,
        owner: Owner = OWNER,
        adoption: AdoptionPolicy = "Fail",
        **options: Any,
    ) -> MigrationPlan:
        """Plan and do it; returns the plan."""
        plan = await self.plan(desired, owner, adoption)
        settings = {"lock_timeout": 5.0, "operator_version": "1.2.3", **options}
        claim = Claim(owner=owner, adoption=adoption)
        await self.admin.apply(plan, desired, claim, **settings)
        return plan

    async def plan_inbox(self, desired: DesiredInbox) -> MigrationPlan:
        """What would be done for an inbox."""
        return plan_inbox(desired, await self.admin.observe(desired))
