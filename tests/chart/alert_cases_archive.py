"""When the alerts of archives fire, and what an archive does to those of consumers."""

from __future__ import annotations

from typing import Final

from support.alert_series import BILLING, OF_BILLING, A, B, Case, consumer, since

_BATCHES: Final = f'outbox_archive_batch_seconds_count{{{BILLING}, pod="c"}}'

ARCHIVE_CASES: Final = (
    Case(
        "OutboxArchiveGap",
        "one for ten minutes, over a change of the leader; then its messages have come",
        {
            consumer("archive_gaps", A): "0x2 1x6 stale _x40",
            since(A): "100x8 stale _x40",
            consumer("archive_gaps", B): "_x11 1x9 0x9",
            since(B): "_x11 500x28",
        },
        {12: (), 13: (OF_BILLING,), 20: (OF_BILLING,), 21: ()},
    ),
    Case(
        "OutboxArchiveGap",
        "closed by messages that came late, and one of which nobody can tell",
        {consumer("archive_gaps"): "3x8 0x30"},
        {8: (), 30: ()},
    ),
    Case(
        "OutboxArchiveBehind",
        "nothing is stored, the archive cannot even be read; then it catches up",
        {
            consumer("oldest_unread_age_seconds"): "0+60x30 0x9",
            consumer("archive_sample_timestamp_seconds"): "0+60x3 180x40",
            consumer("wanted_replicas"): "1x40",
        },
        {15: (), 16: (OF_BILLING,), 30: (OF_BILLING,), 32: ()},
    ),
    Case(
        "OutboxArchiveBehind",
        "stopped on purpose, or another kind of consumer",
        {
            consumer("oldest_unread_age_seconds"): "900x30",
            consumer("archive_sample_timestamp_seconds"): "0+60x30",
            consumer("wanted_replicas"): "0x30",
            f'outbox_consumer_oldest_unread_age_seconds{{namespace="a", consumer="c", {A}}}': (
                "900x30"
            ),
        },
        {30: ()},
    ),
    Case(
        "OutboxSampleStale",
        "the durable consumer is read, its archive is not",
        {
            consumer("sample_timestamp_seconds"): "0+60x30",
            consumer("archive_sample_timestamp_seconds"): "0+60x2 120x30",
        },
        {12: (), 13: (OF_BILLING,)},
    ),
    Case(
        "OutboxConsumerStuck",
        "an archive that gets on, though not as fast as events come; then not any more",
        {
            consumer("oldest_unread_age_seconds"): "0+40x60",
            consumer("wanted_replicas"): "1x60",
            _BATCHES: "0+9x30 270x30",
        },
        {30: (), 33: (), 42: (OF_BILLING,)},
    ),
)
