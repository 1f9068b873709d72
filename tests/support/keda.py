"""A real KEDA on loopback: its operator, and its adapter of metrics behind the API server's
aggregation. `make check-keda` builds both; nothing of KEDA's runs in a pod."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from localkube import binaries

from outbox_operator.embedded.process import ServerProcess
from support.certificates import Certificates
from support.fences import CACHE
from support.kube import LOCALKUBE, ROOT
from support.metrics_adapter import aggregated
from support.ports import free_port
from support.postgres import NOT_PAST_OUR_DEATH
from support.world import World

_TOOLS: Final = ROOT / "hack/localkube/tools/keda"
_MODULE: Final = "github.com/kedacore/keda/v2"
_READER: Final = "external-metrics-reader"


@contextmanager
def running_keda(world: World, folder: Path) -> Iterator[None]:
    """KEDA for one namespace, with its resource definitions.

    Args:
        world: Of the namespace.
        folder: For certificates and logs.
    """
    crds = _module() / "config" / "crd" / "bases"
    world.kubectl("apply", "--server-side", "-f", str(crds))
    world.kubectl("wait", "--for=condition=Established", "--timeout=120s", "-f", str(crds))
    certificates = Certificates(folder)
    # As its operator and its adapter look for them: each knows the other by the authority.
    for found, wanted in (
        ("ca.pem", "ca.crt"),
        ("server.pem", "tls.crt"),
        ("server.key", "tls.key"),
    ):
        shutil.copy(certificates.path(found), certificates.path(wanted))
    health, grpc, secure = (free_port() for _ in range(3))
    operator = ServerProcess("keda-operator", folder / "keda-operator.log")
    adapter = ServerProcess("keda-adapter", folder / "keda-adapter.log")
    kubeconfig = str(world.kubectl.kubeconfig)
    environment = {
        **os.environ, "KUBECONFIG": kubeconfig, "WATCH_NAMESPACE": world.namespace,
        "POD_NAMESPACE": world.namespace, "KEDA_CLUSTER_OBJECT_NAMESPACE": world.namespace,
    }  # fmt: skip
    try:
        operator.start(
            [
                *NOT_PAST_OUR_DEATH, _program("keda-operator"), "--enable-prometheus-metrics=false",
                f"--health-probe-bind-address=127.0.0.1:{health}", f"--cert-dir={folder}",
                f"--metrics-service-bind-address=127.0.0.1:{grpc}",
            ],
            lambda: _answers(f"http://127.0.0.1:{health}/readyz"),
            user={"env": environment},
        )  # fmt: skip
        adapter.start(
            [
                *NOT_PAST_OUR_DEATH, _program("keda-adapter"), "--bind-address=127.0.0.1",
                f"--secure-port={secure}", f"--port={free_port()}", f"--cert-dir={folder}",
                f"--tls-cert-file={folder / 'tls.crt'}",
                f"--tls-private-key-file={folder / 'tls.key'}",
                f"--metrics-service-address=localhost:{grpc}",
                f"--authentication-kubeconfig={kubeconfig}", "--authentication-skip-lookup",
                f"--authorization-kubeconfig={kubeconfig}", f"--lister-kubeconfig={kubeconfig}",
            ],
            lambda: _listens(secure),
            user={"env": environment},
        )  # fmt: skip
        # The API server of the tests has no certificate for servers behind it, so that the
        # autoscaler's questions reach them without its name.
        world.kubectl.run("delete", "clusterrolebinding", _READER, "--ignore-not-found")
        world.apply(*_readable())
        with aggregated(world, secure):
            yield
    except BaseException as error:
        for process in (operator, adapter):
            error.add_note(f"{process.name}:\n{process.tail()}")
        raise
    finally:
        adapter.stop(signal.SIGTERM)
        operator.stop(signal.SIGTERM)
        world.kubectl("delete", "-f", str(crds), "--ignore-not-found", "--timeout=60s")
        world.kubectl("delete", "clusterrole,clusterrolebinding", _READER, "--ignore-not-found")


def _readable() -> Iterator[dict[str, Any]]:
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": _READER}}
    rules = [
        {"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["get"]},
    ]
    yield {**kind, "kind": "ClusterRole", "rules": rules}
    group = "rbac.authorization.k8s.io"
    yield {
        **kind, "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": _READER},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:unauthenticated"}],
    }  # fmt: skip


def _program(name: str) -> str:
    found = subprocess.run(
        [LOCALKUBE, "path", name], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    return found.stdout.strip()


def _module() -> Path:
    """Where the sources are that KEDA was built from."""
    found = subprocess.run(
        [binaries.find_go(CACHE / "localkube"), "mod", "download", "-json", _MODULE], cwd=_TOOLS,
        env=binaries.go_environment(os.environ), check=True, stdout=subprocess.PIPE, timeout=600,
    )  # fmt: skip
    return Path(json.loads(found.stdout)["Dir"])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
