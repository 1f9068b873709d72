"""Keys and certificates of a cluster, made by openssl: one authority, one pair per identity.

The identities are those Kubernetes already binds roles to, so no component runs as administrator.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localkube.errors import LocalkubeError
from localkube.layout import NODE_NAME, SERVICE_IP, Endpoints
from localkube.state import write_atomically

_DAYS = "3650"


@dataclass(frozen=True)
class Identity:
    """A certificate to make: file name, user, groups, and what it is good for."""

    name: str
    user: str
    group: str = ""
    server_names: tuple[str, ...] = ()
    client: bool = True

    @property
    def subject(self) -> str:
        """Subject in openssl's notation."""
        return f"/O={self.group}/CN={self.user}" if self.group else f"/CN={self.user}"


def identities(endpoints: Endpoints, *, node: bool) -> list[Identity]:
    """The certificates of a control plane, and those of a node as well."""
    names = ["DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default"]
    names += ["DNS:kubernetes.default.svc", f"IP:{SERVICE_IP}", "IP:127.0.0.1"]
    if endpoints.host != "127.0.0.1":
        names.append(f"IP:{endpoints.host}")
    wanted = [
        Identity("apiserver", "kube-apiserver", server_names=tuple(names), client=False),
        Identity("admin", "admin", group="system:masters"),
        Identity("kube-controller-manager", "system:kube-controller-manager"),
    ]
    if node:
        kubelet_names = (f"DNS:{NODE_NAME}", f"IP:{endpoints.host}")
        wanted += [
            Identity("apiserver-kubelet", "kube-apiserver-kubelet", group="system:masters"),
            Identity("kube-scheduler", "system:kube-scheduler"),
            Identity("kube-proxy", "system:kube-proxy"),
            Identity("coredns", "system:coredns"),
            Identity("kubelet", f"system:node:{NODE_NAME}", "system:nodes", kubelet_names),
        ]
    return wanted


def extensions(identity: Identity) -> str:
    """The openssl configuration with the extensions of one certificate."""
    usages = ["clientAuth"] if identity.client else []
    lines = ["[req]", "distinguished_name=dn", "[dn]", "[ext]", "basicConstraints=CA:FALSE"]
    if identity.server_names:
        usages.append("serverAuth")
        lines.append(f"subjectAltName={','.join(identity.server_names)}")
    lines.append(f"extendedKeyUsage={','.join(usages)}")
    return "\n".join(lines) + "\n"


def kubeconfig(server: str, ca: bytes, certificate: bytes, key: bytes, cluster: str) -> str:
    """A kubeconfig with everything embedded, so that the file can be copied alone."""
    data = [base64.b64encode(part).decode() for part in (ca, certificate, key)]
    return f"""apiVersion: v1
kind: Config
clusters:
- name: {cluster}
  cluster:
    server: {server}
    certificate-authority-data: {data[0]}
users:
- name: {cluster}
  user:
    client-certificate-data: {data[1]}
    client-key-data: {data[2]}
contexts:
- name: {cluster}
  context: {{cluster: {cluster}, user: {cluster}}}
current-context: {cluster}
"""


def create(folder: Path, endpoints: Endpoints, *, node: bool, cluster: str) -> None:
    """Make all keys, certificates and kubeconfigs in `folder`.

    Raises:
        LocalkubeError: openssl failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    ca_config = folder / "ca.cnf"
    ca_config.write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n[ext]\nbasicConstraints=critical,CA:TRUE\n"
        "keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
    )
    ca = ["-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt")]
    _openssl(
        ["req", "-x509", *curve, "-days", _DAYS, "-subj", f"/CN={cluster}", *ca, *_uses(ca_config)]
    )
    _openssl(
        ["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", str(folder / "sa.key")]
    )
    signer = ["-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")]
    for identity in identities(endpoints, node=node):
        config = folder / f"{identity.name}.cnf"
        config.write_text(extensions(identity))
        out = ["-keyout", str(folder / f"{identity.name}.key")]
        out += ["-out", str(folder / f"{identity.name}.crt"), "-subj", identity.subject]
        _openssl(["req", "-x509", *curve, *signer, "-days", _DAYS, *out, *_uses(config)])
        if identity.client:
            text = kubeconfig(
                endpoints.server,
                (folder / "ca.crt").read_bytes(),
                (folder / f"{identity.name}.crt").read_bytes(),
                (folder / f"{identity.name}.key").read_bytes(),
                cluster,
            )
            write_atomically(folder / f"{identity.name}.kubeconfig", text)


def _uses(config: Path) -> list[str]:
    return ["-config", str(config), "-extensions", "ext"]


def _openssl(arguments: Sequence[str]) -> None:
    result = subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    if result.returncode != 0:
        raise LocalkubeError(f"openssl {arguments[0]} failed: {result.stderr.strip()}")
