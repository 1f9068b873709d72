"""The page of figures says what the figures beside it say, and says what was not measured."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from generate import performance, svg
from generate.aims import aims

from support.kube import ROOT

FILES = performance.files(ROOT)
PAGE = (ROOT / performance.PAGE).read_text()


def drain(**changes: Any) -> dict[str, Any]:
    """Invented figures of a drain, in the shape of `bench.drain.summary`."""
    spread = {"median": 120_000, "min": 110_000, "max": 130_000}
    return {
        "events": 500_000,
        "payload_bytes": 512,
        "drain_events_per_s": 123_456,
        "nats_bench_msgs_per_s": 120_000,
        "ratio_to_nats_bench": 1.03,
        "python_us_per_event": 2.5,
        "cpu_us_per_event": {"relay": 2.5, "postgres": 3.0, "nats": 6.0},
        "peak_rss_mb": 80.0,
        "events_per_s": spread,
        "nats_bench": {**spread, "client_us": 5.0, "server_us": 6.0},
        "runs": [
            {"foreign_cpu_s": 0.1, "stolen_cpu_s": 0.0, "stream_bytes_per_event": 900},
        ],
        **changes,
    }


def relay(**changes: Any) -> dict[str, Any]:
    """Invented figures of the relay: the main part, and whatever is given."""
    main = drain(
        nats_bench_with_ids={"median": 99_000, "client_us": 6.0, "server_us": 8.0},
        ratio_to_nats_bench_with_ids=1.25,
        held_transaction=drain(ratio_to_without=0.99),
    )
    return {"drain": main, **changes}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_page_and_charts_are_drawn_from_the_figures(path: Path) -> None:
    assert (ROOT / path).read_text() == FILES[path]


def test_without_figures_the_page_says_so_and_has_no_charts() -> None:
    files = performance.render(PAGE, {}, {}, {}, {}, {}, {})
    assert list(files) == [performance.PAGE]
    assert "Not measured yet: drain." in files[performance.PAGE]


def test_what_was_measured_is_shown_and_the_rest_is_said_to_be_missing() -> None:
    files = performance.render(PAGE, relay(), {}, {}, {}, {}, {})
    page = files[performance.PAGE]
    assert "120,000 (110,000 to 130,000)" in page
    assert "![drain](img/drain.svg)" in page
    assert "Not measured yet: latency." in page
    assert "123,456" in files[performance.CHARTS / "drain.svg"]


def test_drawing_twice_changes_nothing() -> None:
    once = performance.render(PAGE, relay(), {}, {}, {}, {}, {})[performance.PAGE]
    assert performance.render(once, relay(), {}, {}, {}, {}, {})[performance.PAGE] == once


_WAYS = ("drain", "drain_warm")


@pytest.mark.parametrize(("ratio", "word"), [(1.0, "met"), (0.99, "**missed**")])
def test_aims_are_judged(ratio: float, word: str) -> None:
    figures = relay()
    figures["drain"]["ratio_to_nats_bench"] = ratio
    line = next(line for line in aims(figures, {}, {}).splitlines() if "drain, events" in line)
    assert line.endswith(f"| {ratio:.2f} | {word} |")


@pytest.mark.parametrize(
    ("relay", "consumer", "peers", "line"),
    [
        ({"latency": {"nudge": {"p50": 1.2, "p99": 3.0}}}, {}, {}, "≤ 1.2 / 3 | 1.2 / 3 | met |"),
        ({"latency": {"polling": {"p50": 1, "p99": 4.1}}}, {}, {}, "| 1 / 4.1 | **missed** |"),
        (
            {"extremes": {"quick": {"events_per_s": 2000, "p50": 1.6, "p99": 2}}}, {}, {},
            "| latency nudged at 2,000 events/s, p50 / p99 ms | ≤ 1.5 / 5 | 1.6 / 2 | **missed** |",
        ),
        (
            {"extremes": {"shards": {
                "shards": 64, "many": {"postgres_us_per_event": 5.2},
                "one": {"postgres_us_per_event": 4.0},
            }}}, {}, {}, "64 shards ÷ one | ≤ 1.3 | 1.3 | met |",
        ),
        ({}, {"ratio_to_bare_writes": 0.49}, {}, "≥ 0.5 | 0.49 | **missed** |"),
        (
            {}, {}, {"peers": {
                "outbox-operator": {way: {"events_per_s": {"median": 80}} for way in _WAYS},
                "Debezium 3.6.0, async": {way: {"events_per_s": {"median": 10}} for way in _WAYS},
            }}, "cold | ≥ 8 | 8.0 | met |",
        ),
    ],
)  # fmt: skip
def test_every_aim_is_judged(
    relay: dict[str, Any], consumer: dict[str, Any], peers: dict[str, Any], line: str
) -> None:
    assert line in aims(relay, consumer, peers)


def test_charts_are_well_formed_whatever_the_labels() -> None:
    chart = svg.bars("A < B", "&", [svg.Group("<x>", [svg.Bar(1, "1"), svg.Bar(0, "0")])])
    assert ElementTree.fromstring(chart).attrib["aria-label"] == "A < B"


def test_consumers_and_library_are_shown() -> None:
    ways = ["empty", "empty_per_key", "empty_per_key_ack_all", "inbox", "inbox_batches"]
    ways += ["inbox_ordered", "http"]
    drivers = ["asyncpg", "psycopg", "sync_psycopg", "sqlalchemy_asyncpg", "sync_session_psycopg"]
    add = {"add_us": 150.0, "bare_insert_us": 110.0, "overhead_us": 40.0, "add_many_per_s": 9_876}
    figures = {
        "payload_bytes": 512,
        "rounds": 3,
        "consume_events_per_s": dict.fromkeys(ways, 45_678.0),
        "cpu_us_per_event": dict.fromkeys(ways, 20.0),
        "peak_rss_mb": dict.fromkeys(ways, 70.0),
        "nats_bench_js_fetch": 72_000,
        "ratio_to_nats_bench": 0.63,
        "bare_writes": 8_123, "ratio_to_bare_writes": 0.51, "driver_writes": 4_062.0,
        "conditions": {"cores": 2}, "postgres_us_per_event": dict.fromkeys(ways, 380.0),
        "bare_requests": 9_234, "ratio_to_bare_requests": 0.82,
        "duplicates": {"rows": 500_000, "p50_ms": 0.4, "p99_ms": 0.8},
        "client": {
            "add": dict.fromkeys([*drivers, "django"], add),
            "commit_to_subscriber_ms": {
                way: {"p50": 1.1, "p99": 2.2} for way in ("relay_polling", "nudge", "publish")
            },
        },
        "soak": {
            "seconds": 600, "producers": 100, "acknowledged_commits_per_s": 1001,
            "failing_share": 0.05, "broker_kills": 3, "database_kills": 3, "committed": 600_123,
            "handled": 600_123, "lost": 0, "phantom": 0, "dead_letters": 0,
            "consumer_rss_mb": {"first": 80.0, "last": 81.0, "slope_per_minute": 0.1},
        },
    }  # fmt: skip
    page = performance.render(PAGE, {}, {}, figures, {}, {}, {})[performance.PAGE]
    for found in (
        "45,678",
        "0.63",
        "8,123/s",
        "0.51",
        "9,234",
        "0.82",
        "0.8 ms",
        "9,876",
        "600,123 / 600,123",
        "need 400 µs for it, which 2 cores have 5,000 times a second",
    ):
        assert found in page


@pytest.mark.parametrize(
    ("peer", "column"),
    [("outbox-operator", 2), ("Debezium 3.6.0, async", 3)],
    ids=["ours", "theirs"],
)
def test_the_readme_compares_with_the_figures_of_the_page(peer: str, column: int) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {peer} | "))
    cold, _, cpu, memory = (cell.strip().split(" (")[0] for cell in row.split("|")[2:6])
    shown = [
        [cell.strip() for cell in line.split("|")]
        for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith(("| a backlog, events/s", "| CPU an event"))
    ]
    assert [cells[column] for cells in shown] == [cold, f"{cpu} µs, {memory} MB"]


def test_redis_beside_its_load_generator_with_the_aim_it_missed() -> None:
    spread = {"median": 60_001, "min": 50_002, "max": 70_003}
    mode = {
        "events_per_s": spread, "ratio": 0.79, "bytes_per_event": 801, "peak_rss_mb": 55.5,
        "redis_benchmark": {**spread, "client_us": 3.25, "server_us": 7.5},
        "cpu_us_per_event": {"relay": 6.5, "postgres": 4.0, "redis": 7.25},
    }  # fmt: skip
    way = {
        "p50": 1.4,
        "p95": 2.0,
        "p99": 3.0,
        "max": 9.0,
        "commit_itself": {"p50": 0.4, "p99": 1.0},
    }
    found = {
        "conditions": {"date": "2026-11-30", "server": "Valkey 9.1.2", "cores": 2, "cpu": "one"},
        "drain": {"events": 9, "payload_bytes": 512, "always": mode,
                  "everysec": {**mode, "ratio": 0.8}},
        "latency": {"events_per_s": 500, "floor": way, "nudge": {**way, "relay_cpu_percent": 21.5},
                    "polling": way},
    }  # fmt: skip
    page = performance.render(PAGE, {}, {}, {}, {}, {}, {"redis": found})[performance.PAGE]
    for shown in (
        "60,001 (50,002 to 70,003) | 0.79 | **missed** |", "| 0.80 | met |", "Valkey 9.1.2",
        "| relay, `always` | 6.50 | 4.00 | 7.25 | 17.8 |",
        "| `redis-benchmark`, `everysec` | 3.25 |  | 7.50 | 10.8 |",
        "| nudge | 1.4 | 2.0 | 3.0 | 9.0 | 0.4 / 1.0 | 21.5 |",
        "Not measured yet: redis_soak.", "(figures/redis.json)",
    ):  # fmt: skip
        assert shown in page


def test_peers_on_redis_with_what_came_twice() -> None:
    spread = {"median": 60_001, "min": 50_002, "max": 70_003}
    run = {"events_per_s": spread, "peak_rss_mb": 55.5, "cpu_us_per_event": {"relay": 6.5}}
    way = {"p50": 1.4, "p95": 2.0, "p99": 3.0, "max": 9.0, "relay_cpu_percent": 21.5}
    theirs = {**run, "peak_rss_mb": 777.0}
    found = {
        "conditions": {"date": "2026-11-30", "server": "Valkey 9.1.2", "cores": 2, "cpu": "one"},
        "events": 9_000, "payload_bytes": 512, "latency_events_per_s": 500,
        "peers": {
            "ours": {"drain": run, "drain_warm": run, "twice": 0,
                     "latency": {"nudge": way, "polling": way}},
            "theirs": {"drain": run, "drain_warm": theirs, "twice": 1_234,
                       "latency": {"polling": way}},
        },
    }  # fmt: skip
    peers = {"peers_on_redis": found}
    page = performance.render(PAGE, {}, peers, {}, {}, {}, {})[performance.PAGE]
    twice = "60,001 (50,002 to 70,003) | 60,001 (50,002 to 70,003) |"
    for shown in (
        f"| ours | {twice} 6.5 | 56 |", f"| theirs | {twice} 6.5 | 777 |",
        "| ours, nudged | 1.4 | 2.0 | 3.0 | 9.0 | 21.5 |",
        "Valkey 9.1.2 with `appendfsync always`", "came twice: 0 of ours, 1,234 of theirs.",
        "Not measured yet: peers.", "(figures/peers.json)",
    ):  # fmt: skip
        assert shown in page


def test_the_start_on_a_laptop_is_shown_with_the_load_it_was_measured_at() -> None:
    spread = {"min": 1.25, "median": 1.5, "max": 1.75}
    found = {
        "rounds": 9, "first_ready_s": 4.44, "ready_s": spread, "set_up_s": spread, "cpu_s": spread,
        "load": 0.2, "cores": 2, "cpu": "a processor",
    }  # fmt: skip
    page = performance.render(PAGE, {}, {}, {}, {}, {"dev": found}, {})[performance.PAGE]
    for shown in ("| 1.25 | 1.50 | 1.75 |", "at a load of 0.2", "4.4 s", "(figures/dev.json)"):
        assert shown in page
