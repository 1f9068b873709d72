"""The same where there are several: pods of one thing, things of one kind, kinds of one answer."""

from __future__ import annotations

from typing import Final

from support.alert_series import (
    BILLING,
    OF_BILLING,
    SHOP,
    A,
    B,
    Case,
    age,
    condition,
    consumer,
    errors,
    processed,
    published,
    stream,
)

MAIL: Final = 'namespace="shop", consumer="mail", pipeline="orders", stream="orders"'
AUDIT: Final = MAIL.replace("mail", "audit")
LEASE: Final = 'lease="outbox-system/operator", namespace="outbox-system"'
C: Final = A.replace('"a"', '"c"')


def leads(index: int, pod: str = A) -> str:
    """A series of who leads a slice."""
    return f'outbox_operator_leader{{{LEASE}, slice="{index}", {pod}}}'


def slices(pod: str = A) -> str:
    """A series of the number of slices, of who leads one."""
    return f"outbox_operator_slices{{{LEASE}, {pod}}}"


CASES_BESIDE: Final = (
    Case(
        "OutboxOperatorDown",
        "a slice moves from one to another; later nobody leads it any more",
        {
            slices(): "3x40",
            leads(0): "1x40",
            leads(1): "1x40",
            leads(2): "0x40",
            leads(2, B): "1x5 stale _x40",
            leads(2, C): "0x6 1x9 stale _x40",
        },
        {15: (), 21: (), 23: (LEASE,), 40: (LEASE,)},
    ),
    Case(
        "OutboxOperatorDown",
        "pods with three slices wait for one with all; then they lead, and it is gone",
        {
            slices(): "1x20 stale _x40",
            leads(0): "1x20 stale _x40",
            leads(0, B): "0x20 1x40",
            leads(1, B): "0x20 1x40",
            leads(2, B): "0x20 1x40",
            slices(B): "_x20 3x40",
        },
        {20: (), 26: (), 40: ()},
    ),
    Case(
        "OutboxWorkerDown",
        "a consumer of two pods has one, then is stopped on purpose",
        {
            consumer("wanted_replicas"): "2x11 0x20",
            consumer("ready_replicas"): "1x11 0x20",
        },
        {11: (), 30: ()},
    ),
    Case(
        "OutboxHighErrorRate",
        "one pod of the relay is refused more than 1 %, all together less; one pod of a handler "
        "fetches nothing more",
        {
            errors("StreamRefused", "r"): "0+8x20",
            published("r"): "0+500x20",
            published("s"): "0+500x20",
            f'outbox_consumer_circuit_open{{{BILLING}, pod="c"}}': "1x20",
            f'outbox_consumer_circuit_open{{{BILLING}, pod="d"}}': "0x20",
        },
        {4: (), 5: (BILLING,), 20: (BILLING,)},
    ),
    Case(
        "OutboxHighErrorRate",
        "two pods of the relay together are refused more than 1 %; what fails in one of two pods "
        "of a handler becomes dead letters",
        {
            errors("StreamRefused", "r"): "0+6x20",
            errors("StreamRefused", "s"): "0+6x20",
            published("r"): "0+100x20",
            published("s"): "0+700x20",
            processed("ack"): "0+500x20",
            processed("dead_letter"): "0+9x20",
            processed("ack").replace('pod="c"', 'pod="d"'): "0+200x20",
        },
        {5: (), 6: (SHOP, BILLING), 20: (SHOP, BILLING)},
    ),
    Case(
        "OutboxHighLatency",
        "a slow pod of the relay beside one that has most of the events",
        {
            age("0.5"): "0+1000x20",
            age("1.0"): "0+1000x20",
            age("+Inf"): "0+1000x20",
            age("0.5").replace('pod="r"', 'pod="s"'): "0+80x20",
            age("1.0").replace('pod="r"', 'pod="s"'): "0+100x20",
            age("+Inf").replace('pod="r"', 'pod="s"'): "0+100x20",
        },
        {5: (), 6: (SHOP,), 20: (SHOP,)},
    ),
    Case(
        "OptimisticSendHighFailureRate",
        "one pod of the application fails, all together hardly",
        {
            f'outbox_optimistic_send_attempts_total{{{SHOP}, pod="a"}}': "0+100x30",
            f'outbox_optimistic_send_attempts_total{{{SHOP}, pod="b"}}': "0+100x30",
            f'outbox_optimistic_send_failures_total{{{SHOP}, pod="a"}}': "0+15x30",
        },
        {30: ()},
    ),
    Case(
        "OutboxSampleStale",
        "a consumer and a stream that were never read since the operator leads, beside others",
        {
            consumer("sample_timestamp_seconds"): "0+60x20",
            stream("sample_timestamp_seconds").replace("orders", "other"): "0+60x20",
            condition("False", kind="EventConsumer"): "1x20",
            condition("False", kind="EventStream"): "1x20",
        },
        {
            4: (),
            5: ('namespace="shop", consumer="orders"', 'namespace="shop", stream="orders"'),
        },
    ),
    Case(
        "OutboxSampleStale",
        "each is read every minute",
        {
            condition("True"): "1x20",
            condition("True", kind="EventConsumer"): "1x20",
            condition("True", kind="EventStream"): "1x20",
            f"outbox_pipeline_sample_timestamp_seconds{{{SHOP}, {A}}}": "0+60x20",
            f"outbox_consumer_sample_timestamp_seconds{{{MAIL.replace('mail', 'orders')}, {A}}}": (
                "0+60x20"
            ),
            stream("sample_timestamp_seconds"): "0+60x20",
        },
        {20: ()},
    ),
    Case(
        "OutboxConsumerStuck",
        "one of three; what the others answer are dead letters, and events that nobody handles",
        {
            consumer("oldest_unread_age_seconds"): "0+60x30",
            f"outbox_consumer_oldest_unread_age_seconds{{{MAIL}, {A}}}": "0+60x30",
            processed("dead_letter").replace("billing", "mail"): "0+9x30",
            f"outbox_consumer_oldest_unread_age_seconds{{{AUDIT}, {A}}}": "0+60x30",
            processed("unhandled").replace("billing", "audit"): "0+9x30",
        },
        {20: (), 21: (OF_BILLING,), 30: (OF_BILLING,)},
    ),
    Case(
        "OutboxRetentionAtRisk",
        "one of two consumers of a stream that keeps an hour",
        {
            stream("max_age_seconds"): "3600x60",
            consumer("oldest_unread_age_seconds"): "0+60x60",
            f"outbox_consumer_oldest_unread_age_seconds{{{MAIL}, {A}}}": "60x60",
        },
        {35: (), 36: (OF_BILLING,)},
    ),
)
