"""How soon `outbox dev` is ready: writes build/bench/dev.json.

Run by `make bench-dev`. The tutorial's manifest in a folder of its own: the first start makes the
database and is counted apart; each one after it is timed from the call of the program to the line
that says that relay and consumer are ready. On a machine with other work the smallest is what it
can do, and the load says how much to believe the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench.measuring import cpu_model
from support.kube import ROOT
from support.options import whole

OUT: Final = Path("build/bench/dev.json")
PAGE: Final = ROOT / "docs/tutorials/your-first-event.md"
_SECONDS: Final = 120


def files(folder: Path) -> None:
    """What the tutorial has one write."""
    for name, text in re.findall(r"```\w+ title=(\S+\.\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (folder / name).write_text(text)


def start(folder: Path) -> dict[str, float]:
    """Start it, wait until it is ready, end it; seconds."""
    before = _children()
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "outbox_operator.cli.main", "dev", "-f", "pipeline.yaml"],
        cwd=folder, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: dict[str, float] = {}
    try:
        assert process.stdout is not None
        for line in process.stdout:
            name = line.split(maxsplit=1)[0] if line.strip() else ""
            if name in ("database", "ready"):
                found[name] = time.perf_counter() - began
            if "ready" in found or time.perf_counter() - began > _SECONDS:
                break
    finally:
        process.terminate()
        process.communicate(timeout=_SECONDS)
    if "ready" not in found:
        raise SystemExit("outbox dev did not become ready")
    return {"ready": found["ready"], "set_up": found["database"], "cpu": _children() - before}


def _children() -> float:
    """CPU seconds of processes that have ended, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(rounds: int) -> dict[str, Any]:
    """The figures."""
    load = os.getloadavg()[0]
    # Where the user nobody can get to, as which PostgreSQL runs if we are root.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        files(folder)
        first = start(folder)
        runs = [start(folder) for _ in range(rounds)]
    return {
        "dev": {
            "rounds": rounds,
            "first_ready_s": round(first["ready"], 2),
            **{
                f"{part}_s": {
                    "min": round(min(run[part] for run in runs), 2),
                    "median": round(statistics.median(run[part] for run in runs), 2),
                    "max": round(max(run[part] for run in runs), 2),
                }
                for part in ("ready", "set_up", "cpu")
            },
            "load": round(load, 1),
            "cores": os.cpu_count(),
            "cpu": cpu_model(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
        }
    }


def main() -> None:
    """Measure, write the file, print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=whole(1), default=9)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    figures = measure(options.rounds)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
