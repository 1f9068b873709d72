"""Numbers that pages repeat are those of the code: each sentence is built from the constant.

A sentence here stands word by word in its page, whatever its line breaks. A number that is new in a
page gets a line here, unless another test compares it.
"""

from __future__ import annotations

import inspect
import json
from typing import Any, Final

import pytest

from outbox_operator.adapters.kubernetes import events, transport
from outbox_operator.adapters.postgres import connection, shard_locks
from outbox_operator.api.fields import seconds
from outbox_operator.api.v1alpha1.handler import PythonHandler
from outbox_operator.api.v1alpha1.outbox_database import Migrations
from outbox_operator.api.v1alpha1.pipeline import OutboxTable, Polling
from outbox_operator.api.v1alpha1.stream import StreamConfig
from outbox_operator.client import NatsLink, nats_link, rows, sending, statements
from outbox_operator.consumer import breaker, disposition, error_text, progress, workers
from outbox_operator.controller.reconcile import deletion
from outbox_operator.controller.runtime import queue, schedule
from outbox_operator.controller.settings import Settings
from outbox_operator.plan import names
from outbox_operator.plan.jetstream import consumers
from outbox_operator.plan.kubernetes import runtime_config
from outbox_operator.plan.postgres import partitions
from outbox_operator.plan.status import pipeline
from outbox_operator.relay import fencing, ownership
from outbox_operator.relay import loop as relay_loop
from outbox_operator.relay import progress as relay_progress
from outbox_operator.wire import headers, subjects
from support.kube import ROOT

OPERATOR: Final = Settings(image="shop:1", lease_namespace="shop", identity="one")
WORDS: Final = {5: "five", 10: "ten"}


def duration(model: Any, field: str) -> float:
    """Seconds of a field's default."""
    return seconds(model.model_fields[field].default)


def shards() -> int:
    """The most that a pipeline may have."""
    [most] = [m.le for m in OutboxTable.model_fields["shards"].metadata if hasattr(m, "le")]
    return int(most)


POLL: Final = duration(Polling, "min")
WINDOW_MINUTES: Final = duration(StreamConfig, "duplicateWindow") / 60
PYTHON_MINUTES: Final = duration(PythonHandler, "timeout") / 60
DEAD_PEER: Final = connection._DEAD_PEER_MILLISECONDS / 1000
STUCK: Final = relay_progress.STALL_SECONDS
LINK_SECONDS: Final = inspect.signature(NatsLink).parameters["timeout_seconds"].default
DRAIN: Final = runtime_config.GRACE_SECONDS - runtime_config.DRAIN_MARGIN_SECONDS
RETRY, STALLED = OPERATOR.retry_ceiling_seconds, OPERATOR.stalled_ceiling_seconds

README: Final = "README.md"
GUARANTEES: Final = "docs/explanation/delivery-guarantees.md"
SECURITY: Final = "docs/explanation/security.md"
ARCHITECTURE: Final = "docs/explanation/architecture.md"
DECISIONS: Final = "docs/explanation/decisions"
CONDITIONS: Final = "docs/reference/conditions.md"
METRICS: Final = "docs/reference/metrics.md"
CONSUME: Final = "docs/how-to/consume-events.md"
PRODUCE: Final = "docs/how-to/produce-events.md"
SCALE: Final = "docs/how-to/scale-with-shards.md"
TROUBLE: Final = "docs/how-to/troubleshoot.md"

SENTENCES: Final = [
    (README, f"Up to {shards()} shards per outbox"),
    ("docs/README.md", f"remembered for {OPERATOR.secret_age_seconds:g} seconds"),
    (SECURITY, f"keeps them for {OPERATOR.secret_age_seconds:g} s."),
    (SECURITY, f"bounded to one line of {error_text.ERROR_CHARACTERS} characters"),
    (ARCHITECTURE, f"{OPERATOR.workers} objects at a time"),
    (ARCHITECTURE, f"never sooner than {partitions.PUBLISHED_SECONDS / 60:g} minutes after that"),
    (ARCHITECTURE, f"after {OPERATOR.lease_deadline_seconds:g} s the leader gives up its Lease"),
    (ARCHITECTURE, f"retried within {breaker.LONGEST_PAUSE_SECONDS:g} s"),
    (GUARANTEES, f"({WINDOW_MINUTES:g} minutes by default)"),
    (GUARANTEES, f"every {WORDS[int(fencing.FENCE_PAUSE_SECONDS / 60)]} minutes"),
    (f"{DECISIONS}/0002-no-notify-by-default.md", f"every {POLL * 1000:g} ms while events flow"),
    (
        f"{DECISIONS}/0005-secrets-by-name.md",
        f"# 5. Secrets are read by name and remembered for {OPERATOR.secret_age_seconds:g} seconds",
    ),
    (f"{DECISIONS}/0005-secrets-by-name.md", f"with a cache of {OPERATOR.secret_age_seconds:g} s."),
    (f"{DECISIONS}/0005-secrets-by-name.md", f"one request in {OPERATOR.secret_age_seconds:g} s."),
    (
        f"{DECISIONS}/0006-finalizer-with-a-deadline.md",
        f"for {OPERATOR.deletion_deadline_seconds:g} s after the deletion "
        "(`deletionDeadlineSeconds`), "
        f"{deletion.NO_CREDENTIALS_DEADLINE_SECONDS:g} s when the Secret is gone",
    ),
    (
        f"{DECISIONS}/0009-session-locks-share-the-shards.md",
        f"hears nothing from for {shard_locks.IDLE_SECONDS:g} seconds",
    ),
    (
        f"{DECISIONS}/0009-session-locks-share-the-shards.md",
        f"{shard_locks.IDLE_SECONDS:g} to {DEAD_PEER:g} s after a silent death",
    ),
    (CONDITIONS, f"{pipeline.LAG_ROWS} rows or more wait"),
    (CONDITIONS, f"the oldest for {pipeline.LAG_SECONDS:g} s or more"),
    (CONDITIONS, f"Tried again every {fencing.FENCE_PAUSE_SECONDS / 60:g} minutes."),
    (
        CONDITIONS,
        f"| Ready | {OPERATOR.pipeline_interval_seconds:g} s (pipeline), "
        f"{OPERATOR.handler_interval_seconds:g} s (consumer with handler), "
        f"{OPERATOR.stream_interval_seconds:g} s (stream, other consumers); "
        f"{OPERATOR.busy_interval_seconds:g} s while numbers move, or with `autoscaling` |",
    ),
    ("docs/how-to/scale.md", f"The operator looks every {OPERATOR.busy_interval_seconds:g} s, at"),
    (CONDITIONS, f"tables and grants | {OPERATOR.catalog_interval_seconds / 60:g} min,"),
    (CONDITIONS, f"(pods start, a child works) | {OPERATOR.waiting_interval_seconds:g} s,"),
    (
        CONDITIONS,
        f"| an error that time can heal | {schedule.BACKOFF_MIN_SECONDS:g} s, 2 s, 4 s, … "
        f"up to {RETRY:g} s |",
    ),
    (
        CONDITIONS,
        f"| an error that a person must solve | {schedule.BACKOFF_MIN_SECONDS:g} s, 2 s, 4 s, … "
        f"up to {STALLED:g} s |",
    ),
    (CONDITIONS, f"at most {OPERATOR.secret_age_seconds:g} s after it was read"),
    (
        CONDITIONS,
        f"rows wait for {pipeline.STUCK_SECONDS:g} s or more and nothing was published for "
        f"{pipeline.STUCK_SECONDS:g} s",
    ),
    (CONDITIONS, f"within {WORDS[int(events.SERIES_SECONDS / 60)]} minutes is the same event"),
    (CONDITIONS, f"could not be renewed for {OPERATOR.lease_deadline_seconds:g} s"),
    (METRICS, f"not behind by more than {OPERATOR.silence_seconds:g} s"),
    (METRICS, f"(longer than {subjects.MAX_SUBJECT_BYTES} bytes)"),
    (METRICS, f"more than {headers.MAX_HEADER_BYTES} bytes of headers"),
    (METRICS, f"published in the last {STUCK:g} seconds"),
    (METRICS, f"reached in the last {progress.FAILING_AFTER_SECONDS:g} s"),
    (METRICS, f"different events for {progress.FAILING_AFTER_SECONDS:g} s"),
    (METRICS, f"| {nats_link.MOST_WAITING} events wait to be sent already"),
    ("docs/reference/headers.md", f"at most {error_text.ERROR_CHARACTERS} characters"),
    ("docs/reference/settings.md", f"A pass is cut after {queue.PASS_TIMEOUT_SECONDS:g} s."),
    (
        "docs/reference/annotations-and-labels.md",
        f"longer than {names.MAX_NAME} characters is cut",
    ),
    (CONSUME, f"After `timeout` ({PYTHON_MINUTES:g} min) the call is cancelled"),
    (CONSUME, f"up to {workers._GROUP} events share a transaction"),
    (
        CONSUME,
        f"{disposition.BACKOFF_FIRST_SECONDS:g} s, 2 s, 4 s, … up to "
        f"{disposition.BACKOFF_LONGEST_SECONDS / 60:g} min",
    ),
    (CONSUME, f"at most every {breaker.LONGEST_PAUSE_SECONDS:g} s, until one succeeds"),
    (
        CONSUME,
        f"could not be reached for {progress.FAILING_AFTER_SECONDS:g} s, or when different events "
        f"failed for {progress.FAILING_AFTER_SECONDS:g} s",
    ),
    (
        CONSUME,
        f"({DRAIN} s, or `terminationGracePeriodSeconds` less "
        f"{runtime_config.DRAIN_MARGIN_SECONDS} s)",
    ),
    ("docs/how-to/dead-letters.md", f"again every {relay_loop._HALT_RECHECK_SECONDS:g} s"),
    (
        "docs/how-to/handle-in-order.md",
        f"after {seconds(consumers.SINGLE_READER_TTL):g} s without a request",
    ),
    (
        "docs/how-to/migrations-and-approval.md",
        f"`spec.database.migrations.lockTimeout` ({duration(Migrations, 'lockTimeout'):g} s)",
    ),
    (
        "docs/how-to/other-languages.md",
        f"{WORDS[relay_loop.NUDGED_PAUSES]} times `spec.relay.polling.min` "
        f"({relay_loop.NUDGED_PAUSES * POLL * 1000:g} ms)",
    ),
    (
        "docs/how-to/other-languages.md",
        f"{relay_loop.QUIET_SECONDS * 1000:g} ms after the last event",
    ),
    (PRODUCE, f"statement per {statements._ROWS_EACH} events"),
    (PRODUCE, f"(default {rows.DEFAULT_MAX_BYTES:,} bytes of payload and headers together)"),
    (PRODUCE, f"at most {sending.MOST_DIRECT} events are published directly"),
    (PRODUCE, f"(`timeout_seconds`, {LINK_SECONDS:g} s)"),
    (
        "docs/how-to/restore-a-database.md",
        f"`spec.stream.duplicateWindow` ({WINDOW_MINUTES:g} minutes)",
    ),
    (SCALE, f"about {shard_locks.IDLE_SECONDS:g} s: the server ends a session"),
    (SCALE, f"The {shard_locks.IDLE_SECONDS:g} seconds need PostgreSQL 14"),
    (SCALE, f"a dead machine is noticed after {DEAD_PEER:g} s on both"),
    (TROUBLE, f"a dead holder is replaced after {OPERATOR.lease_duration_seconds:g} s"),
    (TROUBLE, f"looks for Postgres every {RETRY:g} s"),
    (TROUBLE, f"after {shard_locks.IDLE_SECONDS:g} to {DEAD_PEER:g} s (PostgreSQL 13"),
    (
        TROUBLE,
        f"tries for {OPERATOR.deletion_deadline_seconds:g} s after the deletion "
        f"(`deletionDeadlineSeconds`), {deletion.NO_CREDENTIALS_DEADLINE_SECONDS:g} s when the "
        "Secret is gone",
    ),
]

FIGURES: Final = json.loads((ROOT / "docs/explanation/figures/decisions.json").read_text())
OBJECTS, ROWS, NATS = FIGURES["kubernetes"], FIGURES["rows"], FIGURES["nats"]
TRANSPORT: Final = f"{DECISIONS}/0010-own-kubernetes-transport.md"
BY_INDEX: Final = f"{DECISIONS}/0011-rows-by-index.md"
FRAMES: Final = f"{DECISIONS}/0012-own-driver-lane.md"
PULL: Final = f"{DECISIONS}/0013-own-pull-consumer.md"


def _nats(name: str) -> tuple[float, float]:
    """What we and what the library use for a message."""
    pair = NATS[f"{name}_us_per_message"]
    return pair["ours"], pair["library"]


MEASURED: Final = [
    (FRAMES, "a subscription with a callback) | {:.1f} | {:.1f} |".format(*_nats("received"))),
    (FRAMES, "against `publish_async`) | {:.1f} | {:.1f} |".format(*_nats("published"))),
    (FRAMES, f"| nats-py {NATS['client']} |"),
    (
        PULL,
        "{:.1f} µs here, {:.1f} µs with `fetch` and `ack` of nats-py {}.".format(
            *_nats("consumed"), NATS["client"]
        ),
    ),
    (TRANSPORT, f"{OBJECTS['objects']:,} Deployments"),
    (TRANSPORT, f"| official client {OBJECTS['client']},"),
    (TRANSPORT, f"silent for {transport.SILENCE_TIMEOUT_SECONDS:g} s"),
    *(
        (TRANSPORT, f"{words} | {OBJECTS[name]['ours']:.0f} | {OBJECTS[name]['official']:.0f} |")
        for name, words in (
            ("list_us_per_object", "CPU to list, µs an object"),
            ("watch_us_per_event", "CPU to watch, µs an event"),
            ("held_kb_per_object", "memory that the list keeps, kB an object"),
        )
    ),
    (BY_INDEX, f"A page of {ROWS['rows']:,} rows"),
    *(
        (BY_INDEX, f"| {words} | {ROWS['us_per_row'][name]:.2f} |")
        for name, words in (
            ("fetch", f"fetched by asyncpg {ROWS['driver']}"),
            ("read by index", "eight fields read by index"),
            ("read by name", "eight fields read by name"),
            ("made named tuples", "made a named tuple of"),
            ("made objects", "made a frozen object of"),
            ("rendered as a page, by index", "rendered as a page, by index"),
            (
                "rendered one by one, as named tuples",
                "rendered one by one, as named tuples",
            ),
        )
    ),
    *(
        (page, f"median of {FIGURES['rounds']} rounds in turn")
        for page in (TRANSPORT, BY_INDEX, FRAMES, PULL)
    ),
]


@pytest.mark.parametrize(
    ("page", "sentence"), [*SENTENCES, *MEASURED], ids=lambda value: value[:60]
)
def test_a_page_says_what_the_code_does(page: str, sentence: str) -> None:
    text = " ".join((ROOT / page).read_text().split())
    assert sentence in text, f"{page} says something else than: {sentence}"


def test_once_a_second_means_once_a_second() -> None:
    assert "Once a second it looks at the locks of all." in (ROOT / SCALE).read_text()
    assert ownership.BALANCE_SECONDS == 1
