"""What the live table and the printing handler show."""

from __future__ import annotations

import json
from dataclasses import replace

from outbox_operator.dev.printer import line
from outbox_operator.dev.table import (
    ConsumerNumbers,
    PipelineNumbers,
    Restarted,
    Sample,
    Shown,
    Table,
    render,
)


def sample(seconds: float, published: int, handled: int, backlog: int = 0) -> Sample:
    return Sample(
        seconds=seconds,
        pipelines=(
            PipelineNumbers(
                name="orders", backlog=backlog, backlog_is_estimate=backlog > 100,
                oldest_seconds=2.25, dead_letters=1, published=published, stored=7,
                runs="here",
            ),
        ),
        consumers=(
            ConsumerNumbers(
                name="billing", pending=3, ack_pending=2, redelivered=1, handled=handled,
                dead_letters=4, runs="here",
            ),
            ConsumerNumbers(
                name="audit", pending=0, ack_pending=0, redelivered=0, handled=None,
                dead_letters=0, runs="elsewhere",
            ),
        ),
    )  # fmt: skip


def cells(shown: Shown, name: str) -> list[str]:
    """Those of the row of a name, without a remark that is none."""
    [row] = [row for table in shown if isinstance(table, Table) for row in table.rows
             if row[0] == name]  # fmt: skip
    return [cell for cell in row if cell]


def test_rates_are_over_the_time_between_two_samples() -> None:
    lines = render(sample(12.0, 300, 80), sample(10.0, 100, 60))
    assert cells(lines, "orders")[4] == "100"
    assert cells(lines, "billing")[5] == "10"


def test_the_first_sample_has_no_rates() -> None:
    assert cells(render(sample(1.0, 5, 5), None), "orders")[4] == "-"


def test_backlog_says_its_age_and_that_it_was_not_counted_to_the_end() -> None:
    row = cells(render(sample(1.0, 0, 0, backlog=10_000), None), "orders")
    assert row[1:3] == ["10000+", "2.2 s"]


def test_consumers_that_do_not_run_here_say_so() -> None:
    lines = render(sample(1.0, 0, 0), None)
    assert cells(lines, "audit")[4:] == ["-", "-", "0", "not run here"]


def test_dead_letters_are_not_among_what_was_handled() -> None:
    assert cells(render(sample(1.0, 0, 7), None), "billing")[4:] == ["7", "-", "4"]


def test_what_ended_says_how_often_and_why() -> None:
    once = Restarted(
        name="relay-orders", times=1, how="killed by SIGKILL", at="12:00:00", runs=True
    )
    again = Restarted(name="b", times=3, how="exit code 1", at="12:00:01", runs=False, last="no")
    shown = render(sample(1.0, 0, 0), None, [once, again])
    assert [one.sentence for one in shown if isinstance(one, Restarted)] == [
        "relay-orders ended once at 12:00:00 (killed by SIGKILL) and was started again",
        "b ended 3 times, the last time at 12:00:01 (exit code 1) and is started again: no",
    ]


def test_a_relay_that_does_not_run_says_so() -> None:
    now = sample(1.0, 0, 0)
    ended = replace(now, pipelines=(replace(now.pipelines[0], runs="ended"),))
    assert cells(render(ended, None), "orders")[-2:] == ["1", "relay ended, is started again"]
    assert cells(render(now, None), "orders")[-1] == "1"


def test_every_cell_has_a_head() -> None:
    tables = [one for one in render(sample(1.0, 0, 0), None) if isinstance(one, Table)]
    assert [one.head[0] for one in tables] == ["PIPELINE", "CONSUMER"]
    assert all(len(row) == len(one.head) for one in tables for row in one.rows)


def test_printed_events_are_one_line_in_either_mode() -> None:
    binary = line("billing", {"Ce-Type": "order.created", "Ce-Partitionkey": "42"}, b'{"id": 42}')
    assert binary == 'billing <- order.created of 42: {"id": 42}'
    event = {"type": "order.created", "data": {"id": 42}}
    structured = line("billing", {"Content-Type": "x"}, json.dumps(event).encode())
    assert structured == 'billing <- order.created: {"id": 42}'
