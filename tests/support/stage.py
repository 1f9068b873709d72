"""A cluster with the operator and the shop, for end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from demo.clusters import Images
from demo.kubectl import DemoError, Kubectl
from demo.shop import Shop

from support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Stage:
    """A cluster with the operator installed by its chart, and the shop."""

    kubectl: Kubectl
    shop: Shop
    images: Images

    def eventually(self, what: str, check: Callable[[], bool], seconds: float = 300) -> None:
        """Wait until `check` holds; a command that fails in between counts as not yet."""
        found: list[str] = []

        def holds() -> bool:
            found.clear()
            try:
                return check()
            except DemoError as error:
                found.append(str(error))
                return False

        def detail() -> str:
            return "\n".join([*found, self.shop.status(), self.shop.conditions(), self.shop.pods()])

        wait_until(holds, what, seconds=seconds, detail=detail, pause=0.5)

    def sql(self, database: str, statement: str) -> str:
        """Run SQL as the superuser of the shop's Postgres; columns are separated by `|`."""
        return self.kubectl(
            "exec", "-n", "shop", "postgres-0", "--", "psql", "-U", "postgres",
            "-d", database, "-AtqX", "-v", "ON_ERROR_STOP=1", "-c", statement,
        ).strip()  # fmt: skip
