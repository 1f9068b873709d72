"""Container images without a Docker engine: Debian bases by mmdebstrap, Dockerfiles by buildah.

Images stay in a store of their own in the cache folder; nothing of the machine's is touched.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localkube import processes, ui
from localkube.errors import LocalkubeError
from localkube.node_config import snapshotter

SUITE = "bookworm"
_HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_NEARLY_FULL_MIB = 512
LEFT_OUT = ("doc", "man", "locale", "info")
"""Folders of `/usr/share` that no base image has, but for licences in one that is passed on."""


@dataclass(frozen=True)
class DebianBase:
    """A base image of Debian packages.

    Attributes:
        name: what to call it.
        packages: Debian packages; what they depend on comes with them.
        hooks: shell lines run before they are unpacked, with the new root as $1.
        removed: paths (shell patterns) taken out again at the end.
        epoch: of a base that is passed on: the time its files carry, in seconds since 1970. It
            keeps the licences of its packages, which others must get with them.
    """

    name: str
    packages: tuple[str, ...]
    hooks: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    epoch: int | None = None

    @property
    def description(self) -> str:
        """Everything that decides the content."""
        return "\n".join((SUITE, *self.packages, *self.hooks, *self.removed))


def full_name(image: str) -> str:
    """The name under which Kubernetes looks for an image that is given without a registry."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


def debootstrap_command(base: DebianBase, target: Path) -> list[str]:
    """Arguments of mmdebstrap."""
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in LEFT_OUT]
    if base.epoch is not None:
        excluded.append("--dpkgopt=path-include=/usr/share/doc/*/copyright")
    hooks = [f"--essential-hook={hook}" for hook in base.hooks]
    hooks += [f'--customize-hook=rm -r "$1"{path}' for path in base.removed]
    include = f"--include={','.join(base.packages)}"
    options = ["--quiet", "--variant=essential", include, *excluded, *hooks]
    dated = [] if base.epoch is None else ["env", f"SOURCE_DATE_EPOCH={base.epoch}"]
    return [*dated, "mmdebstrap", *options, SUITE, str(target)]


class Store:
    """The image store of this user; `cache` is localkube's cache folder."""

    def __init__(self, cache: Path) -> None:
        self._root = cache / "images"
        self._logs = cache / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)

    def identity(self, image: str) -> str | None:
        """The id of an image, which says its content; None when the store has no such image.

        Raises:
            LocalkubeError: the store cannot be asked; names what buildah said.
        """
        show = "{{.FromImageID}}"
        name = full_name(image)
        try:
            return self._answer("inspect", "--type", "image", "--format", show, name).strip()
        except LocalkubeError as error:
            if "image not known" in str(error):
                return None
            raise

    def exists(self, image: str) -> bool:
        """Whether the store has an image of that name."""
        return self.identity(image) is not None

    def build(
        self,
        tag: str,
        dockerfile: Path,
        context: Path,
        build_args: Mapping[str, str],
        *,
        extra: Sequence[str] = ("--format=docker",),
    ) -> None:
        """Build a Dockerfile; an ignore file beside it is honoured.

        Args:
            tag: name of the image.
            dockerfile: what to build.
            context: the folder that it copies from.
            build_args: values of its arguments.
            extra: more options of `buildah bud`.

        Raises:
            LocalkubeError: the build failed; names the log and its end.
        """
        options = [f"--file={dockerfile}", f"--tag={full_name(tag)}"]
        options += [f"--build-arg={name}={value}" for name, value in build_args.items()]
        ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
        if ignore.exists():
            options.append(f"--ignorefile={ignore}")
        if _HOST_CERTIFICATES.exists():
            # Downloads of the build trust what the host trusts; the image itself does not.
            options.append(f"--volume={_HOST_CERTIFICATES}:{_HOST_CERTIFICATES}:ro")
        command = self._command(
            "bud", "--layers", "--isolation=chroot", *extra, *options, str(context)
        )
        earlier = self._unnamed()
        self._run_logged(command, f"image {tag}")
        now = self._unnamed()
        if now - earlier:
            # The last build stage now has a newer unnamed image, which shares what still holds.
            # An earlier one may have a name again, taken from the cache: that is the image.
            for image in earlier & now:
                subprocess.run(
                    self._command("rmi", image), capture_output=True, check=False, timeout=300
                )

    def forget_unfinished(self) -> None:
        """Remove the containers of builds that were cut off: they keep images and mounts in use.

        For whoever holds the lock of the store's builds: what is there then is nobody's.
        """
        subprocess.run(self._command("rm", "--all"), capture_output=True, check=False, timeout=300)

    def clear(self) -> None:
        """Remove every image and container, and the mounts that keep them from being removed."""
        self.forget_unfinished()
        self._run_logged(self._command("rmi", "--all", "--force"), "clear")

    def _unnamed(self) -> set[str]:
        """Images that are only there as the cached end of a build stage."""
        return set(
            self._answer("images", "--quiet", "--no-trunc", "--filter", "dangling=true").split()
        )

    def debian(
        self, base: DebianBase, tag: str, *, extra: Sequence[str] = ("--format=docker",)
    ) -> None:
        """Make a base image of Debian packages.

        Args:
            base: of which packages.
            tag: name of the image.
            extra: more options of `buildah bud`.

        Raises:
            LocalkubeError: a step failed.
        """
        with self.scratch() as folder:
            tar = folder / "root.tar"
            self._run_logged(debootstrap_command(base, tar), f"base {base.name}")
            self.take(tar, tag, extra=extra)

    def take(self, root: Path, tag: str, *, extra: Sequence[str]) -> None:
        """Make a base image of a tar archive, which has a folder of its own.

        Args:
            root: the archive of all its files.
            tag: name of the image.
            extra: more options of `buildah bud`.

        Raises:
            LocalkubeError: it failed.
        """
        file = root.with_name("Dockerfile")
        file.write_text(f"FROM scratch\nADD {root.name} /\n")
        self.build(tag, file, root.parent, {}, extra=extra)

    @contextmanager
    def exported(self, image: str) -> Iterator[Path]:
        """A docker archive of an image, for as long as the block runs.

        Raises:
            LocalkubeError: the store has no such image.
        """
        name = full_name(image)
        with self.scratch() as folder:
            tar = folder / "image.tar"
            command = self._command("push", "--quiet", name, f"docker-archive:{tar}:{name}")
            self._run_logged(command, f"export {image}")
            yield tar

    def write_layout(self, image: str, target: Path) -> None:
        """Write an image as an OCI layout, a folder that registries and scanners read.

        Raises:
            LocalkubeError: the store has no such image.
        """
        self._run_logged(
            self._command("push", "--quiet", full_name(image), f"oci:{target}"), f"write {image}"
        )

    def tags(self, repository: str) -> list[str]:
        """Tags of a repository in the store."""
        lines = self._answer("images", "--format", "{{.Name}} {{.Tag}}").splitlines()
        pairs = [line.split() for line in lines]
        return [tag for name, tag in pairs if name == full_name(repository)]

    def tag(self, image: str, alias: str) -> None:
        """Give an image a second name."""
        self._run_logged(self._command("tag", full_name(image), full_name(alias)), f"tag {alias}")

    def remove(self, image: str) -> None:
        """Remove an image."""
        self._run_logged(self._command("rmi", full_name(image)), f"remove {image}")

    def _command(self, *arguments: str) -> list[str]:
        kind = snapshotter(Path("/proc/self/mounts").read_text(), self._root)
        driver = "overlay" if kind == "overlayfs" else "vfs"
        folders = ["--root", str(self._root / "store"), "--runroot", str(self._root / "run")]
        return ["buildah", *folders, "--storage-driver", driver, *arguments]

    def _answer(self, *arguments: str) -> str:
        """What the store says to a question."""
        result = subprocess.run(
            self._command(*arguments), capture_output=True, text=True, check=False, timeout=300
        )
        if result.returncode:
            raise LocalkubeError(f"buildah {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder beside the store, for as long as the block runs."""
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._root, prefix="build-") as folder:
            yield Path(folder)

    def _run_logged(self, command: Sequence[str], what: str) -> None:
        log = self._logs / f"{what.replace(' ', '-').replace('/', '_').replace(':', '_')}.log"
        try:
            with log.open("wb") as output:
                code = processes.run_apart(command, output, timeout=1800)
        except FileNotFoundError as error:
            raise LocalkubeError(f"{command[0]} is not installed: `localkube prereqs`") from error
        if code:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            free = shutil.disk_usage(self._logs).free >> 20
            full = f"\n{self._root} has {free} MiB free" if free < _NEARLY_FULL_MIB else ""
            raise LocalkubeError(f"{what} failed ({code}), see {log}:\n{tail}{full}")


def ensure_debian(store: Store, base: DebianBase, tag: str) -> None:
    """Make a base image unless the store has it already."""
    if not store.exists(tag):
        with ui.step(f"base image {base.name} from Debian packages"):
            store.debian(base, tag)
