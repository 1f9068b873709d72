"""Reference pages say what the code says: metrics, command line, settings, headers, names."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from types import ModuleType

import pytest
import yaml
from generate import library, metrics

from outbox_operator.api import meta
from outbox_operator.cli import main as cli
from outbox_operator.wire import archive, archive_api, config, headers
from support.golden import without_layout
from support.kube import ROOT

REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


def test_every_metric_is_in_the_table_of_its_role() -> None:
    text = page("metrics.md")
    assert metrics.written(text) == text
    listed = re.findall(r"^\| `((?:outbox|consumer)_[a-z_]+)` \|", text, re.M)
    declared = [one.name for some in metrics.declarations().values() for one in some]
    assert listed == declared


def test_a_name_means_one_thing() -> None:
    """Also in OpenMetrics, where the family of a counter is named without `_total`."""
    families: dict[str, set[tuple[str, str]]] = {}
    for some in metrics.declarations().values():
        for one in some:
            family = families.setdefault(one.name.removesuffix("_total"), set())
            family.add((one.kind, one.help))
    assert {name: said for name, said in families.items() if len(said) > 1} == {}


def test_the_names_of_all_metrics_are_those_that_a_query_can_have() -> None:
    names = metrics.names()
    assert {
        "outbox_pipeline_backlog_rows",
        "outbox_relay_published_total",
        "outbox_relay_ack_seconds_bucket",
        "outbox_consumer_processed_total",
        "outbox_optimistic_send_latency_seconds_count",
        "kube_outboxpipeline_condition",
    } <= names
    assert "outbox_relay_ack_seconds" not in names
    assert metrics.labels()["outbox_relay_ack_seconds_sum"] == ("namespace", "pipeline")


OF_OBJECTS = {
    "class",
    "namespace",
    "name",
    "pipeline",
    "shard",
    "consumer",
    "consumer_name",
    "stream",
    "lease",
    "slice",
}
OF_THE_CODE = {
    "action",
    "kind",
    "reason",
    "outcome",
    "since",
    "trigger",
    "result",
    "type",
    "status",
    "verb",
    "code",
}


def test_no_label_is_bounded_by_data() -> None:
    """Whoever fills a table or a stream must not fill Prometheus."""
    for role, some in metrics.declarations().items():
        # There `consumer.metrics` bounds them.
        of_events = {"event_type"} if role == "consumer" else set()
        for one in some:
            assert set(one.labels) <= OF_OBJECTS | OF_THE_CODE | of_events, one.name


def help_of(verb: str) -> str:
    parser = argparse.ArgumentParser(prog=f"outbox {verb}", description=cli.load(verb).help)
    cli.load(verb).configure(parser)
    return parser.format_help()


def is_shown(verb: str) -> bool:
    """Whether the page has the help of a verb, however this Python lays it out."""
    shown, printed = (without_layout(text).split() for text in (page("cli.md"), help_of(verb)))
    return " ".join(printed) in " ".join(shown)


def with_help(text: str, verb: str) -> str:
    """The page with the help of a verb as it is now, behind the others if it has none yet."""
    block = f"```text\n{help_of(verb)}```\n"
    head = f"## outbox {verb}\n"
    before, found, rest = text.partition(head)
    if not found:
        return f"{text.rstrip()}\n\n{head}\n{block}"
    section, next_head, after = rest.partition("\n## ")
    shown = re.sub(r"```text\n.*?```\n", lambda _: block, section + "\n", count=1, flags=re.S)
    return f"{before}{head}{shown.removesuffix(chr(10))}{next_head}{after}"


@pytest.mark.parametrize("verb", cli.verbs())
def test_the_page_shows_the_help_of_every_verb(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    if os.environ.get("UPDATE_GOLDEN") and not is_shown(verb):
        (REFERENCE / "cli.md").write_text(with_help(page("cli.md"), verb))
    assert is_shown(verb), "UPDATE_GOLDEN=1 writes it anew"


def test_operator_settings_are_listed() -> None:
    flags = re.findall(r"OUTBOX_[A-Z_]+", help_of("operator"))
    missing = [name for name in flags if f"`{name}`" not in page("settings.md")]
    assert flags
    assert missing == []


@pytest.mark.parametrize(
    "kind",
    [
        config.RelayConfig,
        config.ConsumerConfig,
        config.NatsConfig,
        config.DatabaseConfig,
        config.InboxConfig,
        config.HttpHandlerConfig,
        config.PythonHandlerConfig,
        archive.ArchiveConfig,
        archive.ArchiveRules,
        archive.ArchiveSealing,
        archive.RetentionClass,
        archive_api.ArchiveApiConfig,
        archive_api.JwtConfig,
        archive_api.ApiLimits,
    ],
)
def test_settings_of_pods_are_listed_with_their_defaults(kind: type) -> None:
    section = page("settings.md").partition(f"### {kind.__name__}\n")[2].partition("\n#")[0]
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) \|", section, re.M))
    declared = {
        one.name: "*required*"
        if one.default is one.default_factory is dataclasses.MISSING
        else f"`{default_of(one)}`"
        for one in dataclasses.fields(kind)
    }
    assert listed == declared


def default_of(one: dataclasses.Field[object]) -> str:
    """A default as JSON writes it."""
    value = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if dataclasses.is_dataclass(value):
        return "{}"
    return "[]" if value == () else f'"{value}"' if isinstance(value, str) else str(value)


def test_every_header_is_listed() -> None:
    names = [
        value
        for name, value in vars(headers).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    ]
    assert [name for name in names if f"`{name}`" not in page("headers.md")] == []


def test_every_label_annotation_and_mark_is_listed() -> None:
    names = [
        value
        for name, value in vars(meta).items()
        if name.endswith(("_LABEL", "_ANNOTATION", "_METADATA", "FINALIZER", "FIELD_MANAGER"))
    ]
    text = page("annotations-and-labels.md")
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_page_has_each_metric_of_kube_state_metrics() -> None:
    config = yaml.safe_load(
        (ROOT / "charts/outbox-operator/files/kube-state-metrics.yaml").read_text()
    )
    shown = re.findall(r"^\| `(kube_[a-z_]+)` \|", page("metrics.md"), re.M)
    assert shown == [
        f"{one['metricNamePrefix']}_{metric['name']}"
        for one in config["spec"]["resources"]
        for metric in one["metrics"]
    ]


@pytest.mark.parametrize("module", library.MODULES, ids=lambda module: module.__name__)
def test_the_library_is_described(module: ModuleType) -> None:
    text = (ROOT / library.PAGE).read_text()
    assert f"## `{module.__name__}`\n" in text
    assert [name for name in module.__all__ if f"\n### {name}\n" not in text] == []
