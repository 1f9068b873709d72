"""Rendered configuration: everything stays below the cluster's folder and fits together."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from localkube import control_plane, node_config, pki
from localkube.layout import TOOLS, Endpoints, Layout, NodeAddresses, node_endpoints

LAYOUT = Layout("demo", Path("/state/demo"))
ADDRESSES = NodeAddresses(5)
LOOPBACK = Endpoints("127.0.0.1", 30001, 30002, 30003)


def test_containerd_keeps_everything_in_the_clusters_folder() -> None:
    config = tomllib.loads(node_config.containerd(LAYOUT, "overlayfs"))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    runc = cri["containerd"]["runtimes"]["runc"]["options"]
    paths = [config["root"], config["state"], config["grpc"]["address"], runc["Root"]]
    assert all(Path(path).is_relative_to(LAYOUT.root) for path in paths)
    assert cri["restrict_oom_score_adj"] is True
    assert cri["containerd"]["snapshotter"] == "overlayfs"


def test_kubelet_talks_to_this_containerd_and_this_dns() -> None:
    config = json.loads(node_config.kubelet(LAYOUT, ADDRESSES.node))
    assert config["containerRuntimeEndpoint"] == f"unix://{LAYOUT.containerd_socket}"
    assert config["clusterDNS"] == [ADDRESSES.node]
    assert config["cgroupRoot"] == f"/{LAYOUT.cgroup}"
    assert f"bind {ADDRESSES.node}" in node_config.corefile(LAYOUT, ADDRESSES.node)


def test_json_configurations_are_read_as_yaml() -> None:
    proxy = yaml.safe_load(node_config.kube_proxy(LAYOUT))
    assert proxy["kind"] == "KubeProxyConfiguration"


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("/dev/vda / ext4 rw 0 0\n", "overlayfs"),
        ("overlay / overlay rw 0 0\n", "native"),
        ("overlay / overlay rw 0 0\n/dev/vdb /state ext4 rw 0 0\n", "overlayfs"),
        ("/dev/vda / ext4 rw 0 0\noverlay /stat overlay rw 0 0\n", "overlayfs"),
    ],
)
def test_overlays_are_not_stacked(mounts: str, expected: str) -> None:
    assert node_config.snapshotter(mounts, LAYOUT.root) == expected


def test_control_plane_alone_listens_on_loopback_only() -> None:
    for argv in (
        control_plane.etcd(LAYOUT, LOOPBACK),
        control_plane.apiserver(LAYOUT, LOOPBACK, node=False),
    ):
        assert not any("10.88." in argument for argument in argv)
    apiserver = control_plane.apiserver(LAYOUT, LOOPBACK, node=False)
    assert "--bind-address=127.0.0.1" in apiserver
    assert "--secure-port=30001" in apiserver
    assert "--secure-port=0" in control_plane.controller_manager(LAYOUT, node=False)


def test_apiserver_of_a_node_verifies_kubelet() -> None:
    argv = control_plane.apiserver(LAYOUT, node_endpoints(ADDRESSES), node=True)
    assert "--kubelet-certificate-authority=/state/demo/pki/ca.crt" in argv
    assert "--bind-address=127.0.0.1" not in argv


def test_every_kubeconfig_in_use_has_an_identity() -> None:
    made = {
        f"{one.name}.kubeconfig"
        for one in pki.identities(node_endpoints(ADDRESSES), node=True)
        if one.client
    }
    texts = [*node_config.files(LAYOUT, ADDRESSES.node, "overlayfs").values()]
    texts += [
        part for argv in node_config.commands(LAYOUT, ADDRESSES.node).values() for part in argv
    ]
    texts += control_plane.controller_manager(LAYOUT, node=True)
    used = {
        word.rsplit("/", 1)[-1].rstrip('",')
        for text in texts
        for word in text.split()
        if ".kubeconfig" in word
    }
    assert used <= made


def test_certificates_hold_and_name_the_server(tmp_path: Path) -> None:
    pki.create(tmp_path, node_endpoints(ADDRESSES), node=True, cluster="demo")
    for name in ("apiserver", "kubelet", "admin"):
        ca, certificate = str(tmp_path / "ca.crt"), str(tmp_path / f"{name}.crt")
        subprocess.run(["openssl", "verify", "-CAfile", ca, certificate], check=True, timeout=60)
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", tmp_path / "apiserver.crt"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert ADDRESSES.node in text
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "admin.crt", tmp_path / "admin.key")
    config = yaml.safe_load((tmp_path / "admin.kubeconfig").read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://10.88.5.2:6443"
    assert (tmp_path / "admin.kubeconfig").stat().st_mode & 0o077 == 0


def test_coredns_is_built_with_the_plugins_that_its_file_names() -> None:
    named = re.findall(r"^    (\w+) ?", node_config.corefile(LAYOUT, ADDRESSES.node), re.MULTILINE)
    source = (TOOLS / "kubernetes" / "resolver" / "main.go").read_text()
    assert set(named) == set(re.findall(r'coredns/plugin/(\w+)"', source))


def test_a_folder_may_have_a_space_in_its_name() -> None:
    layout = Layout("demo", Path("/my state/demo"))
    kubeconfig = '    kubeconfig "/my state/demo/pki/coredns.kubeconfig"\n'
    assert kubeconfig in node_config.corefile(layout, ADDRESSES.node)
    mounts = "/dev/vda / ext4 rw 0 0\noverlay /my\\040state overlay rw 0 0\n"
    assert node_config.snapshotter(mounts, layout.root) == "native"
