"""The cluster in Docker, by kind, on machines where a Docker engine answers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from localkube import binaries, images, prereqs, ui
from localkube.errors import LocalkubeError
from localkube.health import Part
from localkube.layout import REPOSITORY, Roots
from localkube.shell import run

CONFIG = REPOSITORY / "kind-config.yaml"
# With Docker there is a registry to pull from, so the demo takes the official images.
OFFICIAL_IMAGES = {
    "postgres": "docker.io/library/postgres:17",
    "nats": "docker.io/library/nats:2",
    "prometheus": "docker.io/prom/prometheus:v3.5.0",
}
ON_REQUEST = {"redis": "docker.io/library/redis:7"}


def docker_answers() -> bool:
    """Whether a Docker engine answers on this machine."""
    if not prereqs.has_program("docker"):
        return False
    try:
        return (
            subprocess.run(
                ["docker", "info"], capture_output=True, timeout=20, check=False
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


def build_command(
    tag: str, dockerfile: Path, context: Path, build_args: Mapping[str, str]
) -> list[str]:
    """Arguments of `docker build`."""
    options = [f"--build-arg={name}={value}" for name, value in build_args.items()]
    return ["docker", "build", f"--tag={tag}", f"--file={dockerfile}", *options, str(context)]


def load_command(cluster: str, image: str) -> list[str]:
    """Arguments of kind that bring one image, by name or as an archive, into the cluster."""
    what = "image-archive" if Path(image).is_file() else "docker-image"
    return ["load", what, image, f"--name={cluster}"]


class KindEngine:
    """Clusters in Docker; see `engines.Engine`."""

    def __init__(self, places: Roots) -> None:
        self._places = places

    def check(self) -> None:
        """See `Engine`."""
        prereqs.require((prereqs.CONTROL_PLANE,))

    def up(self, name: str, *, recreate: bool = False) -> None:
        """See `Engine`."""
        if recreate:
            self.down(name)
        kubeconfig = self.kubeconfig(name)
        kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        if name in self._kind("get", "clusters").split():
            ui.say(f"cluster {name} is already running in Docker")
            self._kind("export", "kubeconfig", f"--name={name}", f"--kubeconfig={kubeconfig}")
            return
        with ui.step(f"kind cluster {name}"):
            self._kind(
                "create",
                "cluster",
                f"--name={name}",
                f"--config={CONFIG}",
                f"--kubeconfig={kubeconfig}",
                "--wait=180s",
            )

    def down(self, name: str) -> bool:
        """See `Engine`."""
        kubeconfig = self.kubeconfig(name)
        if not kubeconfig.exists() or name not in self._kind("get", "clusters").split():
            return False
        with ui.step(f"removing kind cluster {name}"):
            self._kind("delete", "cluster", f"--name={name}", f"--kubeconfig={kubeconfig}")
            kubeconfig.unlink(missing_ok=True)
        return True

    def inspect(self, name: str) -> list[Part] | None:
        """See `Engine`."""
        if not self.kubeconfig(name).exists():
            return None
        if name not in self._kind("get", "clusters").split():
            return [Part("node", False, "there is no such kind cluster any more")]
        binaries.build(self._places, ("kubectl",))
        kubectl = str(binaries.path(self._places.cache, "kubectl"))
        config = f"--kubeconfig={self.kubeconfig(name)}"
        try:
            run(kubectl, config, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=5s")
        except LocalkubeError as error:
            return [Part("node", False, str(error))]
        return [Part("node", True, "ready")]

    def kubeconfig(self, name: str) -> Path:
        """See `Engine`."""
        return self._places.state / "kind" / f"{name}.kubeconfig"

    def build_all(self, also: Sequence[str] = ()) -> dict[str, str]:
        """See `Engine`."""
        name = images.image_name(images.OPERATOR)
        known = subprocess.run(
            ["docker", "image", "inspect", name], capture_output=True, check=False, timeout=60
        )
        if known.returncode != 0:
            self.build_one(name, REPOSITORY / images.OPERATOR.dockerfile, REPOSITORY, {})
        asked = {key: image for key, image in ON_REQUEST.items() if key in also}
        return {images.OPERATOR.key: name, **OFFICIAL_IMAGES, **asked}

    def build_one(
        self, tag: str, dockerfile: Path, context: Path, build_args: Mapping[str, str]
    ) -> None:
        """See `Engine`."""
        with ui.step(f"image {tag}"):
            run(*build_command(tag, dockerfile, context, build_args))

    def load(self, name: str, wanted: Iterable[str]) -> None:
        """See `Engine`."""
        for image in wanted:
            with ui.step(f"load {image}"):
                self._kind(*load_command(name, image))

    def load_project(self, name: str, names: Mapping[str, str]) -> None:
        """See `Engine`; the official images are pulled by the cluster itself."""
        self.load(name, [names[images.OPERATOR.key]])

    def _kind(self, *arguments: str) -> str:
        binaries.build(self._places, ("kind",))
        command: Sequence[str] = (str(binaries.path(self._places.cache, "kind")), *arguments)
        return run(*command)
