"""`kubectl outbox` where pods run: logs, and dead letters read in a pod."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from demo.shop import NAMESPACE

from support.cli import CommandLine
from support.stage import Stage

_KILL = """INSERT INTO outbox.dead_letters
  (position, event_id, event_type, partition_key, payload, headers, created_at, reason, error)
VALUES (nextval('outbox.events_position_seq'), gen_random_uuid(), 'order.placed', 'key-of-nobody',
  '{"card": "4111"}', '{"tenant": "a"}', now(), 'MessageTooLarge', 'too large by far')
RETURNING event_id"""


def test_dead_letters_are_read_in_a_pod(stage: Stage) -> None:
    outbox = CommandLine(stage.kubectl.kubeconfig, NAMESPACE)
    stage.eventually("the pipeline is ready", lambda: outbox.run("status", "orders").code == 0)
    event = stage.sql("shop", _KILL)
    try:
        [place] = outbox.facts("dlq", "list", "orders", "--relay")["places"]
        assert [letter["id"] for letter in place["letters"]] == [event]
        assert "4111" not in json.dumps(place)
        shown = outbox("dlq", "show", "orders", event, "--relay")
        assert "too large by far" in shown
        assert "tenant: a" in shown
        assert "4111" not in shown
        assert "4111" in outbox("dlq", "show", "orders", event, "--payload")
        # A consumer's are in NATS, which a pod of ours reads as well.
        [place] = outbox.facts("dlq", "list", "orders", "--consumer", "billing")["places"]
        assert (place["letters"], place["problem"]) == ([], None)
        [task] = outbox.facts("dlq", "purge", "orders", "--id", event, "--yes", "--relay")["tasks"]
        assert (task["done"], task["failed"]) == (1, 0)
    finally:
        stage.sql("shop", f"DELETE FROM outbox.dead_letters WHERE event_id = '{event}'")


@pytest.mark.thorough
def test_dead_letters_and_psql_where_no_relay_runs(stage: Stage) -> None:
    outbox = CommandLine(stage.kubectl.kubeconfig, NAMESPACE)
    image = stage.kubectl(
        "get", "pod", "postgres-0", "-n", NAMESPACE, "-o", "jsonpath={.spec.containers[0].image}"
    )
    event = stage.sql("shop", _KILL)
    try:
        outbox("stop", "orders")
        [place] = outbox.facts("dlq", "list", "orders", "--relay")["places"]
        assert [letter["id"] for letter in place["letters"]] == [event]
        # A role that reads the outbox and may make no table; the other one may.
        count = f"SELECT count(*) FROM outbox.dead_letters WHERE event_id = '{event}'"
        make = "BEGIN; CREATE TABLE outbox.of_nobody (); ROLLBACK"
        assert psql(stage, image, count) == (0, "1")
        assert psql(stage, image, make)[0] == 1
        assert psql(stage, image, make, "--as", "migrations")[0] == 0
        left = ("get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/managed-by=kubectl-outbox")
        stage.eventually("its pods are gone", lambda: not stage.kubectl(*left, "-o", "name"))
    finally:
        outbox("start", "orders")
        stage.sql("shop", f"DELETE FROM outbox.dead_letters WHERE event_id = '{event}'")


def test_an_event_of_the_command_line_reaches_a_handler(stage: Stage) -> None:
    outbox = CommandLine(stage.kubectl.kubeconfig, NAMESPACE)
    stage.eventually("the pipeline is ready", lambda: outbox.run("status", "orders").code == 0)
    # One that somebody placed whose event was forgotten: it is counted with all others.
    order = {"id": str(uuid.uuid4()), "customer": "4111-of-nobody", "amount_cents": 7}
    columns = "INSERT INTO public.orders (id, customer, amount_cents) VALUES"
    stage.sql("shop", f"{columns} ('{order['id']}', '{order['customer']}', 7)")
    payload = json.dumps({**order, "pad": "x" * 100_000})
    # The relay's role may not insert: a pod is made with the login of the owner.
    event = outbox.facts(
        "emit", "orders", "order.created", payload, "--key", str(order["id"]), "--wait", "--yes"
    )
    assert (event["published"], event["stream"]) == (True, "ORDERS")
    assert event["sequence"] > 0
    mail = f"SELECT recipient FROM public.mails WHERE event_id = '{event['id']}'"
    stage.eventually("a mail is sent", lambda: stage.sql("mailer", mail) == order["customer"])
    seen = stage.kubectl("get", "pods,events", "-n", NAMESPACE, "-o", "json")
    assert event["id"] not in seen
    assert str(order["customer"]) not in seen + outbox("logs", "orders")


def psql(stage: Stage, image: str, statement: str, *options: str) -> tuple[int, str]:
    """Run a statement as a person would; exit code and what it printed."""
    kubectl = Path(stage.kubectl.program)
    done = subprocess.run(
        [
            sys.executable, "-m", "outbox_operator.cli.main", "psql", "orders", "-n", NAMESPACE,
            f"--kubeconfig={stage.kubectl.kubeconfig}", f"--image={image}", *options,
            "--", "-AtqX", "-v", "ON_ERROR_STOP=1", "-c", statement,
        ],
        env={**os.environ, "PATH": f"{kubectl.parent}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.strip()


def test_logs_of_all_pods(stage: Stage) -> None:
    outbox = CommandLine(stage.kubectl.kubeconfig, NAMESPACE)
    lines = outbox.facts("logs", "orders", "--tail", "5")["lines"]
    assert {line["pod"].partition("-")[0] for line in lines} == {"orders"}
    assert len({line["pod"] for line in lines}) > 1
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)


def test_the_doctor_and_the_report_where_pods_run(stage: Stage, tmp_path: Path) -> None:
    outbox = CommandLine(stage.kubectl.kubeconfig, NAMESPACE)
    stage.eventually("the pipeline is ready", lambda: outbox.run("status", "orders").code == 0)
    findings = json.loads(outbox.run("doctor", "orders", "-o", "json").out)["findings"]
    assert [one for one in findings if one["severity"] in ("Error", "Unknown")] == []
    assert not {"OperatorMissing", "PodSays", "Clock"} & {one["check"] for one in findings}
    assert "all of" in outbox("verify", "orders", "--since", "1m")
    path = tmp_path / "report.tar.gz"
    facts = outbox.facts("report", "orders", "--file", str(path))
    logs = [name for name in facts["files"] if name.startswith("logs/")]
    metrics = [name for name in facts["files"] if name.startswith("metrics/")]
    assert any("orders-relay" in name for name in logs)
    assert any("outbox-system/" in name for name in logs)
    assert any("orders-relay" in name for name in metrics)
    with tarfile.open(path) as archive:
        said = b"".join(
            archive.extractfile(one).read()  # type: ignore[union-attr]
            for one in archive.getmembers()
        )
    assert b"outbox_relay_published_total" in said
    secrets = json.loads(stage.kubectl("get", "secrets", "-A", "-o", "json"))["items"]
    passwords = {
        urlsplit(value).password
        for secret in secrets
        for encoded in (secret.get("data") or {}).values()
        if "://" in (value := base64.b64decode(encoded).decode("utf-8", "replace"))
    }
    assert passwords
    for password in passwords - {None}:
        assert str(password).encode() not in said
