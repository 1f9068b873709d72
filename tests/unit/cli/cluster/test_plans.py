"""What `outbox plan show` and `outbox rebase` make of objects and arguments."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.api.v1alpha1.task import OutboxTaskSpec
from outbox_operator.cli.cluster import plans, rebase
from outbox_operator.cli.cluster.report import document
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.commands import plan as plan_verb
from outbox_operator.cli.commands import rebase as rebase_verb
from support.golden import assert_golden_text

GOLDEN: Final = Path(__file__).parent / "golden"
NOW: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
PLAN, MOVE = "9f86d081884c7d65", "fedcba987654"
STATEMENTS = [
    'CREATE TABLE "outbox"."events" (position bigint PRIMARY KEY,\n  event_id uuid NOT NULL)',
    'GRANT SELECT ON "outbox"."events" TO "a role with a name longer than a line ought to be"',
]
REJECTED = {
    "plan": PLAN, "decision": "Rejected", "by": "bob", "verified": True, "state": "Open",
    "through": "OutboxTask reject-migration-orders-x7k2p", "time": "2026-01-31T11:00:00Z",
    "reason": "not on a Friday, and not before somebody has looked at the size of the table",
}  # fmt: skip
DONE = {
    "plan": "0123456789abcdef", "decision": "Approved", "state": "Done", "by": None,
    "through": "spec.database.migrations.approvedPlan", "time": "2026-01-30T12:00:00Z",
}  # fmt: skip


def pipeline(
    reason: str, message: str, *history: dict[str, Any], moves: bool = False
) -> dict[str, Any]:
    """A pipeline with a migration that waits."""
    status: dict[str, Any] = {
        "schema": {"pendingPlan": {"hash": PLAN, "statements": STATEMENTS, "destructive": False}},
        "conditions": [
            {"type": "SchemaApplied", "status": "False", "reason": reason, "message": message}
        ],
        "approvals": {"history": list(history)},
    }
    if moves:
        status["pendingMove"] = {"hash": MOVE, "text": "The stream moves to nats://b; 3 wait."}
    return body("OutboxPipeline", "orders", status)


def body(kind: str, name: str, status: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {},
        "status": status,
    }


WAITS = f"2 statements wait in status.schema.pendingPlan. To approve plan {PLAN}, set a field"
INBOX = f"the login leads to another database. To approve plan {MOVE}, set spec.inbox.approvedPlan"
SCREENS: Final = {
    "waits": [pipeline("ApprovalPending", WAITS, DONE, moves=True)],
    "rejected": [pipeline("PlanRejected", f"plan {PLAN} was rejected by bob", DONE, REJECTED)],
    "inbox": [
        body(
            "EventConsumer", "mailer",
            {
                "pendingMove": {"hash": MOVE, "text": "The inbox moves."},
                "conditions": [
                    {"type": "SchemaApplied", "status": "False", "reason": "ApprovalPending",
                     "message": INBOX}
                ],
            },
        ),
        body("OutboxPipeline", "quiet", {}),
    ],
    "archive-moved": [
        body(
            "EventConsumer", "audit",
            {
                "archive": {"pendingPlan": {"hash": PLAN, "statements": STATEMENTS}},
                "pendingMove": {"hash": MOVE, "text": "The archive goes on elsewhere."},
                "conditions": [
                    {"type": "SchemaApplied", "status": "False", "reason": "ApprovalPending",
                     "message": f"the login leads to another database. To approve plan {MOVE}, "
                     "set spec.handler.archive.migrations.approvedPlan"}
                ],
            },
        ),
    ],
    "archive-made": [
        body(
            "EventConsumer", "audit",
            {
                "archive": {"pendingPlan": {"hash": PLAN, "statements": STATEMENTS}},
                "conditions": [
                    {"type": "SchemaApplied", "status": "False", "reason": "ApprovalPending",
                     "message": "2 statements wait in status.archive.pendingPlan"}
                ],
            },
        ),
    ],
    "none": [],
}  # fmt: skip


@pytest.mark.parametrize("name", SCREENS)
def test_plans_on_a_screen_of_80_columns(name: str) -> None:
    seen = plans.PlansSeen(at=NOW, objects=tuple(plans.plans_of(one) for one in SCREENS[name]))
    shown = list(plans.lines(seen, Screen(width=80)))
    # Statements are to be run as they are, and are never cut.
    assert all(len(line) <= 80 or "GRANT" in line for line in shown)
    assert_golden_text(GOLDEN / f"plans-{name}.txt", "\n".join([*shown, ""]))


def test_plans_as_json() -> None:
    found = plans.plans_of(SCREENS["rejected"][0])
    assert_golden_text(GOLDEN / "plans.json", json.dumps(document(found), indent=1) + "\n")


def test_what_others_wrote_does_not_move_the_cursor() -> None:
    evil = pipeline("ApprovalPending", "x\x1b[2Jy", {**REJECTED, "reason": "a\x1b]0;b\x07"})
    evil["status"]["schema"]["pendingPlan"]["statements"] = ["SELECT '\x1b[1m'"]
    seen = plans.PlansSeen(at=NOW, objects=(plans.plans_of(evil),))
    assert "\x1b" not in "\n".join(plans.lines(seen, Screen(width=80)))


def parsed(verb: Any, *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verb.configure(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ([], {"publish": "Unpublished"}),
        (["--all"], {"publish": "All"}),
        (["--none"], {"publish": "None"}),
        (["--from-position", "7"], {"publish": "FromPosition", "position": 7}),
        (
            ["--created-after", "2026-01-31T09:00+01:00"],
            {"publish": "CreatedAfter", "createdAfter": "2026-01-31T09:00:00+01:00"},
        ),
    ],
)
def test_which_rows_a_rebase_publishes(arguments: list[str], fields: dict[str, Any]) -> None:
    found = rebase.choice(parsed(rebase_verb, "orders", *arguments))
    assert found == fields
    OutboxTaskSpec.model_validate({"pipelineRef": {"name": "orders"}, "rebase": found})


def test_what_is_decided_about() -> None:
    args = parsed(plan_verb, "reject", "evc/mailer", MOVE, "--reason", "no")
    assert (args.plan, args.target.kind, args.hash) == ("reject", "EventConsumer", MOVE)
    assert (args.reason, args.rate, args.dry_run) == ("no", None, False)
    assert parsed(plan_verb, "show").targets == []
