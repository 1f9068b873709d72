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
    return (
        f"{archive['conditions']['date']}: {count(archive['events'])} events of "
        f"{archive['event_bytes']} bytes, median of {len(runs)} rounds. Load of the machine (two "
        f"cores) before and after: {archive['load_before']} and {archive['load_after']}; above 2 "
        "others were at work, and the ratio says more than the rates.\n\n"
        + table(["", "found", "aim"], rows)
        + f"\nLooked up among {count(found['rows'])} rows, in milliseconds:\n\n"
        + table(["", "p50", "p99"], looks)
    )


def _of(runs: list[Figures], name: str) -> str:
    return " / ".join(f"{run[name]:g}" for run in runs)
