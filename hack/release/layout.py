"""Images on the disk, as OCI layouts: of one platform, or of several."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MACHINES = {62: "amd64", 183: "arm64"}
"""What a program of ELF says that it is for, and what images call that."""


@dataclass(frozen=True, slots=True)
class Layout:
    """An image of one platform in a folder."""

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

    def machines(self) -> dict[str, int]:
        """How many of its programs and libraries are for which architecture."""
        found: dict[str, int] = {}
        for _, _, content in self.files():
            if name := machine(content):
                found[name] = found.get(name, 0) + 1
        return found


def machine(content: bytes) -> str:
    """The architecture that a program or library is for; empty: it is neither."""
    if not content.startswith(b"\x7fELF"):
        return ""
    number = int.from_bytes(content[18:20], "little")
    return MACHINES.get(number, f"machine {number}")


def join(images: Mapping[str, Layout], target: Path) -> str:
    """Write one layout of several platforms: whoever pulls it gets that of its own.

    Args:
        images: architecture -> its image.
        target: folder of the layout; made.

    Returns:
        Digest of the index, which names them all.
    """
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    entries = []
    for architecture, one in images.items():
        for file in (one.folder / "blobs" / "sha256").iterdir():
            if not (blobs / file.name).exists():
                os.link(file, blobs / file.name)
        entries.append(
            {
                "mediaType": _MANIFEST,
                "digest": one.digest,
                "size": one.blob(one.digest).stat().st_size,
                "platform": {"architecture": architecture, "os": "linux"},
            }
        )
    index = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}).encode()
    value = hashlib.sha256(index).hexdigest()
    (blobs / value).write_bytes(index)
    digest = f"sha256:{value}"
    only = {"mediaType": _INDEX, "digest": digest, "size": len(index)}
    (target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [only]}))
    (target / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return digest
