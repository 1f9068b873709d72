"""The image of a release: built by the same Dockerfile as in the tests, written as an OCI layout.

Its digest follows from the commit and from the Debian packages of the day: a second build gives the
same one, which `rebuilt` shows.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localkube import images
from localkube.buildah import DebianBase, Store

from release.stamp import Release

NAME = "outbox-operator"


@dataclass(frozen=True, slots=True)
class Layout:
    """An image on the disk, as the specification of OCI layouts has it."""

    folder: Path

    @property
    def digest(self) -> str:
        """What a registry will call it: `sha256:…`."""
        [manifest] = json.loads((self.folder / "index.json").read_text())["manifests"]
        return str(manifest["digest"])

    def blob(self, digest: str) -> Path:
        """The file of that digest."""
        algorithm, _, value = digest.partition(":")
        return self.folder / "blobs" / algorithm / value

    @property
    def manifest(self) -> dict[str, object]:
        """Its manifest."""
        return dict(json.loads(self.blob(self.digest).read_text()))

    @property
    def config(self) -> dict[str, object]:
        """How it runs: user, entry point, environment, labels."""
        manifest = json.loads(self.blob(self.digest).read_text())
        return dict(json.loads(self.blob(manifest["config"]["digest"]).read_text()))

    def layers(self) -> list[Path]:
        """Its layers, the lowest first."""
        manifest = json.loads(self.blob(self.digest).read_text())
        return [self.blob(layer["digest"]) for layer in manifest["layers"]]

    def problems(self) -> list[str]:
        """Files whose content is not what their names say; none in a layout that is whole."""
        return [
            f"{file.name}: found {found}"
            for file in sorted((self.folder / "blobs" / "sha256").iterdir())
            if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != file.name
        ]

    def files(self) -> Iterator[tuple[str, tarfile.TarInfo, bytes]]:
        """Path, entry and content of every file of every layer; what is no file has no content."""
        for layer in self.layers():
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer.read_bytes()))) as tar:
                for entry in tar:
                    read = tar.extractfile(entry) if entry.isfile() else None
                    yield entry.name.removeprefix("./"), entry, read.read() if read else b""


def build(release: Release, sources: Path, target: Path, store: Store) -> Layout:
    """Build the image and write its layout.

    Args:
        release: what is released.
        sources: a folder that `stamp.export` wrote.
        target: folder of the layout; made.
        store: where it is built. What is there already of the same content is used.

    Raises:
        LocalkubeError: a step failed.
    """
    options = ["--format=oci", f"--timestamp={release.epoch}"]
    bases = {}
    for argument, base in images.OPERATOR.bases:
        bases[argument] = tag = f"{images.base_tag(base)}-{release.epoch}"
        if not store.exists(tag):
            dated = DebianBase(
                base.name, base.packages, base.hooks, base.removed, epoch=release.epoch
            )
            store.debian(dated, tag, extra=options)
    with store.scratch() as folder:
        context = folder / "context"
        images.copy_plainly(sources, images.input_files(sources, images.OPERATOR.inputs), context)
        name = f"{NAME}:{release.version}"
        store.build(
            name,
            context / images.OPERATOR.dockerfile,
            context,
            {**bases, "SOURCE_DATE_EPOCH": str(release.epoch)},
            extra=[*options, *(f"--label={key}={value}" for key, value in labels(release).items())],
        )
    store.write_layout(name, target)
    return Layout(target)


def labels(release: Release) -> dict[str, str]:
    """What the image says of itself, in the words of the OCI's annotations."""
    prefix = "org.opencontainers.image."
    found = {
        "title": NAME,
        "description": "PostgreSQL outbox to NATS JetStream to handlers: operator, relay, consumer",
        "version": release.version,
        "revision": release.commit,
        "licenses": "Apache-2.0",
    }
    if release.source:
        found["source"] = release.source
    return {prefix + name: value for name, value in found.items()}
