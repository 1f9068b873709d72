"""The shop in the cluster: apply it, wait for it, read its tables.

Used by `demo.cli` and by the end-to-end tests. Talks to the cluster through kubectl only.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from demo.tally import Counts, Ledger

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "shop"
PIPELINE = "orders"
# Database, table and column in which each service notes the orders it saw.
ORDERS = ("shop", "public.orders", "id")
DECLINED = ("shop", "public.declined", "order_id")
CONSUMERS = {
    "billing": ("billing", "public.invoices", "order_id"),
    "mailer": ("mailer", "public.mails", "order_id"),
}


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl against the demo's cluster."""

    program: str
    kubeconfig: Path

    def environment(self) -> dict[str, str]:
        """Environment for kubectl and helm. The cluster is near: no proxy may get in between."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "NO_PROXY": "*", "no_proxy": "*"}

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Standard output of a command.

        Raises:
            DemoError: it failed, or took longer than `timeout` seconds.
        """
        command = [self.program, *arguments]
        try:
            done = subprocess.run(
                command,
                env=self.environment(),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"kubectl {' '.join(arguments)}: no answer in {timeout} s") from error
        if done.returncode:
            raise DemoError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


@dataclass(frozen=True, slots=True)
class Shop:
    """examples/shop, applied to a cluster."""

    kubectl: Kubectl

    def apply(self, images: dict[str, str], extra_manifests: str = "") -> None:
        """Apply the example with other images: name in the manifests -> name with tag."""
        overlay = ROOT / "build" / "demo"
        overlay.mkdir(parents=True, exist_ok=True)
        (overlay / "kustomization.yaml").write_text(_overlay(images))
        (overlay / "extra.yaml").write_text(extra_manifests)
        if extra_manifests:
            self.kubectl("apply", "-f", str(overlay / "extra.yaml"))
        self.kubectl("apply", "-k", str(overlay))

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
            self.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/orders")
            return
        deadline = time.monotonic() + 60
        while self.kubectl("get", "pods", "-n", NAMESPACE, "-l", "app=orders", "-o", "name"):
            if time.monotonic() > deadline:
                raise DemoError(f"the order service does not stop:\n{self.pods()}")
            time.sleep(0.5)

    def counts(self) -> Counts:
        """How many orders there are, and how many each consumer handled.

        Consumers are counted first, so that none seems to be ahead of the orders.
        """
        places = [*CONSUMERS.values(), DECLINED, ORDERS]
        numbers = self._query([(place[0], f"SELECT count(*) FROM {place[1]}") for place in places])
        *handled, declined, committed = (int(lines[0]) for lines in numbers)
        return Counts(committed, declined, dict(zip(CONSUMERS, handled, strict=True)))

    def ledger(self) -> Ledger:
        """Every order by id, from every table."""
        places = [ORDERS, DECLINED, *CONSUMERS.values()]
        committed, declined, *handled = self._query(
            [(database, f"SELECT {column} FROM {table}") for database, table, column in places]
        )
        return Ledger(
            frozenset(committed), frozenset(declined), dict(zip(CONSUMERS, handled, strict=True))
        )

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


def _overlay(images: dict[str, str]) -> str:
    lines = [
        "# Written by hack/demo: the shop with the images that were built here.",
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        "resources: [../../examples/shop]",
        *(["images:"] if images else []),
    ]
    for name, image in images.items():
        repository, _, tag = image.rpartition(":")
        lines.append(f"  - {{name: {name}, newName: {repository}, newTag: {tag}}}")
    return "\n".join(lines) + "\n"
