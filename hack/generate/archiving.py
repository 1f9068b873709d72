"""The part of docs/explanation/performance.md about archives."""

from __future__ import annotations

from typing import Final

from generate.tables import Figures, count, table

_LOOKS: Final = {
    "of_a_key": "100 events of a key, newest first, of a week",
    "of_a_type": "100 events of a type, newest first, of a week",
    "of_an_actor": "100 events of an actor, newest first, of a week",
    "of_an_hour": "100 events before a moment",
    "of_an_id": "one event by its id",
}


def figures(archive: Figures) -> str:
    """How fast it is written, looked up, sealed and verified."""
    runs, found = archive["runs"], archive["archive"]
    rows = [
        ("rows/s, one process", count(archive["rows_per_s"]), "20,000"),
        (
            "÷ a bare COPY of the same rows into the same tables",
            f"{archive['ratio_to_copy']:.2f}",
            "0.50",
        ),
        ("CPU of the process, µs a row", _of(runs, "writer_cpu_us"), ""),
        ("CPU of PostgreSQL, µs a row", _of(runs, "postgres_cpu_us"), ""),
        ("peak memory of the process, MB", _of(runs, "writer_peak_rss_mb"), ""),
        ("bytes a row with all indexes", count(found["bytes_per_row"]), ""),
        ("of them its payload", count(found["payload_bytes"]), ""),
        ("seals, bytes a row", f"{found['seal_bytes_per_row']:.0f}", ""),
        ("rows sealed/s", count(found["sealed_rows_per_s"]), ""),
        ("rows verified/s", count(found["verified_rows_per_s"]), ""),
    ]
    looks = [
        (words, f"{found['queries'][name]['p50_ms']}", f"{found['queries'][name]['p99_ms']}")
        for name, words in _LOOKS.items()
    ]
    asked = "Asked of the API about" if "exports" in found else "Looked up by SQL among"
    return (
        f"{archive['conditions']['date']}: {count(archive['events'])} events of "
        f"{archive['event_bytes']} bytes, median of {len(runs)} rounds. Load of the machine (two "
        f"cores) before and after: {archive['load_before']} and {archive['load_after']}; above 2 "
        "others were at work, and the ratio says more than the rates.\n\n"
        + table(["", "found", "aim"], rows)
        + f"\n{asked} {count(found['rows'])} rows, in milliseconds (aim: 50 at p99):\n\n"
        + table(["", "p50", "p99"], looks)
        + _exports(found.get("exports", {}))
        + _fresh(found.get("fresh", {}))
    )


def _exports(exports: Figures) -> str:
    """Of each format; nothing of figures of before there were any."""
    if not exports:
        return ""
    rows = [
        (
            form, count(one["events"]), count(one["rows_per_s"]), f"{one['bytes'] / 1e6:,.0f}",
            f"{one['server_cpu_us']:g}",
            f"{one['memory_before_mb']:.0f} / {one['memory_peak_mb']:.0f}",
        )
        for form, one in exports.items()
    ]  # fmt: skip
    head = [
        "", "events", "rows/s (aim: 100,000)", "MB", "CPU of the process, µs a row",
        "its memory before / at most, MB",
    ]  # fmt: skip
    return "\nExported, with all columns:\n\n" + table(head, rows)


def _fresh(fresh: Figures) -> str:
    """From a commit to an answer of the API; nothing of figures of before it was measured."""
    if not fresh:
        return ""
    after, page = fresh["found_after"], fresh["page"]
    return (
        "\nFrom the return of a commit in the outbox until the API shows the event, through relay, "
        f"stream and writer, while {count(fresh['committed_per_s'])} events a second are committed "
        f"and {fresh['readers']} readers ask for {fresh['pages_per_s']} pages a second (p50 "
        f"{page['p50_ms']:g} ms, p99 {page['p99_ms']:g} ms): p50 {after['p50_ms']:g} ms, p99 "
        f"{after['p99_ms']:g} ms, longest {after['max_ms']:g} ms of {fresh['looked_for']}, each "
        f"asked for every 25 ms. The aim: p99 within 1,000 ms.\n"
    )


def _of(runs: list[Figures], name: str) -> str:
    return " / ".join(f"{run[name]:g}" for run in runs)
