"""Charts of docs/explanation/performance.md that are about the relay and its peers."""

from __future__ import annotations

from typing import Final

from generate import svg
from generate.tables import Figures, count

_POINTS: Final = 150
"""Of a line."""


def drain(relay: Figures) -> str:
    """Rates of the broker's own tool and of relays."""
    drain = relay["drain"]
    yardsticks = {
        "nats bench js pub async": drain["nats_bench"]["median"],
        "nats bench with message ids": drain["nats_bench_with_ids"]["median"],
    }
    ours = {
        "relay": drain["drain_events_per_s"],
        "relay, transactions held": drain["held_transaction"]["drain_events_per_s"],
    }
    if shards := relay.get("shards"):
        ours["relay, 4 shards"] = shards["relays_1"]["drain_events_per_s"]
        ours["2 relays, 4 shards"] = shards["relays_2"]["drain_events_per_s"]
    groups = [
        svg.Group(name, [svg.Bar(value, count(value))], ours=name in ours)
        for name, value in {**yardsticks, **ours}.items()
    ]
    return svg.bars(
        "Draining a backlog", f"{drain['payload_bytes']}-byte payloads, per second", groups
    )


def latency(latency: Figures, peers: Figures) -> str:
    """From commit to consumer: the floor, ours, peers that only poll."""
    found: list[tuple[str, Figures, bool]] = [
        ("floor (no relay)", latency["floor"], False),
        ("nudge", latency["nudge"], True),
        ("polling only", latency["polling"], True),
        *(
            (name, figures["latency"]["polling"], False)
            for name, figures in peers.get("peers", {}).items()
            if "nudge" not in figures["latency"]
        ),
    ]
    groups = [
        svg.Group(
            name,
            [
                svg.Bar(figures["p50"], f"{figures['p50']} p50"),
                svg.Bar(figures["p99"], f"{figures['p99']} p99"),
            ],
            ours=ours,
        )
        for name, figures, ours in found
    ]
    return svg.bars(
        "From commit to consumer", f"milliseconds, {latency['events_per_s']} events/s", groups
    )


def peers(peers: Figures) -> str:
    """Rates of peers, warm and cold."""
    groups = [
        svg.Group(
            name,
            [
                svg.Bar(found[kind]["drain_events_per_s"],
                        f"{count(found[kind]['drain_events_per_s'])} {word}")
                for kind, word in (("drain_warm", "warm"), ("drain", "cold"))
            ],
            ours=index == 0,
        )
        for index, (name, found) in enumerate(peers["peers"].items())
    ]  # fmt: skip
    return svg.bars(
        "Beside peers", f"drain, {peers['payload_bytes']}-byte payloads, events per second", groups
    )


def steady(steady: Figures) -> str:
    """Ten minutes at one rate: memory, lag, dead rows."""
    step = max(1, len(steady["samples"]) // _POINTS)
    samples = steady["samples"][::step]

    def panel(label: str, name: str, unit: str) -> svg.Panel:
        return svg.Panel(label, [(sample["s"], sample[name]) for sample in samples], unit)

    return svg.lines(
        f"{count(steady['events_per_s'])} events/s, all the time",
        "sampled every 5 seconds",
        [
            panel("relay memory", "rss_mb", "MB"),
            panel("lag", "lag", "events"),
            panel("dead rows, cursors", "dead_cursors", "rows"),
        ],
        f"{count(steady['samples'][-1]['s'])} s",
    )
