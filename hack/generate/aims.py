"""What relay, consumers and library were to reach, and whether the last runs did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from generate.tables import Figures, table

Row = tuple[str, str, str, bool]
"""What, the aim, what was found, whether that is it."""

_SIZES: Final = (("64", "64 B", 1.0), ("4096", "4 KB", 0.8), ("65536", "64 KB", 0.7))
_DEBEZIUM: Final = (("drain", "cold", 8), ("drain_warm", "warm", 4))


def aims(relay: Figures, consumer: Figures, peers: Figures) -> str:
    """All of them, of what was measured."""
    rows = [*_drains(relay), *_waits(relay), *_costs(relay), *_handling(consumer), *_beside(peers)]
    if not rows:
        return "Not measured yet.\n"
    return table(
        ["figure", "aim", "found", ""],
        [(words, aim, found, "met" if met else "**missed**") for words, aim, found, met in rows],
    )


def _drains(relay: Figures) -> Iterator[Row]:
    """Beside the broker's own load generator."""
    if drain := relay.get("drain"):
        yield _least("drain, events/s ÷ `nats bench js pub async`", 1.0, drain)
    sizes = relay.get("sizes", {})
    for size, words, least in _SIZES:
        if size in sizes:
            yield _least(f"the same with payloads of {words}", least, sizes[size])
    if shards := relay.get("shards"):
        for relays, words in (("relays_1", "one relay"), ("relays_2", "two relays")):
            yield _least(f"{shards['shards']} shards, {words}", 0.95, shards[relays])
    if cluster := relay.get("cluster"):
        yield _least("three replicas", 0.95, cluster)


def _least(words: str, least: float, found: Figures) -> Row:
    ratio = found["ratio_to_nats_bench"]
    return words, f"≥ {least:g}", f"{ratio:.2f}", ratio >= least


def _waits(relay: Figures) -> Iterator[Row]:
    """From the commit to the consumer."""
    quick = relay.get("extremes", {}).get("quick")
    for words, found, p50, p99 in (
        ("nudged at 500 events/s", relay.get("latency", {}).get("nudge"), 1.2, 3),
        (f"nudged at {quick['events_per_s']:,} events/s" if quick else "", quick, 1.5, 5),
        ("by polling at 500 events/s", relay.get("latency", {}).get("polling"), 2, 4),
    ):
        if found:
            yield _soon(f"latency {words}, p50 / p99 ms", p50, p99, found["p50"], found["p99"])
    if held := relay.get("extremes", {}).get("uncommitted"):
        ratio = held["beside"]["p50"] / held["without"]["p50"]
        yield (
            f"p50 of others, nudged, while one transaction holds {held['rows']:,} uncommitted "
            "events ÷ without", "≤ 1.2", f"{ratio:.2f}", ratio <= 1.2,
        )  # fmt: skip


def _soon(words: str, p50: float, p99: float, *found: float) -> Row:
    met = found[0] <= p50 and found[1] <= p99
    return words, f"≤ {p50:g} / {p99:g}", f"{found[0]:g} / {found[1]:g}", met


def _costs(relay: Figures) -> Iterator[Row]:
    """CPU, memory, and what writers pay."""
    if drain := relay.get("drain"):
        held = drain["held_transaction"]["ratio_to_without"]
        yield _most("relay CPU while draining, µs an event", 2.2, drain["python_us_per_event"])
        yield _most("relay peak memory while draining, MB", 80, drain["peak_rss_mb"])
        words = "drain under held transactions ÷ without"
        yield words, "0.9 to 1.1", f"{held:.2f}", 0.9 <= held <= 1.1
    if shards := relay.get("extremes", {}).get("shards"):
        many, one = (shards[name]["postgres_us_per_event"] for name in ("many", "one"))
        words = f"PostgreSQL CPU an event, {shards['shards']} shards ÷ one"
        yield _most(words, 1.3, round(many / one, 2))
    mark = "clients_"
    for name, figures in relay.get("writer_overhead", {}).items():
        if name.startswith(mark):
            ratio = figures["ratio"]
            words = f"inserts ÷ inserts into a bare table, {name[len(mark) :]} client(s)"
            yield words, "≥ 0.95", f"{ratio:.2f}", ratio >= 0.95
    if idle := relay.get("idle"):
        cpu, queries = idle["relay_cpu_percent"], idle["queries_per_s"]
        yield "idle relay, % of a core", "< 1", f"{cpu}", cpu < 1
        yield "idle relay, queries/s", "< 10", f"{queries}", queries < 10


def _most(words: str, most: float, found: float) -> Row:
    return words, f"≤ {most:g}", f"{found:g}", found <= most


def _handling(consumer: Figures) -> Iterator[Row]:
    """Consumers and library."""
    for name, words, least in (
        ("ratio_to_nats_bench", "empty handler, events/s ÷ `nats bench js fetch`", 0.8),
        ("ratio_to_bare_writes", "inbox, events/s ÷ `pgbench` writing the same", 0.5),
        ("ratio_to_bare_requests", "HTTP, events/s ÷ a plain client's requests/s", 0.8),
    ):
        if (ratio := consumer.get(name)) is not None:
            yield words, f"≥ {least}", f"{ratio:.2f}", ratio >= least
    if found := consumer.get("duplicates"):
        yield _soon(
            "a duplicate is found, p50 / p99 ms", 0.4, 1.0, found["p50_ms"], found["p99_ms"]
        )
    if waits := consumer.get("client", {}).get("commit_to_subscriber_ms"):
        found = waits["nudge"]
        words = "`publish_after_commit`, nudging, p50 / p99 ms"
        yield _soon(words, 1.0, 2.0, found["p50"], found["p99"])


def _beside(peers: Figures) -> Iterator[Row]:
    """Beside the newest Debezium."""
    measured = peers.get("peers", {})
    ours, theirs = (
        next((one for name, one in measured.items() if name.startswith(start)), None)
        for start in ("outbox-operator", "Debezium 3.6")
    )
    if ours is None or theirs is None:
        return
    for way, words, least in _DEBEZIUM:
        rates = [one[way]["events_per_s"]["median"] for one in (ours, theirs)]
        ratio = rates[0] / rates[1]
        words = f"drain ÷ Debezium Server 3.6's, asynchronous, {words}"
        yield words, f"≥ {least}", f"{ratio:.1f}", ratio >= least
