"""Image archives made by hand, for images so small that they need no build tool."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def architecture(machine: str) -> str:
    """What images call the machine type that uname names."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def layer(files: Mapping[str, bytes]) -> bytes:
    """A layer of executables; the same files always give the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in sorted(files.items()):
            _add(tar, name.lstrip("/"), content, 0o755)
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def write(target: Path, image: str, files: Mapping[str, bytes], entrypoint: Sequence[str]) -> None:
    """Write a docker archive with one image of one layer.

    Args:
        target: the file to write.
        image: full name with tag.
        files: absolute path in the image -> content; all become executable.
        entrypoint: the image's command line.
    """
    content = layer(files)
    digest = hashlib.sha256(content).hexdigest()
    config = json.dumps(
        {
            "architecture": architecture(os.uname().machine),
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [image], "Layers": [f"{digest}.tar"]}]
    with tarfile.open(target, "w") as tar:
        _add(tar, config_name, config)
        _add(tar, f"{digest}.tar", content)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
