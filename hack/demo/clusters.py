"""Where the demo runs: kind where a Docker engine answers, else localkube.

Used by `demo.cli` and by the end-to-end tests. Both kinds of cluster answer the same questions.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from demo.shop import ROOT, DemoError

LOCALKUBE = ROOT / "hack/localkube/localkube"
SHOP = ROOT / "examples/shop"
SHOP_IMAGE = "outbox-demo-shop"
# Volumes of a cluster without a storage provisioner: pod -> user id that writes to it.
VOLUMES = {"postgres": 999, "nats": 65532}


@dataclass(frozen=True, slots=True)
class Images:
    """What was built, each a name with a tag.

    Attributes:
        operator: the project's image.
        shop: images of examples/shop, by the name they have in its manifests.
    """

    operator: str
    shop: dict[str, str]


class Cluster(Protocol):
    """A cluster with the project's images."""

    @property
    def description(self) -> str:
        """For people."""

    def missing(self) -> list[str]:
        """Prerequisites that are not there, each with what to do; empty: all is well."""

    def up(self) -> Path:
        """Bring it up, or use the one that runs; the path of its kubeconfig."""

    def images(self) -> Images:
        """Build all images and load them."""

    def program(self, name: str) -> str:
        """Path of kubectl or helm."""

    def extra_manifests(self) -> str:
        """What the shop needs here and has elsewhere."""

    def down(self) -> None:
        """Remove the cluster and all in it."""


def choose(name: str) -> Cluster:
    """kind where a Docker engine answers, else localkube."""
    return Kind(name) if _docker_answers() else Localkube(name)


def _docker_answers() -> bool:
    if not shutil.which("docker"):
        return False
    ask = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(ask, capture_output=True, check=False, timeout=30).returncode == 0


def shop_tag(operator_image: str) -> str:
    """Name of the shop's image: another one when its code or the image below changes."""
    digest = hashlib.sha256(operator_image.encode())
    for file in sorted([*SHOP.rglob("*.py"), SHOP / "Dockerfile"]):
        digest.update(f"{file.relative_to(SHOP)}\n".encode() + file.read_bytes())
    return f"{SHOP_IMAGE}:dev-{digest.hexdigest()[:12]}"


def _run(command: Sequence[str | Path]) -> None:
    """Run with its output on screen."""
    code = subprocess.run([str(part) for part in command], check=False).returncode
    if code:
        raise DemoError(f"{' '.join(map(str, command))}: exit status {code}; the reason is above")


def _answer(command: Sequence[str | Path]) -> str:
    """Standard output; progress on standard error stays on screen."""
    done = subprocess.run(
        [str(part) for part in command], check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise DemoError(f"{' '.join(map(str, command))}: exit status {done.returncode}")
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Localkube:
    """A real node on this machine, without Docker."""

    name: str

    @property
    def description(self) -> str:
        """For people."""
        return f"localkube, a real Kubernetes node on this machine, name {self.name}"

    def missing(self) -> list[str]:
        """Asks localkube, which knows what it needs and installs it when it may."""
        done = subprocess.run([LOCALKUBE, "prereqs"], capture_output=True, text=True, check=False)
        return [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines()

    def up(self) -> Path:
        """Bring it up; a second time takes a moment."""
        facts = json.loads(_answer([LOCALKUBE, "up", "--name", self.name, "--json"]))
        return Path(str(facts["kubeconfig"]))

    def images(self) -> Images:
        """Build what changed and load what the node does not have."""
        names = json.loads(_answer([LOCALKUBE, "build-images", "--name", self.name, "--load"]))
        shop = shop_tag(names["operator"])
        _run([
            LOCALKUBE, "build-image", "--name", self.name, "--tag", shop, "--load",
            "--build-arg", f"OPERATOR_IMAGE={names['operator']}", SHOP,
        ])  # fmt: skip
        return Images(
            names["operator"],
            {"postgres": names["postgres"], "nats": names["nats"], SHOP_IMAGE: shop},
        )

    def program(self, name: str) -> str:
        """Built by localkube."""
        return _answer([LOCALKUBE, "path", name])

    def extra_manifests(self) -> str:
        """Volumes on the machine's disk: a bare node has nothing that provides them."""
        documents = []
        for pod, user in VOLUMES.items():
            folder = self._data / pod
            folder.mkdir(parents=True, exist_ok=True)
            shutil.chown(folder, user, user)
            documents.append(
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolume",
                    "metadata": {"name": f"shop-{pod}"},
                    "spec": {
                        "capacity": {"storage": "1Gi"},
                        "accessModes": ["ReadWriteOnce"],
                        "persistentVolumeReclaimPolicy": "Retain",
                        "claimRef": {"namespace": "shop", "name": f"data-{pod}-0"},
                        "hostPath": {"path": str(folder), "type": "Directory"},
                    },
                }
            )
        return "\n---\n".join(json.dumps(document) for document in documents)

    def down(self) -> None:
        """Remove the node, and the volumes with it."""
        _run([LOCALKUBE, "down", "--name", self.name])
        shutil.rmtree(self._data, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return Path("/var/lib/outbox-operator/demo") / self.name


@dataclass(frozen=True, slots=True)
class Kind:
    """kind, where Docker is."""

    name: str

    @property
    def description(self) -> str:
        """For people."""
        return f"kind (Docker answers), name {self.name}"

    def missing(self) -> list[str]:
        """The programs it takes; Docker is there, or this class would not be in use."""
        pages = {
            "kind": "https://kind.sigs.k8s.io",
            "kubectl": "https://kubernetes.io/docs/tasks/tools",
            "helm": "https://helm.sh/docs/intro/install",
        }
        return [
            f"{name} is not on the PATH: {page}"
            for name, page in pages.items()
            if not shutil.which(name)
        ]

    def up(self) -> Path:
        """Create it unless it runs."""
        if self.name not in _answer(["kind", "get", "clusters"]).split():
            config = ROOT / "kind-config.yaml"
            _run(
                [
                    "kind",
                    "create",
                    "cluster",
                    "--name",
                    self.name,
                    "--config",
                    config,
                    "--wait",
                    "3m",
                ]
            )
        kubeconfig = ROOT / "build/demo" / f"{self.name}.kubeconfig"
        kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        kubeconfig.write_text(_answer(["kind", "get", "kubeconfig", "--name", self.name]) + "\n")
        return kubeconfig

    def images(self) -> Images:
        """Build ours with Docker; Postgres and NATS come from their official images."""
        operator = "outbox-operator:dev"
        _run(["docker", "build", "-f", ROOT / "operator/Dockerfile", "-t", operator, ROOT])
        identity = _answer(["docker", "image", "inspect", "--format", "{{.Id}}", operator])
        operator_tag = f"outbox-operator:dev-{identity.rpartition(':')[2][:12]}"
        _run(["docker", "tag", operator, operator_tag])
        shop = shop_tag(operator_tag)
        _run(["docker", "build", "--build-arg", f"OPERATOR_IMAGE={operator_tag}", "-t", shop, SHOP])
        _run(["kind", "load", "docker-image", "--name", self.name, operator_tag, shop])
        return Images(operator_tag, {SHOP_IMAGE: shop})

    def program(self, name: str) -> str:
        """From the PATH."""
        return shutil.which(name) or name

    def extra_manifests(self) -> str:
        """kind provides volumes by itself."""
        return ""

    def down(self) -> None:
        """Remove it."""
        _run(["kind", "delete", "cluster", "--name", self.name])
