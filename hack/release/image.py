"""The images of a release: built by the same Dockerfile as in the tests, written as OCI layouts.

Their digests follow from the commit and from the Debian packages of the day: a second build gives
the same ones, which `proof.rebuilt` shows.
"""

from __future__ import annotations

import os
from pathlib import Path

from localkube import images
from localkube.archive import architecture
from localkube.buildah import DebianBase, Store

from release import foreign
from release.layout import Layout
from release.stamp import Release

NAME = "outbox-operator"
ARCHITECTURES = ("amd64", "arm64")


def build(release: Release, sources: Path, target: Path, store: Store, machine: str) -> Layout:
    """Build the image for an architecture and write its layout.

    Args:
        release: what is released.
        sources: a folder that `stamp.export` wrote.
        target: folder of the layout; made.
        store: where it is built. What is there already of the same content is used.
        machine: the architecture, one of `ARCHITECTURES`.

    Raises:
        ReleaseError, LocalkubeError: a step failed.
    """
    options = ["--format=oci", f"--timestamp={release.epoch}"]
    bases = {
        argument: base_image(release, base, store, options)
        for argument, base in images.OPERATOR.bases
    }
    name = f"{NAME}:{release.version}-{machine}"
    here = architecture(os.uname().machine)
    if machine != here:
        options.append(f"--platform=linux/{machine}")
        # What builds runs here all the same.
        bases |= {
            "BASE_IMAGE": other_base(bases["BASE_IMAGE"], store, options, machine),
            "BUILDPLATFORM": f"linux/{here}",
            "TARGETPLATFORM": f"linux/{machine}",
        }
    with store.scratch() as folder:
        context = folder / "context"
        images.copy_plainly(sources, images.input_files(sources, images.OPERATOR.inputs), context)
        store.build(
            name,
            context / images.OPERATOR.dockerfile,
            context,
            {**bases, "SOURCE_DATE_EPOCH": str(release.epoch)},
            extra=[*options, *(f"--label={key}={value}" for key, value in labels(release).items())],
        )
    store.write_layout(name, target)
    return Layout(target)


def base_image(release: Release, base: DebianBase, store: Store, options: list[str]) -> str:
    """Name of a base image of this machine's architecture; made unless it is there."""
    tag = f"{images.base_tag(base)}-{release.epoch}"
    if not store.exists(tag):
        dated = DebianBase(base.name, base.packages, base.hooks, base.removed, epoch=release.epoch)
        store.debian(dated, tag, extra=options)
    return tag


def other_base(native: str, store: Store, options: list[str], machine: str) -> str:
    """Name of the same base image for another architecture; made unless it is there."""
    tag = f"{native}-{machine}"
    if not store.exists(tag):
        with store.scratch() as folder:
            store.write_layout(native, folder / "native")
            root, packages = folder / "root" / "root.tar", folder / "packages"
            root.parent.mkdir()
            packages.mkdir()
            foreign.write(Layout(folder / "native"), machine, root, packages)
            store.take(root, tag, extra=options)
    return tag


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
