"""Prove a release on this machine: `make check-release`.

Two releases are made of this commit, an older and a newer one. They are pushed into a registry, and
all that comes after is what a stranger does: verify, install, use, upgrade, roll back, remove, with
the released files alone. The registry is in the network namespace of a cluster made for it, so that
what is pushed and pulled never leaves the machine. What was found is `build/check-release.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from demo.clusters import Cluster
from demo.kubectl import DemoError, Kubectl
from demo.shop import Shop
from localkube import ui
from localkube.archive import architecture
from localkube.cluster import cluster_layout
from localkube.errors import LocalkubeError
from localkube.layout import current_roots

from release import image, make, proof, publish, readme, smallest, stamp, verify
from release.local_registry import HOST, serving
from release.pods import wait_for_image
from release.programs import program, run
from release.publish import Registry
from release.stamp import ROOT, ReleaseError

NAMESPACE = "outbox-system"
RELEASE = "outbox-operator"
OLDER, NEWER = "0.0.1", "0.0.2"
_PODS = (
    (NAMESPACE, f"app.kubernetes.io/name={RELEASE}"),
    ("shop", "app.kubernetes.io/component=relay"),
)
"""Of the operator, and of what it makes."""
RESULT = ROOT / "build/check-release.json"


class Steps:
    """What was done, one after the other, and how long each took."""

    def __init__(self) -> None:
        self.done: dict[str, float] = {}
        self.facts: dict[str, object] = {}

    def write(self) -> None:
        """Write down what was found so far."""
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(json.dumps({"seconds": self.done, **self.facts}, indent=1) + "\n")

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Do one step; its time counts when it succeeds."""
        started = time.monotonic()
        with ui.step(what):
            yield
        self.done[what] = round(time.monotonic() - started, 1)


def main() -> int:
    """Make, push, verify, install, upgrade, roll back, remove; 0 when all of it held."""
    parser = argparse.ArgumentParser(prog="check-release", description="prove a release")
    parser.add_argument("--quick", action="store_true", help="do not build the images once more")
    quick = parser.parse_args().quick
    steps = Steps()
    cluster = Cluster(f"release-{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="check-release-") as scratch:
        try:
            prove(steps, cluster, Path(scratch), quick=quick)
        except (ReleaseError, LocalkubeError, DemoError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or ""
            print(f"check-release: {error}\n{said}", file=sys.stderr)
            return 1
        finally:
            cluster.down()
    print(RESULT)
    return 0


def prove(steps: Steps, cluster: Cluster, scratch: Path, *, quick: bool) -> None:
    """All steps; the quick ones are all but building the images once more.

    Raises:
        ReleaseError, LocalkubeError, DemoError, subprocess.CalledProcessError: one failed.
    """
    older, newer = scratch / "older", scratch / "newer"
    signer = verify.make_signer(scratch)
    release = stamp.read(NEWER, f"{HOST}/{RELEASE}", "", allow_changes=True)
    steps.facts["commit"] = release.commit
    steps.facts["day"] = datetime.now(UTC).date().isoformat()
    own = (architecture(os.uname().machine),)
    for version, folder, machines in ((OLDER, older, own), (NEWER, newer, image.ARCHITECTURES)):
        with steps.step(f"release {version}"):
            folder.mkdir()
            work = scratch / f"work-{version}"
            stamped = replace(release, version=version)
            make.everything(stamped, folder, work, signer, (here(),), machines)
    steps.facts["files"] = {
        file.name: file.stat().st_size for file in sorted(newer.iterdir()) if file.is_file()
    }
    built = {one: scratch / f"work-{NEWER}" / f"layout-{one}" for one in image.ARCHITECTURES}
    with steps.step("what is in the images"):
        steps.facts["images"] = {one: proof.facts(one, folder) for one, folder in built.items()}
    with steps.step("the image of another architecture, under emulation"):
        steps.facts["emulated"] = [
            proof.emulated(one, folder, scratch / f"root-{one}")
            for one, folder in built.items()
            if f"linux/{one}" != here()
        ]
    with steps.step("checksums and signature of the files"):
        verify.verify_files(newer, scratch / "cosign.pub")
        verify.refused_files(newer, scratch)
    with steps.step("wheel from an index of this machine"):
        install_wheel(newer, scratch)
    with steps.step("cluster"):
        kubectl = cluster.up()
    layout = cluster_layout(current_roots(), cluster.name)
    within = ["nsenter", f"--net=/run/netns/{layout.netns}"]
    registry = Registry(f"{HOST}/charts", signer, plain=True, within=within)
    with serving(registry.within, scratch):
        with steps.step("push images and charts, sign, attest"):
            for folder in (older, newer):
                publish.publish(folder, registry)
                publish.publish(folder, registry)  # what is there already is no error
            verify.refused_release(older, registry, scratch)
        with steps.step("verify signature, contents and provenance of the images"):
            verify.verify_image(newer, registry)
        with steps.step("pods of a shop, which takes orders from now on"):
            images = cluster.images()
        with steps.step("chart from the registry, image by digest"):
            helm(registry, kubectl, "install", OLDER)
        with steps.step("the smallest pipeline, from its file to its handler"):
            smallest.run(kubectl, older, images.shop, publish.image(older))
        with steps.step("the shop, until its pipeline is Ready"):
            shop = Shop(kubectl)
            shop.apply(images.shop, cluster.volumes(kubectl))
            shop.wait_ready(timeout=600)
        runs(kubectl, older)
        shop.take_orders(1)
        with steps.step(f"upgrade {OLDER} to {NEWER} under load"):
            helm(registry, kubectl, "upgrade", NEWER)
            shop.wait_ready(timeout=600)
            runs(kubectl, newer)
        with steps.step(f"roll back to {OLDER} under load"):
            helm(registry, kubectl, "rollback")
            shop.wait_ready(timeout=600)
            runs(kubectl, older)
        shop.take_orders(0)
        with steps.step("every order took effect once"):
            shop.settle(timeout=300)
            ledger = shop.ledger()
            if ledger.problems():
                raise ReleaseError("\n".join(ledger.problems()))
            steps.facts["orders"] = len(ledger.committed)
        with steps.step("plugin from its archive, by krew"):
            run_plugin(kubectl, newer, scratch)
        with steps.step("remove"):
            kubectl(*readme.command("kubectl delete obp,")[1:], "--timeout=5m", timeout=330)
            helm(registry, kubectl, "uninstall")
            for namespace, selector in _PODS:
                wait_for_image(kubectl, namespace, selector, "")

    steps.write()
    if not quick:
        with steps.step("the same images again, from nothing"):
            proof.rebuilt(replace(release, version=NEWER), built, scratch)
        steps.write()


def here() -> str:
    """The platform of this machine, as krew calls it."""
    return f"linux/{architecture(os.uname().machine)}"


def install_wheel(folder: Path, scratch: Path) -> None:
    """Install the wheel by its name from an index, as `pip install outbox-operator` does."""
    index = scratch / "index" / RELEASE
    index.mkdir(parents=True)
    [wheel] = folder.glob("*.whl")
    shutil.copy(wheel, index)
    (index / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "0"],
        cwd=index.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split("port ")[1].split()[0]
        uv, venv = str(ROOT / "hack/uv"), scratch / "venv"
        run(None, uv, "venv", "--quiet", str(venv))
        run(
            None, uv, "pip", "install", "--quiet", "--python", str(venv / "bin/python"),
            "--index", f"http://127.0.0.1:{port}", *readme.command(f"pip install '{RELEASE}")[2:],
        )  # fmt: skip
    finally:
        server.kill()
        server.wait(60)
    said = run(None, str(venv / "bin/outbox"), "--version")
    if NEWER not in said:
        raise ReleaseError(f"outbox --version: wanted {NEWER}, found {said!r}")


def helm(registry: Registry, kubectl: Kubectl, verb: str, version: str = "") -> None:
    """What the README says, word by word, of this registry and version.

    One node has no place for a second operator, and the registry speaks HTTP.
    """
    words = [
        re.sub(r"^oci://REGISTRY/charts/", f"oci://{registry.charts}/", word)
        for word in readme.command(f"helm {verb} {RELEASE} ")
    ]
    if version:
        words[words.index("--version") + 1] = version
        words += ["--plain-http", "--set", "replicas=1"]
    command = [program("helm"), *words[1:], "--timeout=8m"]
    registry.run(*command, "--kubeconfig", str(kubectl.kubeconfig))


def runs(kubectl: Kubectl, folder: Path) -> None:
    """Operator and relay run the image of a release, by its digest.

    Raises:
        ReleaseError: they run another one.
    """
    for namespace, selector in _PODS:
        wait_for_image(kubectl, namespace, selector, publish.image(folder))


def run_plugin(kubectl: Kubectl, folder: Path, scratch: Path) -> None:
    """Install the plugin as the README says, from its files by krew, and ask the cluster by it."""
    place = scratch / "krew"
    environment = {
        **kubectl.environment(),
        "KREW_ROOT": str(place),
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
    }
    words = readme.command("kubectl krew install ")[2:]
    words[-1] = words[-1].replace("linux-amd64", here().replace("/", "-"))
    subprocess.run(
        [program("krew"), *words],
        cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    said = subprocess.run(
        [kubectl.program, "outbox", "status", "-n", "shop", "-o", "json"],
        env=environment, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if "orders" not in said.stdout:
        raise ReleaseError(f"kubectl outbox status: found {said.stdout[:500]!r}")


if __name__ == "__main__":
    sys.exit(main())
