"""A real Prometheus and a real Alertmanager on loopback, and promtool.

Prometheus scrapes and evaluates every half second, keeps our labels (`honor_labels`, as the
monitors of the chart do) and may be told of targets, and of their end, while it runs.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from outbox_operator.embedded.process import ServerProcess
from support.ports import free_port
from support.postgres import NOT_PAST_OUR_DEATH
from support.waiting import eventually

INTERVAL: Final = "500ms"
"""Between two scrapes of a target, and between two evaluations of the rules."""
_ANSWER_SECONDS: Final = 30.0
_PROMTOOL_SECONDS: Final = 600.0
"""The table of all alerts is seconds of work on two idle cores, and minutes on a busy machine."""


def program(name: str) -> str:
    """Path of an installed program of Prometheus.

    Raises:
        FileNotFoundError: It is not installed; says how to install it.
    """
    found = shutil.which(name)
    if found is None:
        package = name if name == "prometheus-alertmanager" else "prometheus"
        raise FileNotFoundError(f"no {name} found; install it: apt-get install -y {package}")
    return found


def promtool(*arguments: str | Path) -> str:
    """What promtool says.

    Raises:
        AssertionError: It is not content; holds its words.
    """
    done = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, check=False,
        timeout=_PROMTOOL_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Sample:
    """One series of an answer and its value now."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Alert:
    """An alert as Prometheus has it.

    Attributes:
        state: `pending` or `firing`.
        since: When its expression began to hold, without a break since then.
    """

    name: str
    state: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    since: str


class Prometheus:
    """A running Prometheus; `running_prometheus` makes one.

    Attributes:
        url: Where its API and pages are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._targets: dict[str, dict[str, str]] = {}
        self._process = ServerProcess("prometheus", folder / "log")
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self, rules: Sequence[Path], alertmanagers: Sequence[str]) -> None:
        """Start and return when it answers."""
        self._write_targets()
        settings = {
            "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": [str(path.absolute()) for path in rules],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]},
            "scrape_configs": [
                {
                    "job_name": "outbox",
                    "honor_labels": True,
                    "file_sd_configs": [
                        {"files": [str(self._folder / "targets.json")], "refresh_interval": "1s"}
                    ],
                }
            ],
        }
        config = self._folder / "prometheus.yml"
        config.write_text(json.dumps(settings))  # JSON is YAML
        self._process.start(
            [
                *(*NOT_PAST_OUR_DEATH, program("prometheus")),
                f"--config.file={config}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            lambda: _answers(f"{self.url}/-/ready"),
            user={},
        )

    def stop(self) -> None:
        """End it; it answers no more."""
        self._process.stop(signal.SIGKILL)

    def scrape(self, address: str, **labels: str) -> None:
        """Add a target, `host:port`, with labels such as `job` and `pod`; or change its labels."""
        self._targets[address] = {"job": "outbox", **labels}
        self._write_targets()

    def forget(self, address: str) -> None:
        """Scrape a target no more, as when its pod is gone: its series end."""
        del self._targets[address]
        self._write_targets()

    async def wait_scraped(self, *addresses: str) -> None:
        """Return once each of these targets has been scraped with success."""

        def up() -> bool:
            return set(addresses) <= {one.labels["instance"] for one in self.query("up == 1")}

        await eventually(up, f"scraped: {', '.join(addresses)}", relay=self)

    @property
    def log(self) -> str:
        """What it said, and what became of its last scrapes."""
        targets = [
            f"{one['scrapeUrl']}: {one['health']} {one['lastError']}"
            for one in self._ask("targets")["activeTargets"]
        ]
        return "\n".join([self._process.tail(), *targets])

    def query(self, expression: str) -> list[Sample]:
        """The series that an expression gives now, in no order.

        Raises:
            AssertionError: Prometheus refuses it; holds its words.
        """
        found = self._ask("query", query=expression)
        assert found["resultType"] == "vector", f"{expression}: a {found['resultType']}"
        return [Sample(one["metric"], float(one["value"][1])) for one in found["result"]]

    def alerts(self, name: str | None = None, *, state: str | None = None) -> list[Alert]:
        """The alerts that are pending or firing now: all, or those of a name or in a state."""
        found = [
            Alert(
                name=one["labels"]["alertname"],
                state=one["state"],
                labels=one["labels"],
                annotations=one["annotations"],
                since=one["activeAt"],
            )
            for one in self._ask("alerts")["alerts"]
        ]
        return [one for one in found if name in (None, one.name) and state in (None, one.state)]

    def rule_errors(self) -> list[str]:
        """What was wrong with the last evaluation of each rule that failed."""
        return [
            f"{rule['name']}: {rule['lastError']}"
            for group in self._ask("rules")["groups"]
            for rule in group["rules"]
            if rule.get("lastError")
        ]

    def _ask(self, what: str, **parameters: str) -> Any:
        answer = _get(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}")
        assert answer["status"] == "success", f"{parameters}: {answer}"
        return answer["data"]

    def _write_targets(self) -> None:
        groups = [
            {"targets": [address], "labels": labels} for address, labels in self._targets.items()
        ]
        scratch = self._folder / "targets.new"
        scratch.write_text(json.dumps(groups))
        scratch.replace(self._folder / "targets.json")


@dataclass
class Alertmanager:
    """A running Alertmanager; `running_alertmanager` makes one.

    Attributes:
        address: `host:port`, for `running_prometheus`.
    """

    address: str
    _process: ServerProcess = field(repr=False)

    def alerts(self) -> list[Mapping[str, Any]]:
        """The alerts that it holds, as its API has them: `labels`, `annotations`, `status`, …"""
        found: list[Mapping[str, Any]] = _get(f"http://{self.address}/api/v2/alerts")
        return found


@contextmanager
def running_prometheus(*rules: Path, alertmanagers: Sequence[str] = ()) -> Iterator[Prometheus]:
    """A Prometheus of one's own, without targets yet.

    Args:
        rules: Files of rules, as Prometheus reads them.
        alertmanagers: Where alerts are sent, as `host:port`.
    """
    with tempfile.TemporaryDirectory(prefix="outbox-prometheus-") as folder:
        server = Prometheus(Path(folder))
        try:
            server.start(rules, alertmanagers)
            yield server
        finally:
            server.stop()


@contextmanager
def running_alertmanager(webhook: str | None = None) -> Iterator[Alertmanager]:
    """An Alertmanager of one's own, which tells at once what it hears.

    Args:
        webhook: URL that it tells; default: nobody.
    """
    port = free_port()
    hooks = [{"url": webhook, "send_resolved": True}] if webhook else []
    settings = {
        "route": {
            "receiver": "test",
            "group_by": ["..."],
            "group_wait": "0s",
            "group_interval": "1s",
        },
        "receivers": [{"name": "test", "webhook_configs": hooks}],
    }
    with tempfile.TemporaryDirectory(prefix="outbox-alertmanager-") as name:
        folder = Path(name)
        (folder / "alertmanager.yml").write_text(json.dumps(settings))
        process = ServerProcess("prometheus-alertmanager", folder / "log")
        try:
            process.start(
                [
                    *(*NOT_PAST_OUR_DEATH, program("prometheus-alertmanager")),
                    f"--config.file={folder / 'alertmanager.yml'}",
                    f"--storage.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--cluster.listen-address=",
                ],
                lambda: _answers(f"http://127.0.0.1:{port}/-/ready"),
                user={},
            )
            yield Alertmanager(f"127.0.0.1:{port}", process)
        finally:
            process.stop(signal.SIGKILL)


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=_ANSWER_SECONDS):
        return True
    return False


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error}: {error.read().decode()}") from None
