"""What many pipelines cost several leaders: writes build/bench/slices.json.

Run by `make bench-slices`. Pipelines of many namespaces, divided into slices with an operator
process each: how long it takes until all are ready, what each process costs a minute when nothing
happens and how much memory it has, and how long a pipeline waits whose leader was killed just
before it was applied. All are in one database and one account, as in `bench.scale`, whose figures
of one leader are what these are compared with.

It ends within its minutes on any machine: pipelines are made in steps, and there is no further step
when more than half of the time is over. The file has each step from the moment it is done; what a
larger number costs is computed from the last of them, and said to be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.measuring import cpu_seconds, peak_rss_mb, rss_mb
from bench.operator_bed import AT_ONCE, apply, conditions, pipeline, ready_conditions, secret, write
from outbox_operator.controller.runtime.slices import slice_of
from support.kube import Kubectl, control_plane, install_crds, kubectl_program, unique_cluster
from support.nats import NatsServer
from support.operator import OperatorProcess, running_operator
from support.options import positive, whole
from support.postgres import running_server
from support.waiting import eventually

OUT: Final = Path("build/bench/slices.json")
STEP: Final = 250
"""Pipelines of a step."""
_SETTLE_SECONDS: Final = 90.0
"""The last passes, before all rests."""
_FILL: Final = 0.55
"""Part of the time in which there are further steps."""


@dataclass(frozen=True)
class Leaders:
    """Operator processes that divide the namespaces."""

    kubectl: Kubectl
    nats: NatsServer
    operators: Sequence[OperatorProcess]
    namespaces: Sequence[str]

    def manifest(self, number: int) -> dict[str, Any]:
        """A pipeline, in the next namespace."""
        document = pipeline(f"scale-{number}", self.nats.url, f"scale_{number}", "shared")
        document["metadata"]["namespace"] = self.namespaces[number % len(self.namespaces)]
        return document

    async def settled(self) -> None:
        """Each leads one slice."""
        await eventually(
            lambda: all(one.metric("outbox_operator_leader") == 1 for one in self.operators),
            "the slices are divided", pause=0.5,
        )  # fmt: skip

    async def fill(self, first: int, count: int, seconds: float) -> dict[str, Any]:
        """More pipelines, until all are ready or it took too long."""
        start, cpu = time.perf_counter(), self._cpu()
        for number in range(first, first + count, AT_ONCE):
            numbers = range(number, min(first + count, number + AT_ONCE))
            await apply(self.kubectl, *(self.manifest(one) for one in numbers))
        applied, total, ready = time.perf_counter() - start, first + count, 0
        while (waited := time.perf_counter() - start) < seconds:
            # To ask for all of them takes the API server and kubectl a second for each 500.
            await asyncio.sleep(max(1.0, total / 200))
            ready = (await ready_conditions(self.kubectl, "-A")).count("True")
            if ready == total:
                break
        spent = [after - before for after, before in zip(self._cpu(), cpu, strict=True)]
        return {
            "pipelines": total,
            "ready": ready,
            "apply_s": round(applied, 1),
            "ready_s": round(waited, 1),
            "cpu_ms_each": round(sum(spent) / count * 1000),
            **self.sizes(),
        }

    def sizes(self) -> dict[str, Any]:
        """Objects and memory of each process."""
        pids = [_pid(one) for one in self.operators]
        return {
            "objects": [int(one.metric("outbox_operator_objects")) for one in self.operators],
            "rss_mb": [rss_mb(pid) for pid in pids],
            "peak_rss_mb": [peak_rss_mb(pid) for pid in pids],
        }

    async def idle(self, seconds: float) -> dict[str, Any]:
        """What each process costs a minute in which nothing happens."""
        before, begun = self._cpu(), time.perf_counter()
        await asyncio.sleep(seconds)
        minutes = (time.perf_counter() - begun) / 60
        return {
            "minutes": round(minutes, 1),
            "cpu_s_per_min": [
                round((after - earlier) / minutes, 2)
                for after, earlier in zip(self._cpu(), before, strict=True)
            ],
            **self.sizes(),
        }

    async def takeover(self, number: int) -> dict[str, Any]:
        """A leader is killed, and a pipeline of its slice applied at once."""
        document = self.manifest(number)
        namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
        index = str(slice_of(namespace, len(self.operators)))
        victim = next(
            one for one in self.operators if one.metric("outbox_operator_leader", slice=index)
        )
        start = time.perf_counter()
        victim.kill()
        await apply(self.kubectl, document)

        async def ready() -> bool:
            field = f"--field-selector=metadata.name={name}"
            return "True" in await ready_conditions(self.kubectl, "-n", namespace, field)

        await eventually(ready, "another leads", seconds=600, pause=0.5)
        return {"killed_to_ready_s": round(time.perf_counter() - start, 1)}

    def _cpu(self) -> list[float]:
        return [cpu_seconds(_pid(one)) for one in self.operators]


def _pid(operator: OperatorProcess) -> int:
    assert operator.process is not None
    return operator.process.pid


async def measure(leaders: Leaders, options: argparse.Namespace) -> dict[str, Any]:
    """All figures; those that there are, in the file, whenever something is done."""
    begun, budget = time.perf_counter(), options.minutes * 60
    await leaders.settled()
    steps: list[dict[str, Any]] = []
    figures: dict[str, Any] = {
        "slices": options.slices,
        "asked_for": options.pipelines,
        "lease_s": options.lease_seconds,
    }
    figures |= {"complete": False, "empty": leaders.sizes(), "steps": steps}

    def keep() -> None:
        write({"conditions": conditions(), "slices": figures}, OUT, quiet=True)

    made = 0
    while made < options.pipelines and (spent := time.perf_counter() - begun) < _FILL * budget:
        count = min(STEP, options.pipelines - made)
        steps.append(await leaders.fill(made, count, _FILL * budget - spent + 120))
        made += count
        print(f"{time.perf_counter() - begun:5.0f} s: {steps[-1]}", flush=True)
        keep()
    await asyncio.sleep(_SETTLE_SECONDS)
    left = budget - (time.perf_counter() - begun)
    figures["idle"] = await leaders.idle(min(600.0, max(120.0, left - 120)))
    keep()
    figures["takeover"] = await leaders.takeover(made)
    figures["computed"] = projected(figures, options.pipelines)
    return figures | {"complete": True}


def projected(figures: Mapping[str, Any], pipelines: int) -> dict[str, Any]:
    """What the number that was asked for takes, if each further one costs what these did."""
    last, idle, empty = figures["steps"][-1], figures["idle"], figures["empty"]
    made = last["pipelines"]
    times = pipelines / made
    return {
        "from": made,
        "pipelines": pipelines,
        "cpu_s_per_min": [round(one * times, 1) for one in idle["cpu_s_per_min"]],
        "rss_mb": [
            round(before + (now - before) * times)
            for now, before in zip(idle["rss_mb"], empty["rss_mb"], strict=True)
        ],
        "ready_cpu_s": round(last["cpu_ms_each"] * pipelines / 1000),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Servers, and a process for each slice."""
    namespaces = [f"team-{number}" for number in range(options.namespaces)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(control_plane(unique_cluster("slices")))
        server = stack.enter_context(running_server(fsync="on"))
        nats = stack.enter_context(NatsServer())
        kubectl = Kubectl(kubectl_program(), cluster.kubeconfig)
        install_crds(kubectl)
        url = server.create_database()
        logins = []
        for name in namespaces:
            login = secret("shared", url)
            login["metadata"]["namespace"] = name
            logins.append(login)
        spaces = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            for name in namespaces
        ]
        for documents in (spaces, logins):
            answer = kubectl.apply(*documents)
            if answer.code:
                raise SystemExit(answer.err)
        variables = {
            "OUTBOX_SLICES": str(options.slices),
            "OUTBOX_LEASE_DURATION": str(options.lease_seconds),
            "OUTBOX_LEASE_DEADLINE": str(options.lease_seconds * 2 / 3),
        }
        operators = [
            stack.enter_context(
                running_operator(
                    cluster.kubeconfig,
                    folder / f"{number}.log",
                    identity=f"pod-{number}",
                    log_level="INFO",
                    pauses={},
                    variables=variables,
                    forked=False,
                )
            )
            for number in range(options.slices)
        ]
        return asyncio.run(measure(Leaders(kubectl, nats, operators, namespaces), options))


def main() -> None:
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--pipelines", type=whole(1), default=5000)
    parser.add_argument("--slices", type=whole(2), default=3)
    parser.add_argument("--namespaces", type=whole(1), default=60)
    parser.add_argument("--minutes", type=positive, default=25)
    # As users have it: how long a dead leader stays is measured. Longer on a machine so busy that
    # leaders cannot renew theirs.
    parser.add_argument("--lease-seconds", type=whole(3), default=15)
    options = parser.parse_args()
    write({"conditions": conditions(), "slices": run(options)}, OUT)


if __name__ == "__main__":
    main()
