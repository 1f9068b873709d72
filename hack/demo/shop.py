"""The shop in the cluster: apply it, wait for it, read its tables.

Used by `demo.cli` and by the end-to-end tests. Talks to the cluster through kubectl only.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from demo.kubectl import DemoError, Kubectl, overlay
from demo.sinks import NATS, Sink
from demo.tally import Counts, Ledger

NAMESPACE = "shop"
PIPELINE = "orders"
# The orders in the copies that replays of history have written; quotes would end the shell's.
AGAIN = ("shop", "outbox.events WHERE replay IS NOT NULL", "payload ->> $$id$$")
# Database, table and column in which each service notes the orders it saw.
ORDERS = ("shop", "public.orders", "id")
DECLINED = ("shop", "public.declined", "order_id")
TABLES = {
    "billing": ("billing", "public.invoices", "order_id"),
    "mailer": ("mailer", "public.mails", "order_id"),
    "audit": ("archive", "archive.events", "payload ->> $$id$$"),
}
GAPS = ("archive", "archive.gaps", "first")


@dataclass(frozen=True, slots=True)
class Shop:
    """examples/shop, or what another sink has in its place, applied to a cluster."""

    kubectl: Kubectl
    sink: Sink = NATS

    def apply(self, images: dict[str, str], extra_manifests: str = "") -> None:
        """Apply the example with other images: name in the manifests -> name with tag.

        Raises:
            DemoError: kubectl failed, or the shop is there with another sink, which is fixed.
        """
        there = self.kubectl(
            "get", "obp", PIPELINE, "-n", NAMESPACE, "--ignore-not-found", "-o", "jsonpath={.spec}"
        )
        if there and self.sink.name not in json.loads(there):
            raise DemoError(
                f"this cluster has the shop with another sink than {self.sink.name}, which no "
                "pipeline can change: `make demo-down` removes it, or give this one a cluster of "
                "its own, CLUSTER=another"
            )
        if extra_manifests:
            self.kubectl("apply", "-f", "-", stdin=extra_manifests)
        self.kubectl("apply", "-k", str(overlay(self.sink.example, images)))

    def wait_ready(self, timeout: int) -> None:
        """Wait until the pipeline is Ready.

        Raises:
            DemoError: it is not; with its conditions, which say why.
        """
        try:
            self.kubectl(
                "wait", "-n", NAMESPACE, f"obp/{PIPELINE}",
                "--for=condition=Ready", f"--timeout={timeout}s",
                timeout=timeout + 30,
            )  # fmt: skip
        except DemoError as error:
            pods = self.kubectl("get", "pods", "--all-namespaces")
            raise DemoError(f"{error}\n{self.conditions()}\n{pods}") from error

    def conditions(self) -> str:
        """The pipeline's conditions, a line each."""
        path = r'{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}'
        return self.kubectl("get", "-n", NAMESPACE, f"obp/{PIPELINE}", "-o", f"jsonpath={path}")

    def status(self) -> str:
        """The status table of our resources."""
        return self.kubectl("get", "-n", NAMESPACE, "obp,evs,evc")

    def pods(self) -> str:
        """The pods of the shop."""
        return self.kubectl("get", "-n", NAMESPACE, "pods")

    def take_orders(self, replicas: int) -> None:
        """Open (1) or close (0) the order service, and wait until that is so."""
        self.kubectl("scale", "-n", NAMESPACE, "deployment/orders", f"--replicas={replicas}")
        if replicas:
            self.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/orders", timeout=180)
            return
        deadline = time.monotonic() + 180
        while self.kubectl("get", "pods", "-n", NAMESPACE, "-l", "app=orders", "-o", "name"):
            if time.monotonic() > deadline:
                raise DemoError(f"the order service does not stop:\n{self.pods()}")
            time.sleep(0.5)

    def counts(self) -> Counts:
        """How many orders there are, and how many each consumer handled.

        Consumers are counted first, so that none seems to be ahead of the orders.
        """
        consumers = self._consumers()
        places = [*consumers.values(), DECLINED, ORDERS]
        numbers = self._query(
            [
                (database, f"SELECT count(DISTINCT {column}) FROM {table}")
                for database, table, column in places
            ]
        )
        *handled, declined, committed = (int(lines[0]) for lines in numbers)
        return Counts(committed, declined, dict(zip(consumers, handled, strict=True)))

    def ledger(self) -> Ledger:
        """Every order by id, from every table."""
        consumers = self._consumers()
        archived = "audit" in consumers
        gaps = [GAPS] if archived else []
        places = [*gaps, AGAIN, ORDERS, DECLINED, *consumers.values()]
        found = self._query(
            [(database, f"SELECT {column} FROM {table}") for database, table, column in places]
        )
        missing = len(found.pop(0)) if archived else 0
        again, committed, declined, *handled = found
        return Ledger(
            frozenset(committed), frozenset(declined), dict(zip(consumers, handled, strict=True)),
            again, missing,
        )  # fmt: skip

    def _consumers(self) -> dict[str, tuple[str, str, str]]:
        return {name: TABLES[name] for name in self.sink.consumers}

    def settle(self, timeout: float) -> Counts:
        """Wait until every consumer has caught up, or the time is over; the counts then."""
        deadline = time.monotonic() + timeout
        while not (counts := self.counts()).settled and time.monotonic() < deadline:
            time.sleep(1)
        return counts

    def _query(self, queries: list[tuple[str, str]]) -> list[list[str]]:
        """Lines of each query, run in the Postgres pod in one go."""
        script = "; ".join(
            f"psql -U postgres -d {database} -AtX -v ON_ERROR_STOP=1 -c '{query}' && echo --"
            for database, query in queries
        )
        output = self.kubectl("exec", "-n", NAMESPACE, "postgres-0", "--", "sh", "-ec", script)
        parts = [part.splitlines() for part in output.split("--\n")[:-1]]
        if len(parts) != len(queries):
            raise DemoError(f"the shop's tables could not be read:\n{output}")
        return parts
