"""Push what `make release` made: image and chart to a registry, with signature and attestations.

    hack/uv run --no-project python hack/release/publish.py build/release registry.example/charts

The image goes where the release says (`image-digest.txt`); its digest is kept, because the chart
and the signatures name it. Log in before (`docker login`, `helm registry login`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from localkube import binaries
from localkube.errors import LocalkubeError
from localkube.layout import current_roots

_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Registry:
    """Where to push.

    Attributes:
        charts: repository of charts, such as `registry.example/charts`.
        key: cosign's private key, a path or `env://COSIGN_KEY`.
        plain: it speaks HTTP, as one on this machine does.
        within: words before each command, such as those that enter a network namespace.
    """

    charts: str
    key: str
    plain: bool = False
    within: Sequence[str] = ()

    def run(self, *command: str) -> str:
        """What a program says.

        Raises:
            LocalkubeError: it failed; with what it said.
        """
        done = subprocess.run(
            [*self.within, *command], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        if done.returncode:
            raise LocalkubeError(f"{' '.join(command)}: {done.stdout}{done.stderr}".strip())
        return done.stdout


def program(name: str) -> str:
    """A program of the pinned tools; built if it is missing."""
    places = current_roots()
    binaries.build(places, (name,))
    return str(binaries.path(places.cache, name))


def image(folder: Path) -> str:
    """The image of a release by its digest: `repository@sha256:…`."""
    return (folder / "image-digest.txt").read_text().strip()


def push(folder: Path, registry: Registry) -> str:
    """Push the image of a release with its tag, and the chart.

    Returns:
        The image by its digest.

    Raises:
        LocalkubeError: a step failed.
    """
    named = image(folder)
    [archive] = folder.glob("*-image.tar")
    [wheel] = folder.glob("*.whl")
    repository, version = named.partition("@")[0], wheel.name.split("-")[1]
    insecure = ["--dest-tls-verify=false"] if registry.plain else []
    target = f"docker://{repository}:{version}"
    registry.run(
        "skopeo",
        "copy",
        "--quiet",
        "--all",
        "--preserve-digests",
        *insecure,
        f"oci-archive:{archive}",
        target,
    )
    [chart] = folder.glob("outbox-operator-*.tgz")
    plain = ["--plain-http"] if registry.plain else []
    registry.run(program("helm"), "push", *plain, str(chart), f"oci://{registry.charts}")
    return named


def sign(folder: Path, registry: Registry) -> None:
    """Sign the pushed images, and attest what is in each and how all of them were made.

    Raises:
        LocalkubeError: a step failed.
    """
    named, each = image(folder), images(folder)
    cosign, options = program("cosign"), cosign_options(registry)
    key = ["--yes", "--key", registry.key, "--tlog-upload=false"]
    registry.run(cosign, "sign", "--recursive", *key, *options, named)
    attested = [(named, "slsaprovenance1", predicate(folder))]
    for machine, one in each.items():
        [bill] = folder.glob(f"*-image-{machine}.cdx.json")
        attested.append((one, "cyclonedx", bill))
    for what, kind, file in attested:
        registry.run(
            cosign, "attest", *key, *options, "--type", kind, "--predicate", str(file), what
        )


def images(folder: Path) -> dict[str, str]:
    """Architecture -> the image of it alone, by its own digest."""
    [archive] = folder.glob("*-image.tar")
    repository, _, digest = image(folder).partition("@")
    with tarfile.open(archive) as tar:
        content = tar.extractfile(f"blobs/{digest.replace(':', '/')}")
        assert content is not None
        index = json.load(content)
    return {
        one["platform"]["architecture"]: f"{repository}@{one['digest']}"
        for one in index["manifests"]
    }


def cosign_options(registry: Registry) -> list[str]:
    """What cosign has to be told of a registry."""
    return ["--allow-http-registry", "--allow-insecure-registry"] if registry.plain else []


def predicate(folder: Path) -> Path:
    """The predicate of the statement of provenance, which cosign makes a statement of by itself."""
    document = json.loads((folder / "provenance.json").read_text())
    target = folder.parent / f".{folder.name}-predicate.json"
    target.write_text(json.dumps(document["predicate"]))
    return target


def main() -> int:
    """Push and sign; prints the image by its digest."""
    parser = argparse.ArgumentParser(prog="publish", description="push what make release made")
    parser.add_argument("folder", type=Path)
    parser.add_argument("charts", help="repository of charts, such as registry.example/charts")
    parser.add_argument("--key", default="env://COSIGN_KEY", help="cosign's private key")
    args = parser.parse_args()
    registry = Registry(args.charts, args.key)
    try:
        print(push(args.folder, registry))
        if args.key != "env://COSIGN_KEY" or os.environ.get("COSIGN_KEY"):
            sign(args.folder, registry)
        else:
            print("publish: not signed: there is no COSIGN_KEY", file=sys.stderr)
    except LocalkubeError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
