"""The tutorial, done as it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from support.cli import CommandLine
from support.devrun import Dev

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/tutorials/your-first-event.md"


def test_the_tutorial_holds(dev: Dev) -> None:
    blocks = dict(re.findall(r"```\w+ title=(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    for name in ("pipeline.yaml", "shop.py", "billing.py"):
        (dev.folder / name).write_text(blocks[name])

    def shell(name: str) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", blocks[name]],
            cwd=dev.folder, env={**os.environ, "PATH": path},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    dev.start(manifest=dev.folder / "pipeline.yaml")
    dev.says(r"(?m)^orders +0 ")
    shell("order")
    dev.until(lambda: shell("invoices") == "1 1999\n", "an invoice")
    assert shell("again") == "refused\n"

    assert dev.end() == 0
    dev.start("--reload", manifest=dev.folder / "pipeline.yaml")
    dev.says(r"ready after \d")
    shell("bug")
    shell("third")
    dev.until(lambda: shell("invoices") == "1 1999\n3 70\n", "the third order's invoice")
    bug = "ValueError: order 2: nobody buys for 2000000 at invoice"
    dev.says(rf"consumer-orders-billing \| \S+ WARNING event .* not handled.*: {bug}")
    dev.says(rf"consumer-orders-billing \| \S+ ERROR event .* is a dead letter.*: {bug}")
    dev.says(r"(?m)^orders +0 +- +3 .* 1$")
    dev.says(r"(?m)^orders-billing +0 +0 +\d +1 +\d+ +1$")
    log = dev.folder / ".outbox-dev/run/consumer-orders-billing.log"
    dev.until(lambda: "nobody buys for 2000000" in log.read_text(), "the error in the log")
    dev.until(lambda: "dead letter" in log.read_text(), "a dead letter")
    assert shell("invoices") == "1 1999\n3 70\n"
    mended = blocks["billing.py"].replace("raise ValueError", "print('so much', flush=False)  #")
    (dev.folder / "billing.py").write_text(f"import nothing_of_this_name\n{mended}")
    why = "outbox consume: python handler 'billing:app': no module named 'nothing_of_this_name'"
    dev.says(r"changed: billing\.py; consumers begin anew")
    dev.says(rf"consumer-orders-billing \| {why}")
    dev.says(rf"consumer-orders-billing ended .* \(exit code 2\) and \w+ started again: {why}")
    what_begins_again_and_again_is_not_well(dev, why)
    (dev.folder / "billing.py").write_text(mended)
    (dev.folder / "shop.py").write_text(blocks["shop.py"].replace("VALUES ($1", "VALUES (7 * $1"))
    shell("bug")
    dev.says(r"consumer-orders-billing \| so much")
    the_manifest_is_followed(dev)


def what_begins_again_and_again_is_not_well(dev: Dev, why: str) -> None:
    """Seen from another terminal, at each moment."""
    outbox = CommandLine.of_laptop(dev.data)

    def said() -> str:
        [pipeline] = outbox.facts("status", "orders", code=1)["pipelines"]
        assert pipeline["consumers"][0]["readyPods"] == 0
        found = [one for one in pipeline["notWell"] if one["type"] == "WorkloadAvailable"]
        assert [one["next"] for one in found] == ["outbox dev logs evc/orders-billing"]
        return f"{found[0]['reason']}: {found[0]['message']}"

    again = rf"process consumer-orders-billing ended \d times, .* ago \(exit code 2\): {why}.*; "
    dev.until(lambda: bool(re.match(f"CrashLoopBackOff: {again}", said())), "a loop")
    dev.until(lambda: bool(re.match(rf"CrashLoopBackOff: {again}", said())), "a loop still")


def the_manifest_is_followed(dev: Dev) -> None:
    """What is saved is applied, or said not to be."""
    path = dev.folder / "pipeline.yaml"
    before = path.read_text()
    path.write_text(before.replace("maxDeliver", "maxDelivery"))
    dev.says(r"changed: not applied, what runs stays as it is: .*did you mean \S+maxDeliver")
    path.write_text(before.replace("name: ORDERS", "name: ORDERS\n    storage: Memory"))
    fixed = r"OutboxPipeline orders: spec\.stream: storage is fixed at creation; .*remove \S+, "
    dev.says(rf"changed: not applied, what runs stays as it is: {fixed}start again")
    path.write_text(before.replace("name: orders\n", "name: sales\n", 1))
    dev.says(
        r"changed: \S+pipeline\.yaml; what runs stays as it is: stream ORDERS carries the mark"
    )
    # Its tables were the other's already.
    dev.emit("order.paid", "1", "--wait")
    audit = "    - {name: audit, handler: {python: {module: billing:app, image: none}}}\n"
    path.write_text(f"{before.replace('maxDeliver: 3', 'maxDeliver: 4')}{audit}")
    dev.says(r"yaml; new: consumer-orders-audit; begins anew: consumer-orders-billing\n")
    dev.says(r"(?m)^orders-audit +0 ")
    path.write_text(before.replace("maxDeliver: 3", "maxDeliver: 4"))
    dev.says(r"yaml; ended, and its tables and streams stay: consumer-orders-audit\n")
    path.write_text(f"{before}\n# as it was\n".replace("maxDeliver: 3", "maxDeliver: 4"))
    dev.says(r"yaml; tables, streams and durable consumers are as it says\n")
    # What is there counts for the next run, too.
    assert dev.end() == 0
    path.write_text(before.replace("name: ORDERS", "name: ORDERS\n    storage: Memory"))
    dev.start(manifest=path)
    assert dev.end(signal.SIGCONT) == 2
    assert re.search(rf"outbox dev: {fixed}", dev.output), dev.output
