"""What the relay and consumers do on Redis Streams, from `make bench-redis`: tables of the page."""

from __future__ import annotations

from typing import Final

from generate.tables import Figures, count, table

AIM: Final = 0.8
"""Of the relay beside the load generator."""
_WAYS: Final = {
    "floor": "floor: the writer appends after its commit",
    "nudge": "nudge",
    "polling": "polling only",
}
_FSYNC: Final = ("always", "everysec")


def drains(found: Figures) -> str:
    """Relay and load generator in turn, by how often the server writes to disk."""
    there, measured = found["conditions"], found["drain"]
    modes = [(mode, measured[mode]) for mode in _FSYNC]
    rows = [
        (
            f"`appendfsync {mode}`",
            _range(one["events_per_s"]),
            _range(one["redis_benchmark"]),
            f"{one['ratio']:.2f}",
            "met" if one["ratio"] >= AIM else "**missed**",
            f"{one['peak_rss_mb']:.0f}",
        )
        for mode, one in modes
    ]
    cpu = [
        row
        for mode, one in modes
        for row in (
            (
                f"relay, `{mode}`",
                *(
                    f"{one['cpu_us_per_event'][part]:.2f}"
                    for part in ("relay", "postgres", "redis")
                ),
                f"{sum(one['cpu_us_per_event'].values()):.1f}",
            ),
            (
                f"`redis-benchmark`, `{mode}`",
                f"{one['redis_benchmark']['client_us']:.2f}",
                "",
                f"{one['redis_benchmark']['server_us']:.2f}",
                f"{one['redis_benchmark']['client_us'] + one['redis_benchmark']['server_us']:.1f}",
            ),
        )
    ]
    return (
        f"{there['date']}, {there['server']}, {there['cores']} cores of {there['cpu']}. "
        f"{count(measured['events'])} events of {measured['payload_bytes']} bytes, which are "
        f"{count(measured['always']['bytes_per_event'])} in the stream; median (smallest to "
        "largest) of the rounds.\n\n"
        + table(
            ["", "events/s", "`redis-benchmark`, entries/s", "ratio", f"aim ≥ {AIM}",
             "peak RSS, MB"],
            rows,
        )
        + "\n"
        + table(["CPU, µs an event", "relay or client", "PostgreSQL", "Redis", "all"], cpu)
        + "\n"
        + "".join(_account(mode, one, there["cores"]) for mode, one in modes)
    )  # fmt: skip


def _account(mode: str, one: Figures, cores: int) -> str:
    """How much the processors of the machine let the relay do."""
    each = sum(one["cpu_us_per_event"].values())
    most, yardstick = cores / each * 1e6, one["redis_benchmark"]["median"]
    return (
        f"- `{mode}`: {each:.1f} µs of CPU for an event are {count(most)} events/s at most where "
        f"nobody waits for anybody, {most / yardstick:.2f} of the load generator. The relay did "
        f"{one['events_per_s']['median'] / most:.2f} of that.\n"
    )


def latencies(found: Figures) -> str:
    """Commit to reader."""
    rows = []
    for way, name in _WAYS.items():
        one = found[way]
        relay = one.get("relay_cpu_percent")
        rows.append(
            (
                name,
                *(one[part] for part in ("p50", "p95", "p99", "max")),
                f"{one['commit_itself']['p50']} / {one['commit_itself']['p99']}",
                "" if relay is None else f"{relay:.1f}",
            )
        )
    return f"{count(found['events_per_s'])} events/s, `appendfsync always`.\n\n" + table(
        ["milliseconds", "p50", "p95", "p99", "max", "of which commit, p50 / p99",
         "relay, % of a core"],
        rows,
    )  # fmt: skip


def _range(spread: Figures) -> str:
    return f"{count(spread['median'])} ({count(spread['min'])} to {count(spread['max'])})"
