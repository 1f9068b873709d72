"""`outbox dev` as a person uses it: the README's example, from nothing to a handled event."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from outbox_operator.embedded.postgres import EmbeddedPostgres
from support.cli import CommandLine
from support.devrun import SMALLEST, Dev, processes_of
from support.devrun import outbox as outbox_of
from support.postgres import fetch_value

KILL = """INSERT INTO outbox.dead_letters
  (position, event_id, event_type, partition_key, payload, headers, created_at, reason, error)
VALUES (nextval('outbox.events_position_seq'), gen_random_uuid(), 'order.lost', '9', '{}', '{}',
  now(), 'MessageTooLarge', 'too large by far')
RETURNING event_id"""


def test_from_nothing_to_a_handled_event_and_again_with_the_same_data(dev: Dev) -> None:
    manifest = with_an_archive(dev)
    dev.start("--print", manifest=manifest)
    dev.until((dev.data / "database-url").exists, "the database's URL")
    url = (dev.data / "database-url").read_text()
    there = "SELECT to_regclass('outbox.events')::text || to_regclass('archive.events')"
    assert asyncio.run(fetch_value(url, there)) == "outbox.eventsarchive.events"
    dev.says(r"database +\S+ holds its URL")
    first = dev.emit("order.created", '{"id": 1}', "--key", "1")
    assert re.fullmatch(r"[0-9a-f-]{36}", first)
    dev.says(r'orders-billing <- order\.created of 1: \{"id": 1\}')
    dev.says(r"(?m)^orders +0 +- +1 ")
    dev.says(r"(?m)^orders-billing +0 +0 +0 +1 ")
    dev.says(r"(?m)^orders-audit +0 +0 +0 +1 ")
    password = (dev.data / "database-url").read_text().partition("@")[0].rpartition(":")[2]
    assert len(password) == 32
    assert password not in dev.output
    assert not any(password in log.read_text() for log in (dev.data / "run").iterdir())
    outbox = CommandLine.of_laptop(dev.data)
    urls = [(dev.data / name).read_text() for name in ("database-url", "nats-url")]
    assert (dev.data / ".gitignore").read_text() == "*\n", "a password lies in there"
    before = set(processes_of(dev.folder))
    again = subprocess.run(
        [*outbox_of("dev"), "-f", str(SMALLEST)],
        cwd=dev.folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert again.returncode == 1
    mine = (dev.data / "lock").read_text()
    assert f"folder {dev.data}: `outbox dev` runs with it already (process {mine})" in again.stderr
    assert before <= set(processes_of(dev.folder)), "the first one's were ended"
    assert dev.end() == 0
    assert processes_of(dev.folder) == []
    nobody_takes_the_ports_of_before_for_ours(dev, outbox)

    dev.start("--print", manifest=manifest)
    dev.says(r"(?m)^orders +0 +- +1 ")
    dev.emit("order.paid", '{"id": 1}', "--key", "1")
    dev.says(r"orders-billing <- order\.paid of 1")
    assert urls == [(dev.data / name).read_text() for name in ("database-url", "nats-url")]
    assert "order.created" not in dev.output, "handled twice"
    dev.says(r"(?m)^orders-audit +0 +0 +0 +1 ")
    kept = "SELECT string_agg(type, ' ' ORDER BY emission) FROM archive.events"
    assert asyncio.run(fetch_value(url, kept)) == "order.created order.paid"
    the_verbs_of_a_cluster_answer_here(dev)
    what_is_killed_is_started_again(dev)
    assert dev.end(signal.SIGTERM) == 0


def with_an_archive(dev: Dev) -> Path:
    """The README's example, which keeps its events too."""
    document = yaml.safe_load(SMALLEST.read_text())
    archive = {
        "connectionSecretRef": {"name": "audit"},
        "retention": [{"name": "default", "keep": "90d"}],
        "readers": ["nobody_of_this_server"],  # grants are left out
    }
    document["spec"]["consumers"].append({"name": "audit", "handler": {"archive": archive}})
    path = dev.folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def nobody_takes_the_ports_of_before_for_ours(dev: Dev, outbox: CommandLine) -> None:
    """Another's server, without logins, may listen there by now."""
    away = f"`outbox dev` does not run with folder {dev.data}"
    [pipeline] = outbox.facts("status", "orders", code=1)["pipelines"]
    assert pipeline["notWell"][0]["message"] == away
    done = outbox.run("status", "orders", columns=None)
    assert (done.code, done.out) == (1, f"{away}\n")
    for line in ("emit orders order.created 1", "dlq replay orders --relay --all"):
        done = outbox.run(*line.split(), columns=None)
        assert (done.code, away in done.err) == (1, True), done.err
    lines = outbox.facts("logs", "orders", "--only", "relay")["lines"]
    assert '"outbox relay starts"' in lines[0]["line"]


def the_verbs_of_a_cluster_answer_here(dev: Dev) -> None:
    outbox = CommandLine.of_laptop(dev.data)
    [pipeline] = outbox.facts("status", "orders")["pipelines"]
    assert (pipeline["ready"], pipeline["relay"]["publishedTotal"]) == ("True", 2)
    hops = {hop["hop"]: hop for hop in outbox.facts("lag", "orders")["hops"]}
    assert (hops["outbox"]["waiting"], hops["consumer/billing"]["deadLetters"]) == (0, 0)
    assert "all of 2 rows are accounted for" in outbox("verify", "orders")
    lines = outbox.facts("logs", "orders", "--tail", "3")["lines"]
    assert {line["pod"] for line in lines} == {
        "relay-orders", "consumer-orders-billing", "consumer-orders-audit"
    }  # fmt: skip
    for verb in (("logs", "billing"), ("status", "billing"), ("dlq", "list", "billing")):
        wrong = outbox.run(*verb)
        assert "billing is a consumer of orders (evc/orders-billing)" in wrong.err
    assert outbox.facts("logs", "evc/orders-billing", "--tail", "1")["lines"]
    said = outbox.run("replay", "--all", "--dry-run")
    assert (said.code, "operator" in said.err + said.out) == (0, False), said
    event = psql(dev, KILL)
    assert "dlq list orders" in outbox("status", "orders")
    [place] = outbox.facts("dlq", "list", "orders")["places"]
    assert [letter["id"] for letter in place["letters"]] == [event]
    [task] = outbox.facts("dlq", "replay", "orders", "--all")["tasks"]
    assert (task["done"], task["failed"]) == (1, 0)
    dev.says(r"orders-billing <- order\.lost of 9")
    reset = ("reset", "orders", "--consumer", "billing", "--to-start", "--yes")
    assert "3 messages to deliver" in outbox(*reset)
    dev.until(lambda: dev.output.count("<- order.lost") == 2, "all of them again")
    refused = outbox.run("doctor")
    assert (refused.code, refused.err) == (
        2,
        "outbox dev doctor: there is no cluster to look at; `outbox dev status` says what is not "
        "well\n",
    )


def what_is_killed_is_started_again(dev: Dev) -> None:
    """A process, and the servers that they work with; and the verbs say what is so."""
    outbox = CommandLine.of_laptop(dev.data)

    def ready() -> bool:
        answer = outbox.run("status", "orders", "-o", "json")
        return answer.code == 0

    kill(dev.data / "run/relay-orders.pid")
    dev.says(
        r"relay-orders ended once at \S+ \(killed by SIGKILL\) and (was started|is started again)"
    )
    dev.until(ready, "a relay that is ready again")
    [pipeline] = outbox.facts("status", "orders")["pipelines"]
    assert pipeline["relay"]["restarts"] == 1
    for name, pid_file in (
        ("PostgreSQL", "postgres/data/postmaster.pid"), ("nats-server", "nats/server.pid"),
    ):  # fmt: skip
        kill(dev.data / pid_file)
        dev.says(rf"{name} ended \(killed by SIGKILL\), and is started again")
        dev.says(rf"{name} runs again")
    dev.emit("order.shipped", "1", "--key", "1")
    dev.says(r"orders-billing <- order\.shipped of 1")
    dev.until(ready, "all well again")


def kill(pid_file: Path) -> None:
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)


def psql(dev: Dev, statement: str) -> str:
    """What `outbox dev psql` prints, with the client that comes with the server."""
    programs = EmbeddedPostgres(dev.data / "postgres").programs()
    done = subprocess.run(
        [*outbox_of("dev"), "psql", "orders", "--", "-AtqX", "-c", statement],
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        cwd=dev.folder, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()


def test_what_a_killed_run_left_is_taken_down_by_the_next(dev: Dev) -> None:
    dev.start("--print")
    dev.says(r"(?m)^orders +0 ")
    assert dev.end(signal.SIGKILL) == -signal.SIGKILL
    dev.start("--print")
    dev.says(r"(?m)^orders +0 ")
    dev.emit("order.created", '{"id": 2}')
    dev.says(r'orders-billing <- order\.created: \{"id": 2\}')
    assert dev.output.count("orders-billing <-") == 1
    assert dev.end() == 0
    assert processes_of(dev.folder) == []


def test_a_folder_that_cannot_be_used_is_named(dev: Dev) -> None:
    """Whatever keeps a file from being written: a full disk, rights, something in its place."""
    dev.data.mkdir()
    (dev.data / "postgres").touch()
    dev.start()
    assert dev.end(signal.SIGCONT) == 1
    assert f"outbox dev: folder {dev.data}: File exists: {dev.data}/postgres" in dev.output
    assert "Traceback" not in dev.output
    assert processes_of(dev.folder) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "shipping=http://127.0.0.1:9"], "there are: orders-billing"),
        (["--endpoint", "billing"], "wanted CONSUMER=http"),
        (["--nats-url", "nats://127.0.0.1:9"], "NATS at nats://127.0.0.1:9: connection refused"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(
    dev: Dev, arguments: list[str], said: str
) -> None:
    dev.start(*arguments)
    assert dev.end(signal.SIGCONT) in (1, 2)
    assert said in dev.output
    assert "Traceback" not in dev.output
    assert processes_of(dev.folder) == []
