"""The reference case of autoscaling on a real node: writes build/bench/autoscaling.json.

Run by `make bench-autoscaling`; `make bench-page` draws the picture of docs/how-to/scale.md from
it. Three to ten pods, 1000 events may wait for each, and a load that rises and falls: rows through
a relay and a stream to pods that each do 16 events a second. The operator looks as often as users
have it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from demo.cli import install
from demo.clusters import Cluster
from demo.shop import Shop

from support.autoscaled import Autoscaled, Load
from support.options import whole
from support.stage import Stage

OUT: Final = Path("build/bench/autoscaling.json")
LOAD: Final = Load(
    autoscaling={
        "minReplicas": 3,
        "maxReplicas": 10,
        "targetBacklog": 1000,
        "scaleDown": {"stabilization": "60s"},
    },
    concurrency=16,
    seconds=1.0,
)
PER_POD: Final = 16
STEPS: Final = ((30, 20), (210, 150), (420, 20))
"""For so many seconds so many rows a second."""


def measure(parcels: Autoscaled, steps: tuple[tuple[int, int], ...]) -> list[dict[str, Any]]:
    """One look every two seconds, under the load."""
    looks, begun, written = list[dict[str, Any]](), time.monotonic(), 0.0
    last = begun
    for seconds, rate in steps:
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            written += rate * (now - last)
            last = now
            rows = int(written)
            written -= rows
            if rows:
                parcels.write(rows)
            looks.append({"second": round(now - begun, 1), "comes": rate, **asdict(parcels.look())})
            time.sleep(max(0.0, 2.0 - (time.monotonic() - now)))
    return looks


def main() -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--shorter", type=whole(1), default=1, help="so many times shorter")
    shorter = options.parse_args().shorter
    cluster = Cluster(f"bench-autoscaling-{os.getpid()}")
    try:
        kubectl = cluster.up()
        images = cluster.images()
        install(cluster.program("helm"), kubectl, images.operator, {}, {})
        shop = Shop(kubectl)
        shop.apply(images.shop, cluster.volumes(kubectl))
        shop.wait_ready(timeout=180)
        shop.take_orders(0)
        parcels = Autoscaled(Stage(kubectl, shop, images), LOAD)
        parcels.open()
        looks = measure(parcels, tuple((seconds // shorter, rate) for seconds, rate in STEPS))
    finally:
        cluster.down()
    facts = {"perPod": PER_POD, "autoscaling": LOAD.autoscaling, "looks": looks}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(facts).replace('{"second"', '\n {"second"')  # a line for each look
    OUT.write_text(text + "\n")


if __name__ == "__main__":
    main()
