"""Our relay beside its peers, from `make bench-peers`: tables of the page."""

from __future__ import annotations

from generate.tables import Figures, count, table


def beside(peers: Figures) -> str:
    """Drains and latencies of ours and of each peer, on one broker."""
    drains = [
        (
            name,
            _range(found["drain"]["events_per_s"]),
            _range(found["drain_warm"]["events_per_s"]),
            f"{found['drain_warm']['cpu_us_per_event']['relay']:.1f}",
            f"{max(found['drain']['peak_rss_mb'], found['drain_warm']['peak_rss_mb']):.0f}",
        )
        for name, found in peers["peers"].items()
    ]
    latencies = [
        (
            name + (", nudged" if mode == "nudge" else ""),
            *(figures[part] for part in ("p50", "p95", "p99", "max")),
            f"{figures['relay_cpu_percent']:.1f}",
        )
        for name, found in peers["peers"].items()
        for mode, figures in found["latency"].items()
    ]
    return (
        f"{count(peers['events'])} events of {peers['payload_bytes']} bytes. Cold: a process just "
        "started drains a backlog. Warm: a process that has drained as much before gets one big "
        "transaction.\n\n"
        + table(
            ["", "cold, events/s", "warm, events/s", "CPU warm, µs an event", "peak RSS, MB"],
            drains,
        )
        + f"\nLatency at {count(peers['latency_events_per_s'])} events/s:\n\n"
        + table(["milliseconds", "p50", "p95", "p99", "max", "CPU, % of a core"], latencies)
    )


def beside_on_redis(peers: Figures) -> str:
    """The same on Redis Streams, where every event was looked for."""
    there = peers["conditions"]
    twice = ", ".join(
        f"{count(found['twice'])} of {name}" for name, found in peers["peers"].items()
    )
    return (
        f"{there['date']}, {there['server']} with `appendfsync always`, {there['cores']} cores of "
        f"{there['cpu']}. {beside(peers)}\n"
        f"No event was missing after a drain. Events that came twice: {twice}.\n"
    )


def _range(spread: Figures) -> str:
    return f"{count(spread['median'])} ({count(spread['min'])} to {count(spread['max'])})"
