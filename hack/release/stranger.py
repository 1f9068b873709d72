"""Try what `make release` made as a stranger does, who has nothing of ours but its files.

    make release VERSION=0.0.1 REPOSITORY=localhost:5000/outbox-operator
    make try-release

The cluster is one of kind's where Docker answers, and a node of this machine otherwise. The image
goes into a registry beside the node, from where it is pulled by its digest; chart and pipeline are
files of the release, and the commands are those of the README.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from demo.clusters import Cluster
from demo.kubectl import DemoError, Kubectl
from localkube import ui
from localkube.cluster import cluster_layout
from localkube.errors import LocalkubeError
from localkube.layout import current_roots

from release import publish, readme, smallest
from release.local_registry import HOST, serving
from release.pods import wait_for_image
from release.programs import program, run
from release.publish import Registry
from release.signing import Signer
from release.stamp import ROOT, ReleaseError

_OPERATOR = ("outbox-system", "app.kubernetes.io/name=outbox-operator")


def main() -> int:
    """Install, use, remove; 0 when all of it held."""
    parser = argparse.ArgumentParser(prog="try-release", description="try the files of a release")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build/release")
    folder = parser.parse_args().folder
    try:
        check(folder)
        attempt(folder)
    except (ReleaseError, LocalkubeError, DemoError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or ""
        print(f"try-release: {error}\n{said}".rstrip(), file=sys.stderr)
        return 1
    return 0


def check(folder: Path) -> None:
    """Look whether that is a release which can be tried here.

    Raises:
        ReleaseError: it is not; before anything was started.
    """
    if not (folder / "image-digest.txt").is_file():
        raise ReleaseError(f"{folder}: wanted the files of a release, found none: make release")
    publish.check(folder)
    if not publish.image(folder).startswith(f"{HOST}/"):
        raise ReleaseError(
            f"{folder}: wanted a release with REPOSITORY={HOST}/outbox-operator, which is where a "
            f"registry is for this, found {publish.image(folder)}"
        )


def attempt(folder: Path) -> None:
    """All that a stranger does, in a cluster made for it.

    Raises:
        ReleaseError, LocalkubeError, DemoError, subprocess.CalledProcessError: a step failed.
    """
    cluster = Cluster(f"stranger-{os.getpid()}")
    try:
        with ui.step("cluster"):
            kubectl = cluster.up()
        with ui.step("servers that a stranger has already"):
            servers = cluster.images().shop
        within = ["nsenter", f"--net={network(cluster)}"]
        with (
            tempfile.TemporaryDirectory(prefix="try-release-") as scratch,
            serving(within, Path(scratch)),
        ):
            install(folder, kubectl, within, servers)
    finally:
        cluster.down()


def install(
    folder: Path, kubectl: Kubectl, within: Sequence[str], servers: Mapping[str, str]
) -> None:
    """Push the image, install the chart, run the smallest pipeline, remove the chart.

    Raises:
        ReleaseError, LocalkubeError, DemoError, subprocess.CalledProcessError: a step failed.
    """
    with ui.step("push the image"):
        publish.push(folder, Registry(f"{HOST}/charts", Signer(""), plain=True, within=within))
    with ui.step("chart from its file, image by digest"):
        helm(kubectl, "install", publish.chart_archive(folder))
        wait_for_image(kubectl, *_OPERATOR, publish.image(folder))
    with ui.step("the smallest pipeline, from its file to its handler"):
        smallest.run(kubectl, folder, servers, publish.image(folder))
    with ui.step("remove"):
        kubectl(*readme.command("kubectl delete obp,")[1:], "--timeout=5m", timeout=330)
        helm(kubectl, "uninstall")
        wait_for_image(kubectl, *_OPERATOR, "")


def network(cluster: Cluster) -> Path:
    """The network namespace of the cluster's node."""
    layout = cluster_layout(current_roots(), cluster.name)
    if layout.root.exists():
        return Path("/run/netns") / layout.netns
    node = f"{cluster.name}-control-plane"
    pid = run(None, "docker", "inspect", "--format={{.State.Pid}}", node).strip()
    return Path("/proc") / pid / "ns/net"


def helm(kubectl: Kubectl, verb: str, chart: Path | None = None) -> None:
    """Do what the README says."""
    run(None, program("helm"), *words(verb, chart)[1:], "--kubeconfig", str(kubectl.kubeconfig))


def words(verb: str, chart: Path | None = None) -> list[str]:
    """The README's command, with the file of a chart in the place of its address.

    One node has no place for a second operator.
    """
    found = readme.command(f"helm {verb} outbox-operator ")
    if chart:
        [address] = [word for word in found if word.startswith("oci://")]
        version = found.index("--version")
        del found[version : version + 2]
        found[found.index(address)] = str(chart)
        found += ["--set", "replicas=1"]
    return [*found, "--timeout=8m"]


if __name__ == "__main__":
    sys.exit(main())
