"""Configuration files and command lines of the node's daemons. Pure: text in, text out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localkube.layout import CLUSTER_DOMAIN, NODE_NAME, POD_CIDR, Layout
from localkube.mounts import unescape

CNI_PLUGINS = Path("/usr/lib/cni")
PAUSE_IMAGE = "localhost/pause:1"
DNS_READY_PORT = 8181


def containerd(layout: Layout, snapshotter: str) -> str:
    """containerd's configuration: everything it keeps is below the cluster's folder."""
    root = layout.root / "containerd"
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{root / "root"}"
state = "{root / "state"}"

[grpc]
  address = "{layout.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{root / "opt"}"

[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE a lower OOM score cannot be set, and runc would give up.
  restrict_oom_score_adj = true
  # So that removing the cluster's mounts removes the pods' network namespaces too.
  netns_mounts_under_state_dir = true

[{cri}.cni]
  bin_dir = "{CNI_PLUGINS}"
  conf_dir = "{layout.root / "cni"}"

[{cri}.containerd]
  snapshotter = "{snapshotter}"

[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{root / "runc"}"
"""


def snapshotter(mounts: str, folder: Path) -> str:
    """Which snapshotter works on the filesystem of `folder`: overlays cannot be stacked.

    Args:
        mounts: text of /proc/mounts.
        folder: where containerd keeps its files.
    """
    kind, longest = "", -1
    for line in mounts.splitlines():
        _, point, kind_here, *_ = line.split()
        point = unescape(point)
        if folder.is_relative_to(point) and len(point) > longest:
            kind, longest = kind_here, len(point)
    return "native" if kind == "overlay" else "overlayfs"


def cni(layout: Layout) -> str:
    """The pod network: one bridge inside the node's namespace."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_CIDR}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(layout.root / "cni-addresses"),
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    network = {"cniVersion": "0.4.0", "name": layout.netns, "plugins": [bridge, portmap]}
    return json.dumps(network, indent=1)


def kubelet(layout: Layout, node_ip: str) -> str:
    """kubelet's configuration (JSON is YAML)."""
    pki = layout.pki
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{layout.cgroup}",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [node_ip],
            "clusterDomain": CLUSTER_DOMAIN,
            # The host's search domains have no business in the pods.
            "resolvConf": str(layout.root / "resolv.conf"),
            "tlsCertFile": str(pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(pki / "kubelet.key"),
            "podLogsDir": str(layout.root / "pod-logs"),
            "volumePluginDir": str(layout.root / "volume-plugins"),
            # A developer's disk is often nearly full, and images that were loaded by hand cannot
            # be pulled again: neither evict pods nor collect images because of it.
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "nodeStatusUpdateFrequency": "5s",
        },
        indent=1,
    )


def kube_proxy(layout: Layout) -> str:
    """kube-proxy's configuration (JSON is YAML)."""
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(layout.pki / "kube-proxy.kubeconfig")},
            "clusterCIDR": POD_CIDR,
            "hostnameOverride": NODE_NAME,
            # A ready pod is reachable at once, which tests wait for; the node is small.
            "iptables": {"minSyncPeriod": "100ms"},
            # The table of connections is the host's to size.
            "conntrack": {
                "maxPerCore": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        },
        indent=1,
    )


def corefile(layout: Layout, node_ip: str) -> str:
    """CoreDNS: the cluster's names, and a prompt "no such name" for all others.

    The node has no way out of the machine, so forwarding would only turn a mistyped name into a
    time-out. Nothing is cached, so a service resolves as soon as it exists.
    """
    return f"""{CLUSTER_DOMAIN}:53 in-addr.arpa:53 ip6.arpa:53 {{
    bind {node_ip}
    errors
    ready {node_ip}:{DNS_READY_PORT}
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig "{layout.pki / "coredns.kubeconfig"}"
        ttl 5
    }}
}}
.:53 {{
    bind {node_ip}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def files(layout: Layout, node_ip: str, snapshotter_name: str) -> dict[Path, str]:
    """Every configuration file of the node."""
    root = layout.root
    return {
        root / "containerd.toml": containerd(layout, snapshotter_name),
        root / "cni" / "10-bridge.conflist": cni(layout),
        root / "kubelet.yaml": kubelet(layout, node_ip),
        root / "kube-proxy.yaml": kube_proxy(layout),
        root / "Corefile": corefile(layout, node_ip),
        root / "resolv.conf": f"nameserver {node_ip}\n",
    }


def containerd_command(layout: Layout) -> list[str]:
    """Arguments of containerd."""
    return ["containerd", f"--config={layout.root / 'containerd.toml'}"]


def commands(layout: Layout, node_ip: str) -> dict[str, list[str]]:
    """Arguments of the daemons that need the API server, in the order to start them."""
    root, pki = layout.root, layout.pki
    return {
        "kube-scheduler": [
            "kube-scheduler",
            f"--kubeconfig={pki / 'kube-scheduler.kubeconfig'}",
            "--leader-elect=false",
            "--profiling=false",
        ],
        "kubelet": [
            "kubelet",
            f"--config={root / 'kubelet.yaml'}",
            f"--kubeconfig={pki / 'kubelet.kubeconfig'}",
            f"--root-dir={root / 'kubelet'}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={node_ip}",
        ],
        "kube-proxy": ["kube-proxy", f"--config={root / 'kube-proxy.yaml'}"],
        "coredns": ["coredns", "-conf", str(root / "Corefile")],
    }


def dns_permissions() -> Iterator[tuple[str, dict[str, Any]]]:
    """What CoreDNS may read: pairs of the collection's path and the object to create there."""
    meta = {"name": "system:coredns"}
    group = "rbac.authorization.k8s.io"
    base = f"/apis/{group}/v1"
    watch = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": watch},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watch},
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}
    yield f"{base}/clusterroles", role
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:coredns"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "system:coredns"}],
    }
    yield f"{base}/clusterrolebindings", binding
