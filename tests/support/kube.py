"""A real Kubernetes control plane and kubectl for tests."""

from __future__ import annotations

import functools
import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from outbox_operator.api import meta
from support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
LOCALKUBE = ROOT / "hack/localkube/localkube"
CRDS = ROOT / "crds"


@dataclass(frozen=True, slots=True)
class Answer:
    """What kubectl said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl against one cluster, whatever the environment points at."""

    program: str
    kubeconfig: Path

    def run(self, *arguments: str, stdin: str | None = None) -> Answer:
        """Run a command; a failing one is an answer too."""
        done = subprocess.run(
            [
                self.program,
                f"--kubeconfig={self.kubeconfig}",
                # Its own: ports are reused, and kubectl trusts what it cached for one for hours.
                f"--cache-dir={self.kubeconfig.parent / 'kubectl-cache'}",
                *arguments,
            ],
            input=stdin,
            # It ends before its garbage would matter, and a sixth of its start is collecting that.
            env={**os.environ, "GOGC": "off"},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of a command that must succeed."""
        answer = self.run(*arguments, stdin=stdin)
        assert answer.code == 0, f"kubectl {' '.join(arguments)}: {answer.err}"
        return answer.out

    def apply(self, *documents: dict[str, Any], dry_run: bool = False) -> Answer:
        """`kubectl apply` of documents; `dry_run` asks the server and stores nothing."""
        options = ["--dry-run=server"] if dry_run else []
        return self.run("apply", *options, "-f", "-", stdin=yaml.safe_dump_all(documents))

    def get(self, *arguments: str) -> dict[str, Any]:
        """One object or list, decoded."""
        document: dict[str, Any] = json.loads(self("get", *arguments, "-o", "json"))
        return document

    def wait_may(self, user: str, verb: str, resource: str, namespace: str) -> None:
        """Returns once a user may do something.

        API servers hear of roles and bindings a moment after they were made.
        """
        asked = ("auth", "can-i", verb, resource, "-n", namespace, f"--as={user}")
        wait_until(
            lambda: self.run(*asked).out.strip() == "yes",
            f"{user} may {verb} {resource} in {namespace}", pause=0.1,
        )  # fmt: skip


class Api:
    """The API server over one connection, without a kubectl to start.

    For looks that are repeated until they hold, and for what every test does.

    Args:
        kubeconfig: Of a control plane made here; its certificates are files beside it.
    """

    def __init__(self, kubeconfig: Path) -> None:
        server = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        pki = kubeconfig.parent
        tls = ssl.create_default_context(cafile=pki / "ca.crt")
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        address = server.removeprefix("https://")
        self._connection = http.client.HTTPSConnection(address, timeout=60, context=tls)

    def text(self, path: str) -> str | None:
        """Body of an answer, None when there is no such object."""
        try:
            return self._read(path)
        except (http.client.HTTPException, OSError):  # it may have closed an idle connection
            self._connection.close()
            return self._read(path)

    def get(self, path: str) -> dict[str, Any] | None:
        """The same, decoded."""
        text = self.text(path)
        return None if text is None else dict(json.loads(text))

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Create an object below a path."""
        self._write("POST", path, json.dumps(body))

    def delete(self, path: str) -> None:
        """Delete an object, or all below a path; they may take a while to go."""
        self._write("DELETE", path, None)

    def clear(self, namespace: str) -> None:
        """Delete our resources in the namespace of a test; they may take a while to go.

        It goes itself with its control plane. To delete it takes a quarter of a second of two
        cores, because each kind there is gets emptied, and there are hundreds of tests.
        """
        for plural in meta.PLURALS.values():
            self.delete(f"/apis/{meta.API_VERSION}/namespaces/{namespace}/{plural}")

    def _read(self, path: str) -> str | None:
        status, body = self._ask("GET", path, None)
        assert status in (200, 404), f"GET {path}: {status} {body}"
        return body if status == 200 else None

    def _write(self, verb: str, path: str, sent: str | None) -> None:
        self._connection.close()  # by and by the server closes an idle one; none may be sent twice
        status, body = self._ask(verb, path, sent)
        assert status in (200, 201, 202), f"{verb} {path}: {status} {body}"

    def _ask(self, verb: str, path: str, sent: str | None) -> tuple[int, str]:
        """The status and body of an answer that is one: 429 asks to come again, as kubectl does.

        It is what a server says of a kind whose definition was changed a moment ago.
        """
        status, body = HTTPStatus.TOO_MANY_REQUESTS, ""

        def answered() -> bool:
            nonlocal status, body
            self._connection.request(verb, path, sent, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            status, body = HTTPStatus(answer.status), answer.read().decode()
            return status != HTTPStatus.TOO_MANY_REQUESTS

        wait_until(answered, f"{verb} {path}", detail=lambda: body, pause=0.2)
        return status, body


def api(kubeconfig: Path) -> Api:
    """The API server of a cluster.

    One that was ended and started again has the same path, and another port and authority.
    """
    return _api(kubeconfig, kubeconfig.read_text(), (kubeconfig.parent / "ca.crt").read_bytes())


@functools.cache
def _api(kubeconfig: Path, _text: str, _authority: bytes) -> Api:
    return Api(kubeconfig)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running control plane."""

    name: str
    kubeconfig: Path


@contextmanager
def control_plane(name: str) -> Iterator[Cluster]:
    """A control plane of its own; gone afterwards."""
    try:
        done = subprocess.run(
            [LOCALKUBE, "up", "--control-plane-only", "--name", name, "--json"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=600,
            # A sixth less CPU for some memory: a run has several planes, and two cores.
            env={**os.environ, "GOGC": "400"},
        )
        yield Cluster(name, Path(json.loads(done.stdout)["kubeconfig"]))
    finally:
        subprocess.run([LOCALKUBE, "down", "--name", name], check=True, timeout=600)


def unique_cluster(what: str) -> str:
    """A cluster name that parallel runs do not share."""
    return f"test-{what}-{os.getpid()}"


def kubectl_program() -> str:
    """Path of kubectl, built when it is missing."""
    done = subprocess.run(
        [LOCALKUBE, "path", "kubectl"], check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    return done.stdout.strip()


def install_crds(kubectl: Kubectl) -> None:
    """Apply crds/ and wait until the API server serves them."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    kubectl("wait", "--for=condition=Established", "--timeout=120s", "-f", str(CRDS))
    wait_until(lambda: _published(kubectl), "the API server publishes our resources", pause=0.1)


def _published(kubectl: Kubectl) -> bool:
    """Whether discovery and OpenAPI know all our kinds; both follow a CRD with some delay."""
    names = kubectl("api-resources", "--cached=false", "--api-group=outbox.dev", "-o", "name")
    return len(names.split()) == len(list(CRDS.iterdir())) and all(
        kubectl.run("explain", name.partition(".")[0]).code == 0 for name in names.split()
    )
