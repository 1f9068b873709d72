"""The course of the demo. Exit status: 0 the promise held, 1 it did not, 2 something is missing."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence

from localkube.layout import DEFAULT_NAME as DEFAULT_CLUSTER

from demo import monitoring, screen
from demo.clusters import Cluster
from demo.kubectl import ROOT, DemoError, Kubectl
from demo.shop import Shop
from demo.sinks import NATS, SINKS

RELEASE = "outbox-operator"
RELEASE_NAMESPACE = "outbox-system"
SELECTOR = f"app.kubernetes.io/name={RELEASE}"
MISSING = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo, or remove it."""
    parser = argparse.ArgumentParser(prog="demo", description="outbox-operator, live.")
    parser.add_argument("--cluster", default=DEFAULT_CLUSTER, help="name of the cluster")
    parser.add_argument("--sink", choices=SINKS, default="nats", help="where the shop's events go")
    parser.add_argument("--seconds", type=float, default=30, help="how long the shop is watched")
    parser.add_argument("--down", action="store_true", help="remove the cluster and all in it")
    options = parser.parse_args(argv)
    cluster = Cluster(options.cluster, SINKS[options.sink])
    try:
        if options.down:
            cluster.down()
            return 0
        return _demo(cluster, options.seconds)
    except (DemoError, subprocess.TimeoutExpired) as error:
        screen.title("The demo cannot go on")
        screen.say(str(error))
        return 1
    except KeyboardInterrupt:
        named, sink = _option(cluster.name), cluster.sink
        chosen = "" if sink is NATS else f" SINK={sink.name}"
        screen.say(f"\ninterrupted; `make demo{chosen}{named}` goes on from here")
        screen.say(f"`make demo-down{named}` removes the cluster")
        return 1


def _demo(cluster: Cluster, seconds: float) -> int:
    screen.title("Prerequisites")
    if not cluster.prepare():
        return MISSING
    with cluster.building_images():
        with screen.timed("Cluster; the images of the operator and the shop are made meanwhile"):
            kubectl = cluster.up()
        with screen.timed("Images"):
            images = cluster.images()
    with screen.timed("The operator, by Helm"):
        install(cluster.program("helm"), kubectl, images.operator)
    shop = Shop(kubectl, cluster.sink)
    with screen.timed(f"The shop: examples/{shop.sink.example}, until its pipeline is Ready"):
        shop.apply(images.shop, cluster.volumes(kubectl))
        shop.wait_ready(timeout=300)
    with screen.timed("Prometheus with our alerts: examples/monitoring"):
        monitoring.apply(kubectl, images.monitoring)
    _watch(shop, seconds)
    held = _check(shop)
    _show_next_steps(kubectl, cluster)
    return 0 if held else 1


def install(
    helm: str,
    kubectl: Kubectl,
    image: str,
    environment: Mapping[str, str] | None = None,
    values: Mapping[str, object] | None = None,
) -> None:
    """Install or upgrade the chart with an image that the cluster has.

    Args:
        helm: The program.
        kubectl: Against the cluster.
        image: Of the operator, with its tag.
        environment: More variables for the operator.
        values: More values of the chart, by their paths.

    Raises:
        DemoError: helm failed; with what it said, and what the operator said.
    """
    repository, _, tag = image.rpartition(":")
    extra = [{"name": name, "value": value} for name, value in (environment or {}).items()]
    command = [
        helm, "upgrade", "--install", RELEASE, str(ROOT / "charts/outbox-operator"),
        "--namespace", RELEASE_NAMESPACE, "--create-namespace",
        "--set", f"image.repository={repository}", "--set", f"image.tag={tag}",
        "--set", "replicas=1",  # one node: a standby would have nowhere else to be
        "--set-json", f"extraEnv={json.dumps(extra)}",
        *(f"--set-json={path}={json.dumps(value)}" for path, value in (values or {}).items()),
        "--wait", "--timeout", "2m",
    ]  # fmt: skip
    done = subprocess.run(
        command, env=kubectl.environment(), capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        pods = kubectl("get", "pods", "-n", RELEASE_NAMESPACE)
        events = kubectl("events", "-n", RELEASE_NAMESPACE, "--types=Warning")
        logs = kubectl("logs", "-n", RELEASE_NAMESPACE, "-l", SELECTOR, "--prefix", "--tail=5")
        raise DemoError(f"helm upgrade --install: {done.stderr.strip()}\n{pods}\n{events}\n{logs}")


def _watch(shop: Shop, seconds: float) -> None:
    screen.title("Live: every 7th order is rolled back on purpose")
    screen.say(
        "Beside the clock: counted in the shop's own tables, of all that this cluster has seen.\n"
        "The numbers in the status tables are up to 15 seconds old."
    )
    shop.take_orders(1)
    started = time.monotonic()
    ticks = 0
    while (elapsed := time.monotonic() - started) < seconds:
        screen.say(shop.counts().line(elapsed))
        if ticks % 4 == 3:
            screen.say(shop.status())
        ticks += 1
        time.sleep(3)


def _check(shop: Shop) -> bool:
    screen.title("The shop closes for a moment; consumers catch up")
    shop.take_orders(0)
    started = time.monotonic()
    counts = shop.settle(timeout=120)
    screen.say(counts.line(time.monotonic() - started))
    ledger = shop.ledger()
    screen.title("Summary")
    screen.say(ledger.summary())
    problems = ledger.problems()
    if problems:
        screen.say("\nThe promise did NOT hold:\n" + "\n".join(f"- {one}" for one in problems))
    else:
        again = ", and once more for each replay of them" if ledger.again else ""
        none = f"None of the {len(ledger.declined)} rolled back orders was ever seen."
        screen.say(
            f"\nAll {len(ledger.committed)} committed orders took effect exactly once in each "
            f"consumer{again}.\n{none}"
        )
    if archived := ledger.archived():
        screen.say(archived)
    shop.take_orders(1)
    return not problems


def _option(cluster: str) -> str:
    """What make has to be told of a cluster's name."""
    return "" if cluster == DEFAULT_CLUSTER else f" CLUSTER={cluster}"


def _show_next_steps(kubectl: Kubectl, cluster: Cluster) -> None:
    screen.title("The cluster stays up and the shop is open again. Try next:")
    down = f"make demo-down{_option(cluster.name)}"
    lines = [f"export KUBECONFIG={shlex.quote(str(kubectl.kubeconfig))}"]
    if shutil.which("kubectl") != kubectl.program:
        lines.append(f"alias kubectl={shlex.quote(kubectl.program)}")
    lines += [
        "kubectl -n shop get obp,evs,evc            # one status from row to acknowledgement",
        "kubectl explain obp.spec.outbox            # every field says what it does",
        *(f"{command:<42} # {what}" for command, what in cluster.sink.steps),
        "kubectl -n shop get obp orders -o yaml     # the conditions name what is wrong",
        f"{monitoring.FORWARD} &",
        f"{monitoring.ALERTS:<42} # every alert and whether it fires; queries: README",
        f"{down:<42} # remove the cluster and all in it",
    ]
    screen.say("\n".join(lines))
