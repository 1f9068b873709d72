"""Command lines of the control plane. Pure: what to run, not how it is run."""

from __future__ import annotations

from localkube.layout import CLUSTER_DOMAIN, POD_CIDR, SERVICE_CIDR, Endpoints, Layout


def etcd(layout: Layout, endpoints: Endpoints) -> list[str]:
    """Arguments of etcd; nothing here has to survive a power cut, so it does not fsync."""
    client = f"http://127.0.0.1:{endpoints.etcd_client}"
    peer = f"http://127.0.0.1:{endpoints.etcd_peer}"
    return [
        "etcd",
        "--name=default",
        f"--data-dir={layout.root / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(layout: Layout, endpoints: Endpoints, *, node: bool) -> list[str]:
    """Arguments of kube-apiserver."""
    pki = layout.pki
    arguments = [
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{endpoints.etcd_client}",
        f"--secure-port={endpoints.apiserver}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--service-account-key-file={pki / 'sa.key'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
    ]
    if not node:
        # Nothing runs in this cluster, so nothing needs the `kubernetes` service to lead back here,
        # and a loopback address would not be a valid endpoint anyway.
        return [
            *arguments,
            f"--bind-address={endpoints.host}",
            f"--advertise-address={endpoints.host}",
            "--endpoint-reconciler-type=none",
        ]
    return [
        *arguments,
        f"--advertise-address={endpoints.host}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def controller_manager(layout: Layout, *, node: bool) -> list[str]:
    """Arguments of kube-controller-manager."""
    kubeconfig = layout.pki / "kube-controller-manager.kubeconfig"
    arguments = [
        "kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        f"--service-account-private-key-file={layout.pki / 'sa.key'}",
        f"--root-ca-file={layout.pki / 'ca.crt'}",
        f"--cluster-cidr={POD_CIDR}",
        "--allocate-node-cidrs=false",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--profiling=false",
        # A HorizontalPodAutoscaler looks every 15 s elsewhere; here somebody waits for it.
        "--horizontal-pod-autoscaler-sync-period=5s",
    ]
    # Outside a network namespace the fixed default port would clash with a second cluster's.
    return arguments if node else [*arguments, "--secure-port=0"]
