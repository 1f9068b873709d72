"""Asks the archive's API whatever its own description allows, and much that it does not.

`make check-archive-api` asks as long as one likes, the suite a few questions. Each answer has to be
as the description says, and none a 5xx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from support.archive_api import FilledArchive, fill, serving
from support.postgres import PostgresServer

RESULT: Final = Path("build/check-archive-api.json")
_EXCLUDED: Final = (
    # Rules between values are no part of a description: `from` before `to`, a time for what has no
    # index, `after` in the order of its page.
    "positive_data_acceptance",
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a run comes to.

    Attributes:
        seed: Of it.
        operations: That were asked.
        cases: How many questions.
        phases: How each way of asking ended.
        failures: What was wrong, and how often.
        seconds: How long it took.
        schemathesis: Version of what asked.
    """

    seed: int
    operations: int
    cases: int
    phases: dict[str, str]
    failures: dict[str, int]
    seconds: float
    schemathesis: str

    @property
    def good(self) -> bool:
        """Whether every address was asked, and every answer as described."""
        return self.operations > 0 and self.cases > 0 and not self.failures


async def asked(
    archive: FilledArchive, folder: Path, *, seed: int, seconds: float, options: Sequence[str]
) -> tuple[Verdict, str]:
    """What schemathesis finds of an archive's API, and how it says that.

    Args:
        archive: With events in it.
        folder: For files, of one's own.
        seed: What is asked depends on it.
        seconds: It may take.
        options: Others of `schemathesis run`.
    """
    report = folder / "report.json"
    async with serving(archive.config, archive.issuer) as client:
        token = client.headers(exp=2**32)["Authorization"]
        command = [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
            "run", f"{client.http.base_url}/openapi.json", "--header", f"Authorization: {token}",
            "--checks=all", f"--exclude-checks={','.join(_EXCLUDED)}", f"--seed={seed}",
            "--report=json", f"--report-json-path={report}", "--no-color",
            "--generation-database=none", "--warnings=off", *options,
        ]  # fmt: skip
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=folder, env=_environment(), timeout=seconds, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
    if not report.exists():
        raise AssertionError(f"schemathesis ended with {done.returncode}:\n{done.stdout}")
    found = json.loads(report.read_text())
    failures = {one["title"]: int(one["count"]) for one in found["failures"]}
    if found["errors"]:
        failures["error of schemathesis itself"] = len(found["errors"])
    verdict = Verdict(
        seed=seed,
        operations=found["operations"]["tested"],
        cases=found["test_cases"]["generated"],
        phases={name: one["status"] for name, one in found["phases"].items()},
        failures=failures,
        seconds=round(found["running_time"], 1),
        schemathesis=metadata.version("schemathesis"),
    )
    return verdict, done.stdout


def _environment() -> Mapping[str, str]:
    """Without what would change how it asks."""
    return {name: value for name, value in os.environ.items() if "SCHEMATHESIS" not in name}


def main() -> int:
    """Ask for about as long as is said; 0 if every answer is as described."""
    parser = argparse.ArgumentParser(prog="make check-archive-api")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    args = parser.parse_args()
    sys.stderr.write(f"seed {args.seed}, {args.seconds} s\n")
    server = PostgresServer()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            archive = fill(server, server.create_database(), folder)
            verdict, said = asyncio.run(
                asked(
                    archive,
                    folder,
                    seed=args.seed,
                    seconds=args.seconds + 600,
                    options=[f"--max-time={args.seconds}"],
                )
            )
    finally:
        server.remove()
    if not verdict.good:
        sys.stderr.write(said)
    text = json.dumps(asdict(verdict), indent=2) + "\n"
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text)
    sys.stdout.write(text)
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
