"""alerts/outbox-operator.rules.yaml: the chart's rules with its defaults, for any Prometheus.

The chart's template `_rules.tpl` does the same with a user's values; a test compares the two.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from generate import chart_values

SOURCE: Final = Path("charts/outbox-operator/files/alerts.yaml")
VALUES: Final = Path("charts/outbox-operator/values.yaml")
RULES: Final = Path("alerts/outbox-operator.rules.yaml")
PAGE: Final = Path("docs/how-to/monitor.md")
BLOCK: Final = re.compile(r"(<!-- alerts -->\n).*?(<!-- end -->)", re.DOTALL)
HEADER: Final = (
    f"# Generated from {SOURCE} by `make generate`. Do not edit.\n"
    "# The alerts with the defaults of the chart, for any Prometheus: name this file\n"
    "# under `rule_files`. Other thresholds: docs/how-to/monitor.md.\n"
)
_WHERE: Final = 'namespace=~".+"'


class _Dumper(yaml.SafeDumper):
    """Expressions as they were written: a block where they have several lines."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def files(root: Path) -> dict[Path, str]:
    """Path to text of the rules, and of the page that lists them.

    Raises:
        ValueError: The page has no place for the list, or several.
    """
    text = (root / VALUES).read_text()
    values = yaml.safe_load(text)["alerts"]
    document = {"groups": [{"name": "outbox-operator", "rules": rules(root, values)}]}
    dumped = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    page, places = BLOCK.subn(
        lambda place: f"{place[1]}{_table(text, values)}{place[2]}", (root / PAGE).read_text()
    )
    if places != 1:
        raise ValueError(f"{PAGE}: wanted one place for the alerts, found {places}")
    return {RULES: HEADER + dumped, PAGE: page}


def rules(root: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Every rule, recorded numbers first.

    Args:
        values: As the chart's `alerts`, for all namespaces.
    """
    source = yaml.safe_load((root / SOURCE).read_text())
    recorded = [_recorded(one, values) for one in source["latest"]]
    return recorded + [
        _alert(name, alert, values)
        for name, alert in sorted(source["alerts"].items())
        if values["rules"][name]["enabled"]
    ]


def _recorded(number: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    labels = ", ".join(["namespace", *values["groupLabels"], *number["labels"]])
    matching = ", ".join(filter(None, [_WHERE, number.get("matching")]))
    metric = f"{number['metric']}{{{matching}}}"
    extra, since = (
        ", ".join(values["groupLabels"]),
        "outbox_operator_leader_since_timestamp_seconds",
    )
    led = (
        f"\nunless on ({extra}) "
        f"(sum by ({extra}) ({since}) == sum by ({extra}) ({since} offset {values['gap']}))"
    )
    last = f"max by ({labels}) (last_over_time({metric}[{values['gap']}]))"
    remembered = f"({last}{led})"
    if number.get("by") == "relay":
        pipeline = ", ".join(["namespace", *values["groupLabels"], "pipeline"])
        known = (
            f"max by ({pipeline}) (label_replace(outbox:condition:latest{{{_WHERE}, "
            'kind="OutboxPipeline"}, "pipeline", "$1", "name", "(.*)"))'
        )
        remembered = (
            f"({last}\nand on ({pipeline}) {known})\nor\n"
            f"({last}\nunless on ({extra}) outbox_operator_leader == 1)"
        )
    return {
        "record": f"outbox:{number['metric'].removeprefix('outbox_')}:latest",
        "expr": f"max by ({labels}) ({metric})\nor\n{remembered}",
    }


def _alert(name: str, alert: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    own = values["rules"][name]
    words = {
        "<by>": ", ".join(["namespace", *values["groupLabels"]]),
        "<extra>": ", ".join(values["groupLabels"]),
        "<where>": _WHERE,
        "{<operator>}": "",
        ", <operator>": "",
        "<threshold>": str(own.get("threshold")),
        "<window>": str(own.get("window")),
    }
    expression = alert["expr"]
    for word, text in words.items():
        expression = expression.replace(word, text)
    return {
        "alert": name,
        "expr": expression.strip(),
        "for": own["for"],
        "labels": {**values["alertLabels"], **own["labels"], "severity": own["severity"]},
        "annotations": {
            "summary": alert["summary"],
            "description": alert["description"],
            "runbook_url": f"{values['runbooks']}/{name}.md",
        },
    }


def _table(text: str, values: dict[str, Any]) -> str:
    """A line an alert: what it means, how long that has to hold, its severity."""
    prefix = "alerts.rules."
    meanings = {
        one.path.removeprefix(prefix): one.meaning
        for one in chart_values.documented(text)
        if one.path.startswith(prefix)
    }
    rows = []
    for name, rule in values["rules"].items():
        meaning = meanings[name].replace("`threshold`", str(rule.get("threshold")))
        meaning = meaning.replace("within `window`", f"within {rule.get('window')}")
        link = f"[{name}](../runbooks/{name}.md)"
        rows.append(f"| {link} | {meaning} | {rule['for']} | {rule['severity']} |\n")
    return f"| Alert | Fires when | for | severity |\n|---|---|---|---|\n{''.join(rows)}"
