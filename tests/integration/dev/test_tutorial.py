"""The tutorial, done as it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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
    dev.start(manifest=dev.folder / "pipeline.yaml")
    dev.says(r"(?m)^orders +0 ")
    shell("bug")
    shell("third")
    dev.until(lambda: shell("invoices") == "1 1999\n3 70\n", "the third order's invoice")
    log = dev.folder / ".outbox-dev/run/consumer-orders-billing.log"
    dev.until(lambda: "nobody buys for 2000000" in log.read_text(), "the error in the log")
    dev.until(lambda: "dead letter" in log.read_text(), "a dead letter")
    assert shell("invoices") == "1 1999\n3 70\n"
