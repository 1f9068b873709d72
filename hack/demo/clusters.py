"""Where the demo runs: the cluster, its images and its programs, all by localkube.

localkube makes a node on this machine, or uses kind where a Docker engine answers; nothing here
needs to know which. Used by `demo.cli` and by the end-to-end tests.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localkube.cluster import cluster_layout
from localkube.layout import current_roots

from demo.kubectl import ROOT, DemoError, Kubectl
from demo.sinks import NATS, Sink

LOCALKUBE = (sys.executable, str(ROOT / "hack/localkube/localkube"))
SHOP = ROOT / "examples/shop"
SHOP_IMAGE = "outbox-demo-shop"


@dataclass(frozen=True, slots=True)
class Images:
    """What was built, each a name with a tag.

    Attributes:
        operator: the project's image.
        shop: images of examples/shop, by the name they have in its manifests.
        monitoring: the same of examples/monitoring.
    """

    operator: str
    shop: dict[str, str]
    monitoring: dict[str, str]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A local cluster, by name.

    Attributes:
        sink: the broker of the shop that it is to have room and images for.
    """

    name: str
    sink: Sink = NATS

    def prepare(self) -> bool:
        """Install what the machine lacks, where that is possible; False: something is missing.

        What is missing is on the screen then.
        """
        return subprocess.run([*LOCALKUBE, "prereqs"], check=False, timeout=3600).returncode == 0

    def up(self) -> Kubectl:
        """Bring it up, or use the one that runs."""
        facts = json.loads(_answer("up", "--name", self.name, "--json"))
        return Kubectl(self.program("kubectl"), Path(facts["kubeconfig"]))

    @contextmanager
    def building_images(self) -> Iterator[None]:
        """Build them meanwhile, beside whatever waits for a network or has one core busy.

        Nothing of it is seen: `images` waits for it, does what is left, and says what fails.
        """
        child = subprocess.Popen(
            [*LOCALKUBE, "build-images", "--name", self.name, *self._also],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield
        finally:
            # It has ended long ago, unless something failed: then it ends what it began.
            child.send_signal(signal.SIGINT)
            child.wait(3600)

    def images(self) -> Images:
        """Build what changed, and load what the cluster does not have."""
        names = json.loads(_answer("build-images", "--name", self.name, "--load", *self._also))
        shop = shop_image(names["operator"])
        _answer(
            "build-image", "--name", self.name, "--tag", shop, "--load",
            "--build-arg", f"OPERATOR_IMAGE={names['operator']}", str(SHOP),
        )  # fmt: skip
        servers = {name: names[name] for name in ("postgres", self.sink.name)}
        return Images(
            names["operator"],
            {**servers, SHOP_IMAGE: shop},
            {"prom/prometheus": names["prometheus"]},
        )

    @property
    def _also(self) -> list[str]:
        return [f"--also={key}" for key in self.sink.also]

    def program(self, name: str) -> str:
        """Path of kubectl or helm."""
        return _answer("path", name)

    def volumes(self, kubectl: Kubectl) -> str:
        """Manifests of volumes on the machine's disk, where nothing in the cluster provides any."""
        if kubectl("get", "storageclass", "-o", "name"):
            return ""
        documents = []
        for pod, user in self.sink.volumes.items():
            folder = cluster_layout(current_roots(), self.name).volumes / pod
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
        """Remove the cluster and all in it, the volumes too."""
        _answer("down", "--name", self.name)


def shop_image(operator_image: str) -> str:
    """Name of the shop's image: another one when its code or the image below changes."""
    digest = hashlib.sha256(operator_image.encode())
    for file in sorted([*SHOP.rglob("*.py"), SHOP / "Dockerfile"]):
        digest.update(f"{file.relative_to(SHOP)}\n".encode() + file.read_bytes())
    return f"{SHOP_IMAGE}:dev-{digest.hexdigest()[:12]}"


def _answer(*arguments: str) -> str:
    """What localkube answers; its progress stays on the screen."""
    done = subprocess.run(
        [*LOCALKUBE, *arguments], check=False, stdout=subprocess.PIPE, text=True, timeout=3600
    )
    if done.returncode:
        raise DemoError(f"localkube {' '.join(arguments)} failed; the reason is above")
    return done.stdout.strip()
