"""When each alert fires and when it does not, minute by minute."""

from __future__ import annotations

from typing import Final

from support.alert_series import (
    BILLING,
    OF_BILLING,
    PURGE,
    SHOP,
    STREAM,
    A,
    B,
    Case,
    age,
    backlog,
    condition,
    consumer,
    errors,
    leader,
    passes,
    processed,
    published,
    relay,
    sent,
    since,
    stream,
    task,
)

LEASE: Final = 'lease="outbox-system/operator", namespace="outbox-system"'
OTHER_LEASE: Final = LEASE.replace("outbox-system", "other")

CASES: Final = (
    Case(
        "OutboxHighLag",
        "more than 5000 rows for ten minutes, until they are fewer",
        {backlog(A): "5000x5 5001x15 5000x9"},
        {14: (), 16: (SHOP,), 20: (SHOP,), 22: ()},
    ),
    Case(
        "OutboxHighLag",
        "another pod leads, and for three minutes nobody does: the ten minutes go on",
        {
            backlog(A): "6000x5 stale _x20",
            since(A): "100x5 stale _x20",
            backlog(B): "_x8 6000x20",
            since(B): "_x7 500x21",
        },
        {9: (), 10: (SHOP,), 20: (SHOP,)},
    ),
    Case(
        "OutboxHighLag",
        "the new leader finds less: what the old one said is over",
        {backlog(A): "6000x5 stale _x20", backlog(B): "_x6 10x20"},
        {10: (), 12: ()},
    ),
    Case(
        "OutboxHighLag",
        "the operator is away for good: unknown, so no alert but that of the operator",
        {backlog(A): "6000x12 stale _x20", since(A): "100x12 stale _x20"},
        {12: (SHOP,), 18: ()},
    ),
    Case(
        "OutboxWorkerDown",
        "no relay pod of two is ready",
        {relay("wanted"): "2x20", relay("ready"): "2x2 1 0x9 1x5"},
        {8: (), 9: (SHOP,), 13: (SHOP,), 14: ()},
    ),
    Case(
        "OutboxWorkerDown",
        "the Deployment is gone, so nobody says how many are ready",
        {relay("wanted"): "2x20", relay("ready"): "2x2 stale _x20"},
        {12: (), 14: (SHOP,)},
    ),
    Case(
        "OutboxWorkerDown",
        "deleted before it was repaired, under the same leader",
        {
            relay("wanted"): "1x3 stale _x20",
            relay("ready"): "0x3 stale _x20",
            since(A): "100x30",
        },
        {6: (), 9: (), 12: ()},
    ),
    Case(
        "OutboxWorkerDown",
        "the leader was restarted, at once but for its numbers",
        {
            relay("wanted"): "1x6 stale _x1 1x20",
            relay("ready"): "0x6 stale _x1 0x20",
            since(A): "100x6 400x22",
        },
        {6: (SHOP,), 7: (SHOP,), 8: (SHOP,), 20: (SHOP,)},
    ),
    Case(
        "OutboxWorkerDown",
        "stopped on purpose",
        {relay("wanted"): "0x20", relay("ready"): "0x20"},
        {20: ()},
    ),
    Case(
        "OutboxWorkerDown",
        "a consumer; another pod leads meanwhile",
        {
            consumer("wanted_replicas", A): "1x3 stale _x20",
            consumer("ready_replicas", A): "0x3 stale _x20",
            consumer("wanted_replicas", B): "_x6 1x20",
            consumer("ready_replicas", B): "_x6 0x20",
        },
        {4: (), 5: (OF_BILLING,), 9: (OF_BILLING,)},
    ),
    Case(
        "OutboxWorkerUnhealthy",
        "two relay pods of four are ready, then three",
        {relay("wanted"): "4x30", relay("ready"): "4x3 2x12 3x20"},
        {13: (), 14: (SHOP,), 17: ()},
    ),
    Case(
        "OutboxWorkerUnhealthy",
        "none is wanted: no division by zero; a consumer has one of two",
        {
            relay("wanted"): "0x30",
            relay("ready"): "0x30",
            consumer("wanted_replicas"): "2x30",
            consumer("ready_replicas"): "1x30",
        },
        {9: (), 10: (OF_BILLING,)},
    ),
    Case(
        "OutboxWorkerIdle",
        "nothing is published any more while rows wait; the relay's pods may be gone",
        {
            backlog(A): "10x40",
            relay("wanted"): "1x40",
            f"outbox_pipeline_published_total{{{SHOP}, {A}}}": "0+100x10 1000x20 1100+100x9",
        },
        {25: (), 30: (SHOP,), 33: ()},
    ),
    Case(
        "OutboxWorkerIdle",
        "it publishes, in spite of another leader and of a database that was put back",
        {
            backlog(A): "10x20 stale _x20",
            backlog(B): "_x22 10x30",
            relay("wanted", A): "1x20 stale _x20",
            relay("wanted", B): "_x22 1x30",
            f"outbox_pipeline_published_total{{{SHOP}, {A}}}": "500+100x20 stale _x20",
            f"outbox_pipeline_published_total{{{SHOP}, {B}}}": "_x22 2700+100x10 5+100x18",
        },
        {20: (), 30: (), 50: ()},
    ),
    Case(
        "OutboxWorkerIdle",
        "nothing waits, or the relay is stopped on purpose",
        {
            f'outbox_pipeline_backlog_rows{{namespace="a", pipeline="p", {A}}}': "0x40",
            relay("wanted", A, 'namespace="a", pipeline="p"'): "1x40",
            f'outbox_pipeline_backlog_rows{{namespace="b", pipeline="p", {A}}}': "10x40",
            relay("wanted", A, 'namespace="b", pipeline="p"'): "0x40",
        },
        {40: ()},
    ),
    Case(
        "OutboxHighErrorRate",
        "2 % of the publishes are refused; the pod is another one halfway",
        {
            errors("StreamRefused", "r"): "0+20x6 stale _x20",
            published("r"): "0+980x6 stale _x20",
            errors("StreamRefused", "s"): "_x7 0+20x10 200x20",
            published("s"): "_x7 0+980x30",
        },
        {5: (), 7: (SHOP,), 16: (SHOP,), 25: ()},
    ),
    Case(
        "OutboxHighErrorRate",
        "all are refused; failed connections are no refused publishes; nothing happens at all",
        {
            errors("AckTimeout"): "0+1x20",
            published(): "0x20",
            'outbox_relay_errors_total{namespace="a", pipeline="p", reason="NatsUnreachable"}': (
                "0+9x20"
            ),
            'outbox_relay_published_total{namespace="a", pipeline="p", shard="0"}': "0x20",
            'outbox_relay_errors_total{namespace="b", pipeline="p", reason="AckTimeout"}': "7x20",
            'outbox_relay_published_total{namespace="b", pipeline="p", shard="0"}': "7x20",
        },
        {5: (), 6: (SHOP,), 20: (SHOP,)},
    ),
    Case(
        "OutboxHighErrorRate",
        "a handler fails 1 of 50, another one 1 of 200, a third one has nothing to do",
        {
            processed("ack"): "0+490x20",
            processed("retry"): "0+10x20",
            processed("put_off"): "0+0x20",
            'outbox_consumer_processed_total{namespace="a", consumer="c", outcome="ack"}': (
                "0+995x20"
            ),
            'outbox_consumer_processed_total{namespace="a", consumer="c", outcome="retry"}': (
                "0+5x20"
            ),
            'outbox_consumer_processed_total{namespace="b", consumer="c", outcome="ack"}': "9x20",
            'outbox_consumer_processed_total{namespace="b", consumer="c", outcome="retry"}': "9x20",
        },
        {5: (), 6: (BILLING,), 20: (BILLING,)},
    ),
    Case(
        "OutboxHighErrorRate",
        "everything fails: after the first few nothing more is fetched, so nothing fails either",
        {
            processed("ack"): "9x20",
            processed("retry"): "0 10x20",
            f'outbox_consumer_circuit_open{{{BILLING}, pod="c"}}': "0 1x15 0x5",
        },
        {5: (), 6: (BILLING,), 16: (BILLING,), 17: ()},
    ),
    Case(
        "OutboxHighLatency",
        "2 % take longer than half a second, then none",
        {
            age("0.25"): "0+98x15 1470+100x20",
            age("0.5"): "0+98x15 1470+100x20",
            age("1.0"): "0+100x15 1500+100x20",
            age("+Inf"): "0+100x15 1500+100x20",
        },
        {5: (), 6: (SHOP,), 15: (SHOP,), 22: ()},
    ),
    Case(
        "OutboxHighLatency",
        "what was slow is long ago, and there is no traffic",
        {age("0.5"): "1x30", age("+Inf"): "50x30"},
        {30: ()},
    ),
    Case(
        "OutboxDeadLetterQueue",
        "more than ten in the table, of a consumer, or in a stream of a consumer that is gone",
        {
            f"outbox_pipeline_dead_letters{{{SHOP}, {A}}}": "10x5 11x10 0x5",
            consumer("dead_letters"): "10x5 12x10 0x5",
            stream("dead_letters"): "10x5 12x10 13x9",
        },
        {10: (), 11: (SHOP, OF_BILLING), 16: (SHOP, OF_BILLING), 21: (), 22: (STREAM,)},
    ),
    Case(
        "OptimisticSendHighFailureRate",
        "a fifth fails, for two reasons; another application has nothing to send",
        {
            sent("attempts"): "0+100x30",
            sent("failures", 'reason="SendTimeout", '): "0+15x20 300x10",
            sent("failures", 'reason="SendRefused", '): "0+5x20 100x10",
            'outbox_optimistic_send_attempts_total{namespace="a", pipeline="p"}': "9x30",
            'outbox_optimistic_send_failures_total{namespace="a", pipeline="p"}': "9x30",
        },
        {10: (), 11: (SHOP,), 20: (SHOP,), 26: ()},
    ),
    Case(
        "OutboxPipelineNotReady",
        "False, then Unknown, while another pod takes the lead; then True",
        {
            condition("True", A): "1x2 0x7 stale _x30",
            condition("False", A): "0x2 1x7 stale _x30",
            condition("Unknown", A): "0x2 0x7 stale _x30",
            condition("True", B): "_x12 0x10 1x9",
            condition("False", B): "_x12 0x10 0x9",
            condition("Unknown", B): "_x12 1x10 0x9",
        },
        {
            17: (),
            18: ('kind="OutboxPipeline", namespace="shop", name="orders"',),
            24: (),
        },
    ),
    Case(
        "OutboxSampleStale",
        "read a last time at minute 2; the pipeline beside it is read each minute",
        {
            f"outbox_pipeline_sample_timestamp_seconds{{{SHOP}, {A}}}": "0+60x2 120x20 1380x5",
            'outbox_pipeline_sample_timestamp_seconds{namespace="a", pipeline="p"}': "0+60x30",
        },
        {12: (), 13: (SHOP,), 23: (SHOP,), 24: ()},
    ),
    Case(
        "OutboxSampleStale",
        "a stream and a consumer",
        {
            consumer("sample_timestamp_seconds"): "0x30",
            stream("sample_timestamp_seconds"): "0x30",
        },
        {10: (), 11: (OF_BILLING, STREAM)},
    ),
    Case(
        "OutboxSampleStale",
        "never read since the operator leads: its database was away before",
        {condition("False"): "1x20", condition("True"): "0x20", condition("Unknown"): "0x20"},
        {4: (), 5: (SHOP,)},
    ),
    Case(
        "OutboxRelayHalted",
        "one shard, over a restart of the relay",
        {
            f'outbox_relay_halted{{{SHOP}, shard="3", pod="r"}}': "0x2 1x3 stale _x20",
            f'outbox_relay_halted{{{SHOP}, shard="3", pod="s"}}': "_x7 1x3 0x9",
            f'outbox_relay_halted{{{SHOP}, shard="4", pod="r"}}': "0x20",
            condition("True"): "1x20",
            leader(A): "1x20",
        },
        {3: (), 4: (f'{SHOP}, shard="3"',), 10: (f'{SHOP}, shard="3"',), 11: ()},
    ),
    Case(
        "OutboxRelayHalted",
        "its pipeline is deleted: nobody is woken about what is not there",
        {
            f'outbox_relay_halted{{{SHOP}, shard="3", pod="r"}}': "1x8 stale _x20",
            condition("True"): "1x8 stale _x20",
            leader(A): "1x30",
            since(A): "7x30",
        },
        {7: (f'{SHOP}, shard="3"',), 9: ()},
    ),
    Case(
        "OutboxRelayHalted",
        "the operator is dead for long, and the relay begins anew",
        {
            f'outbox_relay_halted{{{SHOP}, shard="3", pod="r"}}': "1x28 stale _x20",
            f'outbox_relay_halted{{{SHOP}, shard="3", pod="s"}}': "_x32 1x20",
            condition("True"): "1x8 stale _x50",
            leader(A): "1x8 stale _x50",
            since(A): "7x8 stale _x50",
        },
        {7: (f'{SHOP}, shard="3"',), 31: (f'{SHOP}, shard="3"',), 40: (f'{SHOP}, shard="3"',)},
    ),
    Case(
        "OutboxConsumerStuck",
        "the oldest message is not handled, nor any other",
        {
            consumer("oldest_unread_age_seconds"): "0+60x40",
            consumer("wanted_replicas"): "1x40",
            processed("ack"): "9x40",
            processed("retry"): "0+30x40",
        },
        {20: (), 21: (OF_BILLING,)},
    ),
    Case(
        "OutboxConsumerStuck",
        "pods that are gone export nothing",
        {
            consumer("oldest_unread_age_seconds"): "0+60x40",
            consumer("wanted_replicas"): "1x40",
            processed("ack"): "0+9x5 stale _x40",
        },
        {21: (OF_BILLING,)},
    ),
    Case(
        "OutboxConsumerStuck",
        "one message of many waits, the others are handled",
        {consumer("oldest_unread_age_seconds"): "0+60x40", processed("ack"): "0+9x40"},
        {40: ()},
    ),
    Case(
        "OutboxConsumerStuck",
        "far behind and catching up, without pods of ours",
        {consumer("oldest_unread_age_seconds"): "9000-30x40"},
        {40: ()},
    ),
    Case(
        "OutboxConsumerStuck",
        "stopped on purpose",
        {
            consumer("oldest_unread_age_seconds"): "0+60x40",
            consumer("wanted_replicas"): "0x40",
        },
        {40: ()},
    ),
    Case(
        "OutboxStreamNearlyFull",
        "81 % of the bytes, then of the messages, and it refuses more; one without limits",
        {
            stream("bytes"): "80x5 81x20 10x30",
            stream("max_bytes"): "100x60",
            stream("messages"): "1x25 81x35",
            stream("max_messages"): "100x60",
            stream("refuses_when_full"): "1x60",
            f'outbox_stream_bytes{{namespace="a", stream="free", {A}}}': "999x60",
        },
        {20: (), 21: (STREAM,), 45: (STREAM,)},
    ),
    Case(
        "OutboxStreamNearlyFull",
        "it drops the oldest messages, first what all have read, then what a consumer has not",
        {
            stream("bytes"): "100x60",
            stream("max_bytes"): "100x60",
            stream("messages"): "100x60",
            stream("refuses_when_full"): "0x60",
            consumer("pending"): "50x30 51x30",
        },
        {45: (), 46: (STREAM,)},
    ),
    Case(
        "OutboxRedisNearlyFull",
        "81 % of maxmemory, of which there is more then; another server has no limit",
        {
            stream("redis_memory_bytes"): "80x5 81x40",
            stream("redis_max_memory_bytes"): "100x25 200x20",
            f'outbox_stream_redis_memory_bytes{{namespace="a", stream="free", {A}}}': "999x45",
        },
        {10: (), 11: (STREAM,), 25: (STREAM,), 27: ()},
    ),
    Case(
        "OutboxRetentionAtRisk",
        "seven days are kept: less than six hours are left",
        {
            stream("max_age_seconds"): "604800x20",
            consumer("oldest_unread_age_seconds"): "583140+60x8 0x11",
        },
        {6: (), 7: (OF_BILLING,), 9: ()},
    ),
    Case(
        "OutboxRetentionAtRisk",
        "one hour is kept: more than half of it is over",
        {
            stream("max_age_seconds"): "3600x60",
            consumer("oldest_unread_age_seconds"): "0+60x60",
        },
        {35: (), 36: (OF_BILLING,)},
    ),
    Case(
        "OutboxRetentionAtRisk",
        "kept for ever, or nothing unread",
        {
            consumer("oldest_unread_age_seconds"): "9999999x20",
            f'outbox_stream_max_age_seconds{{namespace="a", stream="s", {A}}}': "3600x20",
            'outbox_consumer_oldest_unread_age_seconds{namespace="a", consumer="c", stream="s"}': (
                "0x20"
            ),
        },
        {20: ()},
    ),
    Case(
        "OutboxTaskFailed",
        "one failed at minute 2, over a change of the leader; an hour later it is over",
        {task("failed", A): "_x2 120x20 stale _x99", task("failed", B): "_x25 120x99"},
        {1: (), 2: (PURGE,), 61: (PURGE,), 62: ()},
    ),
    Case(
        "OutboxTaskFailed",
        "it is deleted; another one is complete",
        {
            task("failed", A): "_x2 120x8 stale _x20",
            task("complete", A): "_x2 120x20",
            since(A): "7x40",
        },
        {9: (PURGE,), 11: ()},
    ),
    Case(
        "OutboxOperatorDown",
        "one pod after the other leads; then both are gone",
        {
            leader(A): "1x9 0x10 stale _x99",
            leader(B): "0x9 _ 1x9 stale _x99",
        },
        {15: (), 25: (), 26: (LEASE,)},
    ),
    Case(
        "OutboxOperatorDown",
        "both are there, and none leads",
        {leader(A): "0x20", leader(B): "0x20"},
        {4: (), 5: (LEASE,)},
    ),
    Case(
        "OutboxOperatorDown",
        "two releases, and one is gone",
        {leader(A): "1x30", leader(A, "other"): "1x9 stale _x30"},
        {14: (), 15: (OTHER_LEASE,), 30: (OTHER_LEASE,)},
    ),
    Case(
        "OutboxOperatorDown",
        "it is read by another job from now on, with other labels",
        {
            leader(A): "1x9 stale _x30",
            'outbox_operator_leader{lease="outbox-system/operator", job="else"}': "_x9 1x30",
        },
        {15: (), 30: ()},
    ),
    Case(
        "OutboxOperatorDown",
        "none was ever seen; where a relay is, there must have been one",
        {f'outbox_relay_owner{{{SHOP}, shard="0", pod="r"}}': "_x9 1x30"},
        {13: (), 14: ("",)},
    ),
    Case("OutboxOperatorDown", "there is nothing at all", {'up{job="other"}': "1x30"}, {30: ()}),
    Case(
        "OutboxReconcileErrors",
        "every five minutes, over a restart of the operator; what a condition says does not count",
        {
            passes(A, "EventStream", "defect"): "0x4 1x4 2x4 3x4 4x4 stale _x60",
            passes(B, "EventStream", "error"): "_x23 0x4 1x4 2x4 3x4 4x4 5x4 6x4 7x4",
            passes(A, "OutboxPipeline", "failed"): "0+9x60",
        },
        {
            20: (),
            32: ('namespace="ops", job="operator", kind="EventStream"',),
            60: ('namespace="ops", job="operator", kind="EventStream"',),
        },
    ),
    Case(
        "OutboxReconcileErrors",
        "the API server was away for a moment",
        {passes(A, "EventConsumer", "error"): "0x5 9x60"},
        {24: (), 26: (), 40: (), 60: ()},
    ),
)

CLUSTER_CASES: Final = (
    Case(
        "OutboxHighLag",
        "in one of two clusters that have the same names",
        {
            backlog(f'{A}, cluster="one"'): "6000x30",
            backlog(f'{A}, cluster="two"'): "10x30",
        },
        {9: (), 10: (f'{SHOP}, cluster="one"',), 30: (f'{SHOP}, cluster="one"',)},
    ),
    Case(
        "OutboxWorkerIdle",
        "one publishes, the other does not",
        {
            backlog(f'{A}, cluster="one"'): "10x30",
            backlog(f'{A}, cluster="two"'): "10x30",
            relay("wanted", f'{A}, cluster="one"'): "1x30",
            relay("wanted", f'{A}, cluster="two"'): "1x30",
            f'outbox_pipeline_published_total{{{SHOP}, {A}, cluster="one"}}': "0+9x30",
            f'outbox_pipeline_published_total{{{SHOP}, {A}, cluster="two"}}': "9x30",
        },
        {30: (f'{SHOP}, cluster="two"',)},
    ),
    Case(
        "OutboxOperatorDown",
        "one leads, the other is gone; in a third one nobody was seen but relays",
        {
            leader(f'{A}, cluster="one"'): "1x30",
            leader(f'{A}, cluster="two"'): "1x9 stale _x30",
            f'outbox_relay_owner{{{SHOP}, shard="0", pod="r", cluster="one"}}': "1x30",
            f'outbox_relay_owner{{{SHOP}, shard="0", pod="r", cluster="three"}}': "1x30",
        },
        {
            30: (
                f'{LEASE}, cluster="two"',
                'cluster="three"',
            )
        },
    ),
)
