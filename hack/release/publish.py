"""Push what `make release` made: image and chart to a registry, with signature and attestations.

    hack/uv run --no-project python hack/release/publish.py build/release registry.example/charts

The image goes where the release says (`image-digest.txt`); its digest is kept, because the chart
and the signatures name it. Log in before (`docker login`, `helm registry login`), and give
COSIGN_KEY and COSIGN_PASSWORD. Nothing goes out that is not signed, is not what the checksums say,
or has a name that something else has already.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from localkube.errors import LocalkubeError

from release import provenance, signing
from release.programs import program
from release.signing import PUBLIC, SIGNED, STATEMENT, SUMS, Signer
from release.stamp import ReleaseError

_SECONDS = 600
# What registries say of a name that nothing has yet.
_FREE = ("manifest unknown", "name unknown", "repository name not known")


@dataclass(frozen=True, slots=True)
class Registry:
    """Where to push.

    Attributes:
        charts: repository of charts, such as `registry.example/charts`.
        signer: who signs what is pushed.
        plain: it speaks HTTP, as one on this machine does.
        within: words before each command, such as those that enter a network namespace.
    """

    charts: str
    signer: Signer
    plain: bool = False
    within: Sequence[str] = ()

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """What a program says.

        Raises:
            LocalkubeError: it failed; with what it said.
        """
        done = subprocess.run(
            [*self.within, *command], env=environment,
            capture_output=True, text=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise LocalkubeError(f"{' '.join(command)}: {done.stdout}{done.stderr}".strip())
        return done.stdout


def image(folder: Path) -> str:
    """The image of a release by its digest: `repository@sha256:…`."""
    return (folder / "image-digest.txt").read_text().strip()


def publish(folder: Path, registry: Registry) -> str:
    """Sign the files of a release, push its image with its tag and its chart, and sign both.

    Returns:
        The image by its digest.

    Raises:
        LocalkubeError, ReleaseError: a step failed, or it must not be published.
    """
    check(folder)
    registry.signer.sign_files(folder)
    push(folder, registry)
    sign(folder, registry)
    return image(folder)


def check(folder: Path) -> None:
    """Look whether the files are those that `make release` left, all of them and no others.

    Raises:
        ReleaseError: they are not; with the names of those that differ.
    """
    if not (folder / SUMS).is_file():
        raise ReleaseError(
            f"{folder}: wanted the files of a release, found no {SUMS}: make release"
        )
    wanted = provenance.read_sums((folder / SUMS).read_text())
    beside = {SUMS, PUBLIC, *(f"{name}.sig" for name in SIGNED)}
    there = {one.name: one.is_file() for one in folder.iterdir() if one.name not in beside}
    found = provenance.checksums(folder, [name for name, is_file in there.items() if is_file])
    found |= {name: "a folder" for name, is_file in there.items() if not is_file}
    if wrong := sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name)):
        raise ReleaseError(
            f"{folder / SUMS}: wanted the files that it names, found others: {wrong}"
        )


def push(folder: Path, registry: Registry) -> None:
    """Push what is not there yet.

    Raises:
        LocalkubeError, ReleaseError: a step failed, or a name is that of something else.
    """
    named, target = image(folder), f"docker://{tag(folder)}"
    [archive] = folder.glob("*-image.tar")
    there = manifest(registry, tag(folder))
    if there and digest(there) != named.partition("@")[2]:
        raise ReleaseError(f"{tag(folder)}: wanted {named}, found {digest(there)}: another release")
    packaged = chart_archive(folder)
    there = manifest(registry, chart_tag(folder, registry))
    content = f"sha256:{hashlib.sha256(packaged.read_bytes()).hexdigest()}"
    if there and [one["digest"] for one in json.loads(there)["layers"]] != [content]:
        raise ReleaseError(
            f"{chart_tag(folder, registry)}: wanted {content}, found another: another release"
        )
    insecure = ["--dest-tls-verify=false"] if registry.plain else []
    source = f"oci-archive:{archive}"
    registry.run(
        "skopeo", "copy", "--quiet", "--all", "--preserve-digests", *insecure, source, target
    )
    # Helm writes the time into what it pushes: a second time it would be another one.
    if not there:
        plain = ["--plain-http"] if registry.plain else []
        registry.run(program("helm"), "push", *plain, str(packaged), f"oci://{registry.charts}")


def tag(folder: Path) -> str:
    """The image of a release by its tag."""
    [wheel] = folder.glob("*.whl")
    return f"{image(folder).partition('@')[0]}:{wheel.name.split('-')[1]}"


def chart_archive(folder: Path) -> Path:
    """The chart of a release."""
    [archive] = folder.glob("outbox-operator-*.tgz")
    return archive


def chart_tag(folder: Path, registry: Registry) -> str:
    """The chart of a release by its tag, where it is pushed to."""
    version = chart_archive(folder).name.removeprefix("outbox-operator-").removesuffix(".tgz")
    return f"{registry.charts}/outbox-operator:{version}"


def chart(folder: Path, registry: Registry) -> str:
    """The pushed chart by its digest.

    Raises:
        LocalkubeError: it is not there.
    """
    named = chart_tag(folder, registry)
    if not (there := manifest(registry, named)):
        raise LocalkubeError(f"{named}: wanted the chart, found none")
    return f"{registry.charts}/outbox-operator@{digest(there)}"


def manifest(registry: Registry, named: str) -> str:
    """What a registry has under a name; empty: nothing.

    Raises:
        LocalkubeError: it does not say.
    """
    insecure = ["--tls-verify=false"] if registry.plain else []
    try:
        return registry.run("skopeo", "inspect", "--raw", *insecure, f"docker://{named}")
    except LocalkubeError as error:
        if any(said in str(error).lower() for said in _FREE):
            return ""
        raise


def digest(text: str) -> str:
    """What a registry calls a manifest."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def sign(folder: Path, registry: Registry) -> None:
    """Sign what was pushed, and attest what is in each image and how all of them were made.

    Raises:
        LocalkubeError: a step failed.
    """
    named, each = image(folder), images(folder)
    cosign, options = program("cosign"), cosign_options(registry)
    key = ["--yes", "--key", registry.signer.key, "--tlog-upload=false"]
    secret = registry.signer.environment
    for one in (named, chart(folder, registry)):
        registry.run(cosign, "sign", "--recursive", *key, *options, one, environment=secret)
    attested = [(named, "slsaprovenance1", STATEMENT)]
    for machine, one in each.items():
        [bill] = folder.glob(f"*-image-{machine}.cdx.json")
        attested.append((one, "cyclonedx", bill.name))
    with tempfile.TemporaryDirectory(prefix="publish-") as scratch:
        predicate = Path(scratch) / "predicate.json"
        for what, kind, file in attested:
            document = json.loads((folder / file).read_text())
            # Of a statement cosign makes one of its own, about the image.
            predicate.write_text(json.dumps(document.get("predicate", document)))
            registry.run(
                cosign, "attest", "--replace", *key, *options, "--type", kind,
                "--predicate", str(predicate), what, environment=secret,
            )  # fmt: skip


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


def main() -> int:
    """Push and sign; prints the image by its digest."""
    parser = argparse.ArgumentParser(prog="publish", description="push what make release made")
    parser.add_argument("folder", type=Path)
    parser.add_argument("charts", help="repository of charts, such as registry.example/charts")
    parser.add_argument("--key", default="env://COSIGN_KEY", help="cosign's private key")
    args = parser.parse_args()
    try:
        print(publish(args.folder, Registry(args.charts, signing.signer(args.key))))
    except (LocalkubeError, ReleaseError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
