"""The parts of docs/explanation/performance.md about consumers and the library."""

from __future__ import annotations

from typing import Final

from generate.tables import Figures, count, table

_WAYS: Final = {
    "empty": "empty handler",
    "empty_per_key": "empty handler, `ordering: PerKey`",
    "empty_per_key_ack_all": "the same with `ackPolicy: All`",
    "inbox": "inbox, one INSERT an event",
    "inbox_batches": "inbox, batches of 200, one `executemany` each",
    "inbox_ordered": "inbox `PerShard`, one INSERT an event",
    "http": "HTTP endpoint",
}
_DRIVERS: Final = {
    "asyncpg": "asyncpg",
    "psycopg": "psycopg, async",
    "sync_psycopg": "psycopg",
    "sqlalchemy_asyncpg": "SQLAlchemy on asyncpg",
    "sync_session_psycopg": "SQLAlchemy session on psycopg",
    "django": "Django",
}
_SENDS: Final = {
    "relay_polling": "relay, by polling",
    "nudge": "relay, nudged",
    "publish": "published by the writer (`ordering: None`)",
}


def rates(consumer: Figures) -> str:
    """Events per second and CPU by way of handling."""
    found, cpu, rss = (
        consumer[name] for name in ("consume_events_per_s", "cpu_us_per_event", "peak_rss_mb")
    )
    database = consumer.get("postgres_us_per_event", {})
    rows = [
        (
            words, count(found[way]), f"{cpu[way]:.1f}", f"{found[way] * cpu[way] / 1e4:.0f}",
            f"{database[way]:.0f}" if way in database and "inbox" in way else "",
            f"{rss[way]:.0f}",
        )
        for way, words in _WAYS.items()
    ]  # fmt: skip
    return (
        f"One process, events of {consumer['payload_bytes']} bytes; median of "
        f"{consumer['rounds']} rounds.\n\n"
        + table(
            ["", "events/s", "CPU, µs an event", "% of a core", "PostgreSQL, µs an event",
             "peak RSS, MB"],
            rows,
        )
        + "\n`nats bench js fetch` with explicit acknowledgements takes "
        f"{count(consumer['nats_bench_js_fetch'])} messages/s from the same stream and handles "
        f"nothing; the empty handler is at {consumer['ratio_to_nats_bench']:.2f} of that.\n"
        + _beside(consumer)
    )  # fmt: skip


def _beside(consumer: Figures) -> str:
    """What inbox and requests are measured against, once it was."""
    if "bare_writes" not in consumer:
        return ""
    inbox = ""
    if database := consumer.get("postgres_us_per_event"):
        cores = consumer["conditions"]["cores"]
        both = consumer["cpu_us_per_event"]["inbox"] + database["inbox"]
        inbox = (
            f" Runtime and PostgreSQL need {both:.0f} µs for it, which {cores} cores have "
            f"{count(cores / both * 1e6)} times a second."
        )
    if driven := consumer.get("driver_writes"):
        inbox += (
            " A program that does nothing but write these rows, with the driver that handlers "
            f"have, makes {count(driven)}/s, {driven / consumer['bare_writes']:.2f} of `pgbench`."
        )
    request = 1e6 / consumer["bare_requests"]
    least = request + consumer["cpu_us_per_event"]["empty"]
    return (
        "\n`pgbench` with 16 clients, which writes the same two rows in each transaction and no "
        f"more, makes {count(consumer['bare_writes'])}/s: an inbox event is at "
        f"{consumer['ratio_to_bare_writes']:.2f} of that.{inbox} A plain aiohttp client posts "
        f"{count(consumer['bare_requests'])} requests/s to the same receiver: the runtime is at "
        f"{consumer['ratio_to_bare_requests']:.2f} of that. Such a request takes {request:.0f} µs "
        "of its core, and reading and acknowledging an event what the empty handler takes: "
        f"together {least:.0f} µs, which leave {request / least:.2f} at most.\n"
    )


def duplicates(consumer: Figures) -> str:
    """How soon an event is found to be known."""
    found = consumer["duplicates"]
    return (
        f"A duplicate is found in {found['p50_ms']} ms (p99 {found['p99_ms']} ms) in an inbox of "
        f"{count(found['rows'])} rows.\n"
    )


def library(client: Figures) -> str:
    """What `add` costs beside a bare INSERT, and how soon an event arrives."""
    rows = [
        (
            words,
            *(f"{client['add'][driver][part]:.0f}" for part in ("add_us", "bare_insert_us")),
            f"{client['add'][driver]['overhead_us']:.0f}",
            count(client["add"][driver]["add_many_per_s"]),
        )
        for driver, words in _DRIVERS.items()
    ]
    waits = client["commit_to_subscriber_ms"]
    return (
        table(
            ["µs", "`add`", "bare INSERT", "difference", "`add_many`, events/s"],
            rows,
        )
        + "\nFrom the end of the commit to a subscriber, one writer, 200 commits/s:\n\n"
        + table(
            ["milliseconds", "p50", "p99"],
            [(words, waits[way]["p50"], waits[way]["p99"]) for way, words in _SENDS.items()],
        )
        + _imported(client)
    )


def _imported(client: Figures) -> str:
    """What the first import costs, once it was measured."""
    if "import_cpu_ms" not in client:
        return ""
    return f"\nImporting it takes {client['import_cpu_ms']:.0f} ms of CPU.\n"


def soak(found: Figures) -> str:
    """Row to effect for minutes, with failures and restarts."""
    rss = found["consumer_rss_mb"]
    rows = [
        ("seconds", count(found["seconds"])),
        ("producers", count(found["producers"])),
        ("acknowledged commits/s", count(found["acknowledged_commits_per_s"])),
        ("handler calls that fail", f"{found['failing_share']:.0%}"),
        ("kills of the broker / of the database",
         f"{found['broker_kills']} / {found['database_kills']}"),
        ("events committed / with an effect",
         f"{count(found['committed'])} / {count(found['handled'])}"),
        ("lost / phantom / dead letters",
         f"{found['lost']} / {found['phantom']} / {found['dead_letters']}"),
        ("consumer memory, first / last, MB", f"{rss['first']} / {rss['last']}"),
        ("slope of memory, MB a minute", rss["slope_per_minute"]),
    ]  # fmt: skip
    return table(["", "found"], rows)


def dev(found: Figures) -> str:
    """How soon `outbox dev` is ready."""
    parts = (
        ("until relay and consumer are ready", "ready_s"),
        ("of that, until servers, tables and streams are there", "set_up_s"),
        ("CPU of all processes, start and end", "cpu_s"),
    )
    rows = [
        (words, *(f"{found[part][one]:.2f}" for one in ("min", "median", "max")))
        for words, part in parts
    ]
    return (
        table(["seconds", "least", "median", "most"], rows)
        + f"\n{found['rounds']} starts in a folder that was used before, on {found['cores']} cores "
        f"({found['cpu']}) at a load of {found['load']:.1f}. The very first one, which makes the "
        f"database: {found['first_ready_s']:.1f} s.\n"
    )
