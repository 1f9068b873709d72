"""Where the cluster runs: on the node of this package, or in Docker by kind.

Both answer the same questions, so that the commands do not care; `choose` decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from localkube import cluster, health, images, prereqs, state
from localkube.errors import LocalkubeError
from localkube.health import Part
from localkube.kind import KindEngine, docker_answers
from localkube.layout import Roots, command


class Engine(Protocol):
    """Runs clusters and builds images for them."""

    def check(self) -> None:
        """Raise LocalkubeError when the machine lacks something."""

    def up(self, name: str, *, recreate: bool = False) -> None:
        """Bring the cluster up, or repair it; `recreate` removes what is there first."""

    def down(self, name: str) -> bool:
        """Remove the cluster; False when there was none."""

    def inspect(self, name: str) -> list[Part] | None:
        """How the cluster is; None when there is none."""

    def kubeconfig(self, name: str) -> Path:
        """Where the administrator's kubeconfig is, or would be."""

    def build_all(self, also: Sequence[str] = ()) -> dict[str, str]:
        """Build the project's images that changed, `also` some of `ON_REQUEST`; key -> name."""

    def build_one(
        self, tag: str, dockerfile: Path, context: Path, build_args: Mapping[str, str]
    ) -> None:
        """Build any Dockerfile."""

    def load(self, name: str, wanted: Iterable[str]) -> None:
        """Make images, given by name or as archives, available in the cluster."""

    def load_project(self, name: str, names: Mapping[str, str]) -> None:
        """Make the images that `build_all` returned available in the cluster."""


class NodeEngine:
    """The node of this package."""

    def __init__(self, places: Roots) -> None:
        self._places = places

    def check(self) -> None:
        """See `Engine`."""
        prereqs.require((prereqs.CONTROL_PLANE, prereqs.NODE, prereqs.IMAGES))

    def up(self, name: str, *, recreate: bool = False) -> None:
        """See `Engine`."""
        cluster.up(self._places, name, state.NODE, recreate=recreate)

    def down(self, name: str) -> bool:
        """See `Engine`."""
        return cluster.down(self._places, name)

    def inspect(self, name: str) -> list[Part] | None:
        """See `Engine`."""
        layout = cluster.cluster_layout(self._places, name)
        current = state.load(layout)
        return None if current is None else health.inspect(layout, current)

    def kubeconfig(self, name: str) -> Path:
        """See `Engine`."""
        return cluster.cluster_layout(self._places, name).kubeconfig

    def build_all(self, also: Sequence[str] = ()) -> dict[str, str]:
        """See `Engine`."""
        prereqs.require((prereqs.IMAGES,))
        return images.build_all(self._places, also)

    def build_one(
        self, tag: str, dockerfile: Path, context: Path, build_args: Mapping[str, str]
    ) -> None:
        """See `Engine`."""
        prereqs.require((prereqs.IMAGES,))
        images.build_one(self._places, tag, dockerfile, context, build_args)

    def load(self, name: str, wanted: Iterable[str]) -> None:
        """See `Engine`."""
        images.load(self._places, name, list(wanted))

    def load_project(self, name: str, names: Mapping[str, str]) -> None:
        """See `Engine`."""
        images.load_project(self._places, name, names)


def choose(places: Roots, name: str) -> Engine:
    """The engine of an existing node of that name; otherwise kind where Docker answers."""
    if not cluster.cluster_layout(places, name).root.exists() and docker_answers():
        return KindEngine(places)
    return NodeEngine(places)


def existing_kubeconfig(engine: Engine, name: str) -> Path:
    """Path of the kubeconfig of a cluster that exists.

    Raises:
        LocalkubeError: there is no such cluster.
    """
    path = engine.kubeconfig(name)
    if not path.exists():
        raise LocalkubeError(f"there is no cluster {name}: run `{command('up', name)}` first")
    return path
