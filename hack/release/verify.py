"""What somebody who is about to install a release verifies, and that it refuses what is another."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from localkube.errors import LocalkubeError

from release import provenance, publish, signing
from release.programs import program
from release.publish import Registry
from release.signing import Signer
from release.stamp import ReleaseError


def make_signer(scratch: Path) -> Signer:
    """A key pair for this proof; the private one of a project is nobody's but its owners'."""
    os.environ["COSIGN_PASSWORD"] = "of-a-key-for-one-proof"
    subprocess.run(
        [program("cosign"), "generate-key-pair"],
        cwd=scratch, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return signing.signer(str(scratch / "cosign.key"))


def verify_files(folder: Path, key: Path) -> None:
    """As somebody who downloaded the files does.

    Raises:
        subprocess.CalledProcessError: they are not those of who has the key.
    """
    subprocess.run(
        ["sha256sum", "--check", "--quiet", signing.SUMS],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    for name in signing.SIGNED:
        subprocess.run(
            [program("cosign"), "verify-blob", "--key", str(key),
             "--insecure-ignore-tlog", "--signature", f"{name}.sig", name],
            cwd=folder, check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip


def refused_files(folder: Path, scratch: Path) -> None:
    """Change a byte of each file, one after the other, and take another key.

    Raises:
        LocalkubeError: somebody who verifies them would not see it.
    """
    changed = scratch / "changed"
    for name in sorted({one.name for one in folder.iterdir()} - {signing.PUBLIC}):
        shutil.copytree(folder, changed, copy_function=os.link)
        content = bytearray((changed / name).read_bytes())
        content[len(content) // 2] ^= 1
        (changed / name).unlink()
        (changed / name).write_bytes(content)
        refuses(name, lambda: verify_files(changed, scratch / "cosign.pub"))
        shutil.rmtree(changed)
    (scratch / "other").mkdir()
    make_signer(scratch / "other")
    refuses("another key", lambda: verify_files(folder, scratch / "other" / "cosign.pub"))


def refused_release(folder: Path, registry: Registry, scratch: Path) -> None:
    """Publish another chart under the version that is there.

    Raises:
        LocalkubeError: it was published.
    """
    other = scratch / "other-release"
    shutil.copytree(folder, other)
    with publish.chart_archive(other).open("ab") as archive:
        archive.write(b"\0")
    refuses("a changed chart", lambda: publish.publish(other, registry))
    names = list(provenance.read_sums((other / signing.SUMS).read_text()))
    (other / signing.SUMS).write_text(provenance.sums(provenance.checksums(other, names)))
    refuses("another chart of that version", lambda: publish.publish(other, registry))
    shutil.rmtree(other)


def refuses(what: str, attempt: Callable[[], object]) -> None:
    """Try what must be refused.

    Raises:
        LocalkubeError: it was not.
    """
    with contextlib.suppress(ReleaseError, subprocess.CalledProcessError):
        attempt()
        raise LocalkubeError(f"{what}: wanted a refusal, found none")


def verify_image(folder: Path, registry: Registry) -> None:
    """As somebody does who is about to install it."""
    key = ["--key", str(Path(registry.signer.key).with_suffix(".pub")), "--insecure-ignore-tlog"]
    options = [*key, *publish.cosign_options(registry)]
    named, cosign = publish.image(folder), program("cosign")
    attested = [(named, "slsaprovenance1")]
    attested += [(one, "cyclonedx") for one in publish.images(folder).values()]
    for one in (named, publish.chart(folder, registry), *publish.images(folder).values()):
        registry.run(cosign, "verify", *options, one)
    for one, kind in attested:
        registry.run(cosign, "verify-attestation", *options, "--type", kind, one)
