"""A full node: pods, names and services work, a half-dead one is repaired, nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from localkube import archive, binaries, cgroups, cluster, health, images, mounts, node, processes
from localkube import state as states
from localkube.kind import docker_answers
from localkube.layout import Layout, Roots, current_roots

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(docker_answers(), reason="where Docker answers, kind runs the cluster"),
]

NAME = f"localkube-{os.getpid()}"
IMAGE = "localhost/localkube-test:1"
# Answers HTTP on 8080, readable by the same program from another pod.
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: web
      image: localhost/localkube-test:1
      imagePullPolicy: Never
      args: [httpd, -f, -v, -p, "8080", -h, /]
      securityContext: {readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      readinessProbe: {exec: {command: [/busybox, "true"]}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


class Node:
    """The node under test."""

    def __init__(self, places: Roots) -> None:
        self.places = places
        self.layout: Layout = cluster.cluster_layout(places, NAME)

    def up(self) -> states.State:
        return cluster.up(self.places, NAME, states.NODE)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        program = binaries.path(self.places.cache, "kubectl")
        done = subprocess.run(
            [program, f"--kubeconfig={self.layout.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pod_works(self) -> None:
        """The pod is ready, and reachable by name through its service."""
        self.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=180s")

        def answers() -> bool:
            script = "wget -q -O - http://web.default.svc.cluster.local/busybox | head -c 4"
            try:
                reply = self.kubectl("exec", "web", "--", "/busybox", "sh", "-c", script)
            except AssertionError:
                return False
            return "ELF" in reply

        assert processes.wait_until(answers, 180, interval=0.5)  # it may have been ready before


@pytest.fixture(scope="module")
def cluster_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node beside any other one, with one pod."""
    tested = Node(current_roots())
    try:
        tested.up()
        tar = tmp_path_factory.mktemp("image") / "image.tar"
        archive.write(tar, IMAGE, {"/busybox": Path("/bin/busybox").read_bytes()}, ["/busybox"])
        images.load(tested.places, NAME, [str(tar)])
        tested.kubectl("apply", "-f", "-", stdin=POD)
        yield tested
    finally:
        cluster.down(tested.places, NAME)


def parts_that_are_not_well(tested: Node) -> set[str]:
    current = states.load(tested.layout)
    assert current is not None
    return {part.name for part in health.inspect(tested.layout, current) if not part.ok}


def kill(tested: Node, *names: str) -> None:
    current = states.load(tested.layout)
    assert current is not None
    for name in names or current.processes:
        processes.send(current.processes[name], signal.SIGKILL)
    gone = [current.processes[name] for name in names or current.processes]
    assert processes.wait_until(lambda: not any(map(processes.is_alive, gone)), 60)


def test_pod_service_name_exec_and_logs(cluster_node: Node) -> None:
    cluster_node.pod_works()
    # What a container says is in its log a moment later.
    said = lambda: "response:200" in cluster_node.kubectl("logs", "web")  # noqa: E731
    assert processes.wait_until(said, 60, interval=0.5)


def test_names_outside_the_cluster_are_refused_at_once(cluster_node: Node) -> None:
    cluster_node.pod_works()
    script = "nslookup nowhere.example 2>&1; true"
    assert "NXDOMAIN" in cluster_node.kubectl("exec", "web", "--", "/busybox", "sh", "-c", script)


def test_killed_container_runtime_is_started_again(cluster_node: Node) -> None:
    cluster_node.pod_works()
    kill(cluster_node, "containerd")
    assert "containerd" in parts_that_are_not_well(cluster_node)
    cluster_node.up()
    assert parts_that_are_not_well(cluster_node) == set()
    cluster_node.pod_works()


@pytest.mark.thorough
def test_everything_killed_comes_back_with_its_objects(cluster_node: Node) -> None:
    cluster_node.pod_works()
    kill(cluster_node)
    processes.stop(cgroups.members(cluster_node.layout.cgroup), grace=0)
    processes.stop(node._shims(cluster_node.layout), grace=0)
    assert mounts.below(Path("/proc/self/mounts").read_text(), cluster_node.layout.root)
    cluster_node.up()
    cluster_node.pod_works()


def test_down_leaves_nothing_even_of_a_half_dead_node(cluster_node: Node) -> None:
    cluster_node.pod_works()
    current = states.load(cluster_node.layout)
    assert current is not None
    link = node.addresses(current).link
    sandboxes = json.loads(cluster_node.kubectl("get", "pods", "-o", "json"))["items"]
    assert sandboxes
    kill(cluster_node, "containerd", "kubelet")

    assert cluster.down(cluster_node.places, NAME)

    root = cluster_node.layout.root
    assert not root.exists()
    assert mounts.below(Path("/proc/self/mounts").read_text(), root) == []
    assert not Path("/run/netns", cluster_node.layout.netns).exists()
    assert not Path("/sys/class/net", link).exists()
    assert cgroups.members(cluster_node.layout.cgroup) == []
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{cluster_node.layout.cgroup}"))
    left = [argv for argv in processes.command_lines().values() if str(root) in " ".join(argv)]
    assert left == []
    assert not list(Path("/var/lib/cni/results").glob(f"{cluster_node.layout.netns}-*"))
