"""Tables and charts of docs/explanation/performance.md, from the figures beside it.

`make bench-page` puts the figures of this machine's last runs there. In the page, what stands
between `<!-- figures: NAME -->` and `<!-- end -->` is drawn here; the rest is written by hand. A
part that the figures lack is said to be missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from generate import archiving, handling, performance_charts, redis_streams
from generate.aims import aims
from generate.peers import beside, beside_on_redis
from generate.tables import Figures, count, table

FOLDER: Final = Path("docs/explanation")
PAGE: Final = FOLDER / "performance.md"
FIGURES: Final = FOLDER / "figures"
CHARTS: Final = FOLDER / "img"
_FILES: Final = (
    "relay.json",
    "peers.json",
    "consumer.json",
    "archive.json",
    "dev.json",
    "redis.json",
)
_BLOCK: Final = re.compile(r"(<!-- figures: ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def files(root: Path) -> dict[Path, str]:
    """Path to text of the page and its charts."""
    measured = (_figures(root / FIGURES / name) for name in _FILES)
    return render((root / PAGE).read_text(), *measured)


def render(
    page: str,
    relay: Figures,
    peers: Figures,
    consumer: Figures,
    archive: Figures,
    dev: Figures,
    redis: Figures,
) -> dict[Path, str]:
    """The page with its blocks drawn anew, and its charts.

    Args:
        relay: Parts by name, as `make bench-relay` writes them; any may be missing.
        peers: As `make bench-peers` writes them; any part may be missing.
        consumer: As `make bench-consumer` writes them; any part may be missing.
        archive: As `make bench-archive` writes them, or empty.
        dev: As `make bench-dev` writes them, or empty.
        redis: As `make bench-redis` writes them; any part may be missing.
    """
    charts: dict[Path, str] = {}
    blocks = (
        _Block("aims", lambda: aims(relay, consumer, peers)),
        _Block(
            "conditions", lambda: _conditions(relay["conditions"], relay.get("again", {})),
            ("conditions",),
        ),
        _Block("drain", lambda: _drain(relay), ("drain",), lambda: performance_charts.drain(relay)),
        _Block("cpu", lambda: _cpu(relay), ("drain",)),
        _Block("sizes", lambda: _sizes(relay), ("drain", "sizes")),
        _Block(
            "latency", lambda: _latency(relay["latency"]), ("latency",),
            lambda: performance_charts.latency(relay["latency"], peers),
        ),
        _Block("writers", lambda: _writers(relay["writer_overhead"]), ("writer_overhead",)),
        _Block("idle", lambda: _idle(relay["idle"]), ("idle",)),
        _Block(
            "steady", lambda: _steady(relay["steady"]), ("steady",),
            lambda: performance_charts.steady(relay["steady"]),
        ),
        _Block(
            "peers", lambda: beside(peers), ("peers",), lambda: performance_charts.peers(peers)
        ),
        _Block("handling", lambda: handling.rates(consumer), ("consume_events_per_s",)),
        _Block("duplicates", lambda: handling.duplicates(consumer), ("duplicates",)),
        _Block("library", lambda: handling.library(consumer["client"]), ("client",)),
        _Block("soak", lambda: handling.soak(consumer["soak"]), ("soak",)),
        _Block("dev", lambda: handling.dev(dev["dev"]), ("dev",)),
        _Block("archive", lambda: archiving.figures(archive), ("archive",)),
        _Block("redis_drain", lambda: redis_streams.drains(redis["redis"]), ("redis_drain",)),
        _Block(
            "redis_latency", lambda: redis_streams.latencies(redis["redis"]["latency"]),
            ("redis_latency",),
        ),
        _Block(
            "peers_on_redis", lambda: beside_on_redis(peers["peers_on_redis"]),
            ("peers_on_redis",),
        ),
        _Block("redis_soak", lambda: handling.soak(redis["redis"]["soak"]), ("redis_soak",)),
    )  # fmt: skip
    on_redis = {f"redis_{part}": one for part, one in redis.get("redis", {}).items()}
    found = {**on_redis, **dev, **archive, **consumer, **peers}
    found.pop("conditions", None)  # the page says those of the relay's figures
    found |= relay
    texts = {}
    for block in blocks:
        missing = [part for part in block.needs if part not in found]
        if missing:
            texts[block.name] = f"Not measured yet: {', '.join(missing)}.\n"
            continue
        texts[block.name] = block.text()
        if block.chart is not None:
            charts[CHARTS / f"{block.name}.svg"] = block.chart()
            texts[block.name] += f"\n![{block.name}](img/{block.name}.svg)\n"
    if found:
        texts["conditions"] += (
            "\nRaw figures: " + _raw(relay, peers, consumer, archive, dev, redis) + ".\n"
        )
    drawn = _BLOCK.sub(lambda match: f"{match[1]}\n{texts[match[2]]}\n{match[3]}", page)
    return {PAGE: drawn, **charts}


@dataclass(frozen=True)
class _Block:
    """A block of the page.

    Attributes:
        needs: Parts of the figures without which it cannot be drawn.
    """

    name: str
    text: Callable[[], str]
    needs: tuple[str, ...] = ()
    chart: Callable[[], str] | None = None


def _figures(path: Path) -> Figures:
    """The figures of a file; empty when nobody has measured."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _raw(*measured: Figures) -> str:
    there = (name for name, figures in zip(_FILES, measured, strict=True) if figures)
    return ", ".join(f"[{name}](figures/{name})" for name in there)


def _range(spread: dict[str, float]) -> str:
    return f"{count(spread['median'])} ({count(spread['min'])} to {count(spread['max'])})"


def _conditions(found: Figures, again: Figures) -> str:
    postgres = found["postgres"]
    settings = ", ".join(
        f"`{name}={value}`" for name, value in postgres.items() if name != "server_version"
    )
    return (
        f"- {found['date']}, {found['cores']} cores of {found['cpu']}, Linux {found['kernel']}, "
        f"Python {found['python']}. {found['what']}.\n"
        f"- PostgreSQL {postgres['server_version'].split()[0]}: {settings}.\n"
        f"- nats-server {found['nats_server']}: {found['stream']}.\n"
        f"- Outbox: {found['table']}.\n"
        + "".join(
            f"- Measured again afterwards, {later['date']}: {part}.\n"
            for part, later in again.items()
        )
    )


def _drain_rows(relay: Figures) -> list[tuple[str, Figures]]:
    drain = relay["drain"]
    rows = [
        ("one shard, one relay", drain),
        ("the same, two write transactions held open", drain["held_transaction"]),
    ]
    if shards := relay.get("shards"):
        rows += [
            (f"{shards['shards']} shards, one relay", shards["relays_1"]),
            (f"{shards['shards']} shards, two relays", shards["relays_2"]),
        ]
    if cluster := relay.get("cluster"):
        rows.append((f"three replicas, {count(cluster['events'])} events", cluster))
    return rows


def _drain(relay: Figures) -> str:
    rows = [
        (
            name,
            _range(figures["events_per_s"]),
            _range(figures["nats_bench"]),
            f"{figures['ratio_to_nats_bench']:.2f}",
            f"{figures['peak_rss_mb']:.0f}",
        )
        for name, figures in _drain_rows(relay)
    ]
    drain = relay["drain"]
    return (
        f"{count(drain['events'])} events of {drain['payload_bytes']} bytes; "
        "median (smallest to largest) of the rounds.\n\n"
        + table(["", "events/s", "`nats bench`, messages/s", "ratio", "peak RSS, MB"], rows)
        + "\n`nats bench` sends no headers. With message ids, which cost the server about as much "
        f"as they cost ours, it reaches {count(drain['nats_bench_with_ids']['median'])} "
        f"messages/s: the relay is at {drain['ratio_to_nats_bench_with_ids']:.2f} of that.\n"
        + f"\nOther processes of the machine used {_most(relay, 'foreign_cpu_s')} s of CPU at most "
        f"during any of these drains, and its host took {_most(relay, 'stolen_cpu_s')} s away.\n"
        + f"\nIn the stream an event takes {count(drain['runs'][0]['stream_bytes_per_event'])} "
        "bytes: the payload, and headers with CloudEvents attributes, message id and position. "
        "The yardstick sends the payload alone, and has no database to read.\n"
    )


def _most(relay: Figures, name: str) -> float:
    most: float = max(run[name] for _, figures in _drain_rows(relay) for run in figures["runs"])
    return most


def _cpu(relay: Figures) -> str:
    parts = ("relay", "postgres", "nats")
    rows = [
        (name, *(f"{figures['cpu_us_per_event'][part]:.2f}" for part in parts))
        for name, figures in _drain_rows(relay)
    ]
    yardsticks = [
        (name, f"{found['client_us']:.2f}", "", f"{found['server_us']:.2f}")
        for name, found in (
            ("`nats bench`", relay["drain"]["nats_bench"]),
            ("`nats bench` with message ids", relay["drain"]["nats_bench_with_ids"]),
        )
    ]
    return table(
        ["CPU, µs an event", "relay or client", "PostgreSQL", "nats-server"], [*rows, *yardsticks]
    )


def _sizes(relay: Figures) -> str:
    every = [*relay["sizes"].values(), relay["drain"]]
    rows = [
        (
            f"{count(figures['payload_bytes'])} B",
            count(figures["events"]),
            count(figures["drain_events_per_s"]),
            f"{figures['drain_events_per_s'] * figures['payload_bytes'] / 1e6:,.0f}",
            count(figures["nats_bench_msgs_per_s"]),
            f"{figures['ratio_to_nats_bench']:.2f}",
            f"{figures['python_us_per_event']:.2f}",
            f"{figures['peak_rss_mb']:.0f}",
        )
        for figures in sorted(every, key=lambda figures: int(figures["payload_bytes"]))
    ]
    return table(
        ["payload", "events", "events/s", "MB/s of payload", "`nats bench`, messages/s", "ratio",
         "relay CPU, µs an event", "peak RSS, MB"],
        rows,
    )  # fmt: skip


_WAYS: Final = {
    "floor": "floor: the writer publishes after its commit",
    "nudge": "nudge",
    "polling": "polling only",
    "nudge_held_transaction": "nudge, transactions held open",
    "polling_held_transaction": "polling, transactions held open",
}


def _latency(latency: Figures) -> str:
    rows = []
    for way, name in _WAYS.items():
        found = latency[way]
        commit, relay = found["commit_itself"], found.get("relay_cpu_percent")
        rows.append(
            (
                name,
                *(found[part] for part in ("p50", "p95", "p99", "max")),
                f"{commit['p50']} / {commit['p99']}",
                "" if relay is None else f"{relay:.1f}",
                f"{found['postgres_cpu_percent']:.1f}",
            )
        )
    return table(
        ["milliseconds", "p50", "p95", "p99", "max", "of which commit, p50 / p99",
         "relay, % of a core", "PostgreSQL, % of a core"],
        rows,
    )  # fmt: skip


def _writers(writers: Figures) -> str:
    rows = [
        (name, count(figures["ours_tps"]), count(figures["bare_tps"]), f"{figures['ratio']:.2f}")
        for name, figures in _by_clients(writers)
    ]
    return table(["clients", "our table, inserts/s", "bare table, inserts/s", "ratio"], rows)


def _by_clients(writers: Figures) -> list[tuple[str, Figures]]:
    """Number of clients as text, and the figures with that many."""
    mark = "clients_"
    return [(name[len(mark) :], found) for name, found in writers.items() if name.startswith(mark)]


def _idle(idle: Figures) -> str:
    return (
        f"{idle['relay_cpu_percent']} % of a core in the relay, {idle['postgres_cpu_percent']} % "
        f"in PostgreSQL, {idle['queries_per_s']} statements a second, {idle['rss_mb']} MB.\n"
    )


def _steady(steady: Figures) -> str:
    rss, lag, dead = steady["rss_mb"], steady["lag_events"], steady["dead_tuples"]
    rows = [
        ("events/s", count(steady["events_per_s"])),
        ("relay memory after the first minute, at the end, peak, MB",
         f"{rss['first']} / {rss['last']} / {rss['peak']}"),
        ("slope of memory, MB a minute", rss["slope_mb_per_minute"]),
        ("lag, events: median / most", f"{count(lag['median'])} / {count(lag['max'])}"),
        ("slope of lag, events a minute", lag["slope_per_minute"]),
        ("dead rows in the events table, most", count(dead["events_max"])),
        ("dead rows in the cursor table, most", count(dead["cursors_max"])),
        ("size of the cursor table, start / end, kB",
         f"{steady['cursors_kb']['first']} / {steady['cursors_kb']['last']}"),
        ("table and indexes, bytes an event", count(steady["table_bytes_per_event"])),
        ("CPU of relay / PostgreSQL / nats-server, % of a core",
         f"{steady['relay_cpu_percent']} / {steady['postgres_cpu_percent']} / "
         f"{steady['nats_cpu_percent']}"),
    ]  # fmt: skip
    return table([f"{count(steady['seconds'])} seconds", "found"], rows)
