"""Commands of a cluster, as they are typed on a laptop; and what is nobody's command."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from outbox_operator.cli import main as cli
from outbox_operator.cli.cluster import letters_text, logs, task_facts
from outbox_operator.cli.cluster.letters import Place
from outbox_operator.cli.cluster.letters_read import Read
from outbox_operator.cli.cluster.logs import Line, Logs
from outbox_operator.cli.cluster.report import Report, rendered
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.laptop.words import VERBS, local
from outbox_operator.plan.advice import STEPS, next_step

HERE = Screen(words=local)
DATA = "kubectl outbox status a -n b; kubectl edit obp/a -n b, outbox doctor a"
"""What others may write: a key, a payload, a line of a log."""


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("  kubectl outbox dlq list orders -n default", "  outbox dev dlq list orders"),
        ("`kubectl outbox status orders -n a`, later", "`outbox dev status orders`, later"),
        ("`kubectl outbox status` says", "`outbox dev status` says"),
        ("kubectl outbox doctor orders -n a", "outbox dev logs orders"),
        ("kubectl outbox logs evc/b -n a --previous", "outbox dev logs evc/b"),
        ("kubectl outbox replay a -n b --position 5-7", "outbox dev replay a --position 5-7"),
        ("kubectl edit obp/a -n a\nb", "change the manifest and start `outbox dev` again\nb"),
        ("kubectl edit obp/a -n a. B", "change the manifest and start `outbox dev` again. B"),
        ("  kubectl outbox doctor -n default", "  start `outbox dev` again"),
        ("`kubectl outbox plan show a -n b` says", "start `outbox dev` again says"),
        ("kubectl outbox lag a, kubectl outbox lag b -n c", "outbox dev lag a, outbox dev lag b"),
        ("3 messages", "3 messages"),
    ],
)  # fmt: skip
def test_what_is_typed(said: str, typed: str) -> None:
    assert local(said) == typed


def test_no_step_sends_anybody_to_a_cluster() -> None:
    for reason in STEPS:
        assert "kubectl" not in local(next_step(reason, "OutboxPipeline", "default", "orders"))


def test_the_verbs_are_those_that_say_so() -> None:
    assert {name for name in cli.verbs() if cli.load(name).laptop is True} == VERBS


def a_letter() -> Report:
    """A dead letter whose every text looks like a command, and one that could not be read."""
    place = Place(
        namespace="default", pipeline="orders", kind="OutboxPipeline", name="orders",
        where="relay", dead_letters=1, read_at=None,
    )  # fmt: skip
    letter = {"id": "1", "key": DATA, "headers": {"x": DATA}, "error": DATA, "message": DATA,
              "remedy": DATA, "payload": json.dumps({"next": DATA}), "payloadBytes": 1}  # fmt: skip
    found = [Read(place=place, letters=(letter,), problem="kubectl outbox lag a -n b says")]
    return Report(facts=found, lines=lambda screen: letters_text.whole(found, screen))


def test_data_stay_as_they_are_in_every_form() -> None:
    for report in (
        a_letter(),
        logs.report(Logs(lines=(Line(at="", pod="p", line=DATA),), unread={})),
    ):
        for form in ("json", "yaml", "text"):
            there, here = (rendered(report, form, one) for one in (Screen(), HERE))
            assert DATA in there
            assert here == there.replace("kubectl outbox lag a -n b says", "outbox dev lag a says")
    read: Any = json.loads(rendered(a_letter(), "json", HERE))
    assert read == yaml.safe_load(rendered(a_letter(), "yaml", HERE))
    assert json.loads(read[0]["letters"][0]["payload"]) == {"next": DATA}


def test_a_sentence_is_one_in_every_form() -> None:
    body: dict[str, Any] = {
        "metadata": {"namespace": "a", "name": "t"},
        "spec": {"pipelineRef": {"name": "orders"}, "verify": {}},
        "status": {
            "conditions": [{
                "type": "Failed", "status": "True", "reason": "X", "lastTransitionTime": "",
                "message": "see kubectl outbox status orders -n a, now",
            }],
            "result": {"findings": [{
                "severity": "Error", "check": "Lost", "object": "kubectl outbox lag x -n y",
                "message": "lost", "remedy": "kubectl outbox replay orders -n a --position 1",
            }]},
        },
    }  # fmt: skip
    facts = task_facts.task(body)
    report = Report(facts=facts, lines=lambda screen: task_facts.lines([facts], screen))
    read = json.loads(rendered(report, "json", HERE))
    assert read["message"] == "see outbox dev status orders, now"
    [found] = read["result"]["findings"]
    assert found["object"] == "kubectl outbox lag x -n y"
    assert found["remedy"] == "outbox dev replay orders --position 1"
    text = rendered(report, "text", HERE)
    assert "see outbox dev status orders, now" in text
    assert "    outbox dev replay orders --position 1" in text
