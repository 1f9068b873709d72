"""`make check-delivery`: one run, its totals, its verdict as exit code.

Exit codes: 0 nothing wrong, 1 something is, 2 wrong arguments. With a planted bug the same: a run
that exits with 1 has caught it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from delivery import listening, planted, schedule, worlds
from delivery.run import Result, run
from delivery.settings import Settings
from support.options import positive, whole

OUT = Path("build/delivery")
STEP_SECONDS = 45.0
"""Of a random walk in one world; another one follows, with the next seed."""


OF_REDIS = ("plain", "rollback", "groups")
"""Worlds that say nothing of JetStream alone."""


def parse(arguments: list[str] | None = None) -> Settings:
    """Settings from the command line."""
    parser = argparse.ArgumentParser(prog="delivery", description=__doc__)
    parser.add_argument("--seed", type=whole(0), default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seconds", type=positive, default=60.0)
    parser.add_argument("--servers", choices=("single", "cluster"), default="single")
    parser.add_argument("--replicas", type=whole(1), default=1)
    parser.add_argument("--shards", type=whole(1, 64), default=1)
    parser.add_argument("--payload", choices=("jsonb", "bytea"), default="jsonb")
    parser.add_argument("--publishing", choices=("fast", "window"), default="fast")
    parser.add_argument("--sink", choices=("jetstream", "redis"), default="jetstream")
    parser.add_argument("--writers", type=whole(1), default=64)
    parser.add_argument("--rate", type=positive, default=600.0, help="events a second")
    parser.add_argument("--wave", type=whole(0), default=0, help="events at once, every 5 s")
    parser.add_argument("--window", type=positive, default=120.0, help="duplicateWindow in seconds")
    parser.add_argument("--pace", type=positive, default=1.0, help="faults so much more often")
    parser.add_argument("--faults", default="", help="kinds, separated by commas; default: all")
    parser.add_argument("--plant", choices=("", *planted.PLANTS), default="")
    parser.add_argument("--world", choices=(*worlds.WORLDS, worlds.RANDOM), default="plain")
    given = parser.parse_args(arguments)
    if given.world == worlds.RANDOM:
        parser.set_defaults(**({"seed": given.seed} | worlds.surroundings(given.seed)))
        given = parser.parse_args(arguments)
    if given.sink == "redis" and (given.servers != "single" or given.world not in OF_REDIS):
        parser.error(f"with --sink redis: --servers single, --world one of {', '.join(OF_REDIS)}")
    if given.world == "groups" and given.sink != "redis":
        parser.error("--world groups is of consumer groups: it needs --sink redis")
    kinds = tuple(name for name in given.faults.split(",") if name)
    try:
        schedule.draw(0, 0, replicas=1, cluster=False, only=kinds)
    except ValueError as error:
        parser.error(str(error))
    return Settings(
        seed=given.seed, seconds=given.seconds, servers=given.servers, replicas=given.replicas,
        shards=given.shards, payload_type=given.payload, publishing=given.publishing,
        sink=given.sink, writers=given.writers, rate=given.rate, wave=given.wave,
        duplicate_window_seconds=given.window, pace=given.pace, faults=kinds, plant=given.plant,
        world=worlds.named(given.world, given.seed),
    )  # fmt: skip


def describe(result: Result) -> str:
    """The totals for a person."""
    settings = result.settings
    lines = [
        f"seed {settings.seed}, {settings.seconds:g} s of writing and faults "
        f"({result.seconds:.0f} s in all), {settings.servers}, {settings.replicas} replicas, "
        f"{settings.shards} shards, {settings.payload_type}, "
        + (settings.publishing if settings.sink == "jetstream" else settings.sink)
        + (f", planted: {settings.plant}" if settings.plant else ""),
        f"world {settings.world.described()}",
        f"transactions: {_counts(result.transactions)}",
        f"events: {result.events} committed, {result.rolled_back_events} rolled back, "
        f"{result.unknown_events} of unknown fate; {result.messages} messages in the stream",
        f"faults: {result.faults.total()}: {_counts(result.faults)}",
        f"caught up {result.caught_up_seconds:.1f} s after the last fault",
    ]
    for check, examples in result.verdict.examples.items():
        lines += [f"{check}: {example}" for example in examples]
    lines += [f"trouble: {trouble}" for trouble in result.troubles]
    if result.logs:
        lines.append(f"logs: {result.logs}")
    lines.append(str(result.verdict))
    return "\n".join(lines)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


def main() -> int:
    """Run, print, write the file. A random walk that is long takes a new world every minute."""
    settings = parse()
    if settings.world.name != worlds.RANDOM or settings.seconds < 2 * STEP_SECONDS:
        return 0 if one(settings).passed else 1
    results, broken = [], []
    for seed in range(settings.seed, settings.seed + int(settings.seconds / STEP_SECONDS)):
        step = ["--seed", str(seed), "--seconds", str(STEP_SECONDS)]
        try:
            results.append(one(parse([*sys.argv[1:], *step])))
        except Exception:  # noqa: BLE001 - the walk goes on, and says so
            traceback.print_exc()
            broken.append(seed)
        print(totals(results, broken), flush=True)
    return 0 if all(result.passed for result in results) and not broken else 1


def one(settings: Settings) -> Result:
    """One run."""
    print(f"seed {settings.seed}, world {settings.world.described()}", flush=True)
    do = listening.run if settings.world.audience else run
    result = asyncio.run(do(settings, lambda line: print(line, flush=True)))
    OUT.mkdir(parents=True, exist_ok=True)
    name = f"{settings.servers}-r{settings.replicas}-s{settings.shards}-{settings.seed}"
    name += "-redis" if settings.sink == "redis" else ""
    name += "".join(f"-{part}" for part in (settings.world.name, settings.plant) if part)
    path = OUT / f"{name}.json"
    document = result.document() | {"finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    path.write_text(json.dumps(document, indent=2, default=str) + "\n")
    print(describe(result))
    print(f"written: {path}", flush=True)
    return result


def totals(results: Sequence[Result], broken: Sequence[int]) -> str:
    """A walk so far.

    Args:
        broken: Seeds of runs that gave no verdict.
    """
    failed = [str(result.settings.seed) for result in results if not result.passed]
    return (
        f"== {len(results)} worlds, {sum(result.seconds for result in results) / 60:.0f} minutes: "
        f"{sum(result.transactions['committed'] for result in results)} committed transactions, "
        f"{sum(result.events for result in results)} events, "
        f"{sum(result.faults.total() for result in results)} faults; "
        f"failed: {', '.join(failed) or 'none'}; "
        f"no verdict: {', '.join(map(str, broken)) or 'none'}"
    )


if __name__ == "__main__":
    sys.exit(main())
